"""Backblaze B2 by its native API: verifies what b2sdk does not, and emulates conditional writes.

Conditional writes (`if_absent`, `if_version`) rest on the order B2 stamps uploads in (see `b2_versions`).
One gap remains, which no client can close: B2 may stamp a slow upload earlier than a quick one that finished
before it, and then both writers believe they won, while all readers afterwards agree on the earlier stamp.
Keep claims small, or keep them in gs://, where the server decides.
"""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import logging
import uuid
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import urllib3
from b2sdk.v3 import B2Api, Bucket
from b2sdk.v3 import exception as b2_errors
from requests import RequestException

from octjob.errors import AccessError
from octjob.spec.uri import check_key, join_uri, parse_uri
from octjob.storage.b2_client import access_error, connect, pause_after, upload
from octjob.storage.b2_unfinished import cancel_abandoned
from octjob.storage.b2_versions import ABSENT, AFTER, OWNER, current_version, history
from octjob.storage.base import (
    AlreadyExistsError,
    ObjectInfo,
    ObjectNotFoundError,
    VersionConflictError,
    Write,
)
from octjob.storage.connections import received
from octjob.storage.patience import DamagedBytesError, counted, persist, verified
from octjob.storage.perprocess import PerProcess
from octjob.storage.pieces import PIECE_BYTES, Pieces

logger = logging.getLogger(__name__)

_PAGE = 1000  # listings are billed per thousand names


class B2Store:
    """An `ObjectStore` below a `b2://bucket/prefix` URI. Versions are file ids, checksums `sha1:<hex>`.

    A plain `put` leaves earlier versions to the bucket's lifecycle rules; `delete` removes all versions.
    timeout_s: of one request without an answer. retry_s: per request for transient faults.
    """

    def __init__(self, root: str, *, timeout_s: float = 60.0, retry_s: float = 120.0) -> None:
        parsed = parse_uri(root)
        self._root = str(parsed)
        self._bucket_name = parsed.bucket
        self._base = f"{parsed.path}/" if parsed.path else ""
        self._timeout_s = timeout_s
        self._retry_s = retry_s
        self._client = PerProcess(self._connect)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._root, self._timeout_s, self._retry_s)

    @property
    def root(self) -> str:
        return self._root

    def uri(self, key: str) -> str:
        return join_uri(self._root, key)

    def get(self, key: str) -> bytes:
        def read() -> tuple[bytes, str]:
            data, version = self._download(key, None)
            return data, _problem(data, version)

        return self._verified(key, read)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        def read() -> tuple[bytes, str]:
            found: builtins.list[bytes | memoryview] = []
            pieces = Pieces(lambda at, piece: found.append(piece), start, length)
            _, problem = self._read_range(key, start, length, pieces)
            return b"".join(found), problem

        return self._verified(key, read)

    def copy_range(self, key: str, start: int, length: int, write: Write) -> None:
        def read() -> tuple[int, str]:
            return self._read_range(key, start, length, Pieces(write, start, length))

        with self._errors(key):
            persist(counted(read, self.uri(key)), pause_after, self._retry_s)

    def _read_range(self, key: str, start: int, length: int, pieces: Pieces) -> tuple[int, str]:
        """Write a range to `pieces`; returns how many bytes it has, and what is wrong with that."""
        end = start + length
        for _ in range(2):
            if end <= start:
                return 0, ""
            try:
                file = self._open(key, (start, end - 1))
            except (b2_errors.InvalidRange, b2_errors.UnsatisfiableRange):
                # Past the end B2 sends less than asked for, or refuses: ask for what there is.
                end = min(start + length, self.head(key).size)
                continue
            with file.response as response, received(pieces):
                for piece in response.raw.stream(PIECE_BYTES, decode_content=False):
                    pieces.write(piece)
            number = pieces.number
            return number, "" if number == end - start else f"{number} of {end - start} bytes"
        return 0, f"the server sent another range than {start} to {end}"

    def head(self, key: str) -> ObjectInfo:
        with self._errors(key):
            _, bucket = self._client.get()
            version = bucket.get_file_info_by_name(self._name(key))
            if AFTER in version.file_info:
                version = self._current(key)
            if version is None:
                raise b2_errors.FileNotPresent(file_id_or_name=key)
        return self._info(version)

    def exists(self, key: str) -> bool:
        try:
            self.head(key)
        except ObjectNotFoundError:
            return False
        return True

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        if not if_absent and if_version is None:
            with self._errors(key):
                return str(self._upload(key, data, {}).id_)
        self._check_unlost(key, if_version, self._current(key))
        owner = uuid.uuid4().hex
        failure: AccessError | None = None
        try:
            with self._errors(key):
                self._upload(key, data, {AFTER: if_version or ABSENT, OWNER: owner})
        except AccessError as error:
            failure = error  # the bytes may have arrived all the same, and only the reply been lost
        return self._settle(key, owner, if_version, failure)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._errors(""):
            for name, versions in groupby(
                self._versions(self._base + prefix), lambda version: version.file_name
            ):
                version = current_version(versions)
                # A trailing slash marks an empty folder made in the console: not an object of ours.
                if version is not None and not name.endswith("/"):
                    yield self._info(version)

    def delete(self, key: str) -> None:
        with self._errors(key):
            versions = self._versions_of(key)
            if current_version(versions) is None:
                raise b2_errors.FileNotPresent(file_id_or_name=key)
            # Oldest first: the other way round, older content would show through meanwhile.
            for version in sorted(versions, key=lambda version: (version.upload_timestamp, version.id_)):
                with contextlib.suppress(b2_errors.FileNotPresent):
                    self._remove(version)

    def _settle(self, key: str, owner: str, if_version: str | None, failure: AccessError | None) -> str:
        """After a conditional upload: the version if it counts, else remove it and raise the loss."""
        versions = self._versions_of(key)
        mine = [version for version in versions if (version.file_info or {}).get(OWNER) == owner]
        if not mine and failure is not None:
            raise failure
        counted = history(versions)
        won = [version for version in mine if version in counted]
        for version in mine:
            # One that counted stays, though replaced since: what replaced it follows it.
            if version not in won:
                self._remove_lost(key, version)
        if won:
            return str(won[-1].id_)
        self._check_unlost(key, if_version, counted[-1])
        raise AlreadyExistsError(f"{self.uri(key)} was written and deleted by others meanwhile")

    def _check_unlost(self, key: str, if_version: str | None, current: Any | None) -> None:
        if if_version is None and current is not None:
            raise AlreadyExistsError(f"{self.uri(key)} exists already")
        if if_version is not None and (current is None or current.id_ != if_version):
            found = "is gone" if current is None else "changed"
            raise VersionConflictError(f"{self.uri(key)} {found} since version {if_version}")

    def _remove_lost(self, key: str, version: Any) -> None:
        try:
            with contextlib.suppress(b2_errors.FileNotPresent):
                self._remove(version)
        except b2_errors.B2Error as error:
            # It does not count anyway: only the space is lost.
            logger.warning(
                "%s: could not remove version %s, which lost a race: %s", self.uri(key), version.id_, error
            )

    def _upload(self, key: str, data: bytes, file_info: dict[str, str]) -> Any:
        api, bucket = self._client.get()
        uploaded = upload(bucket, self._name(key), data, file_info, self._retry_s)
        cancel_abandoned(api, bucket, uploaded)
        return uploaded

    def _verified(self, key: str, read: Callable[[], tuple[bytes, str]]) -> bytes:
        with self._errors(key):
            return persist(verified(read, self.uri(key)), pause_after, self._retry_s)

    def _download(self, key: str, range_: tuple[int, int] | None) -> tuple[bytes, Any]:
        """The bytes of a range (both ends included), or of the whole object, unverified; and their version."""
        file = self._open(key, range_)
        with file.response as response:
            return bytes(response.content), file.download_version

    def _open(self, key: str, range_: tuple[int, int] | None) -> Any:
        """The answer to a download of a range (both ends included), or of the whole object, its body unread.

        One body from its start to its end: b2sdk's own saving would go on after a cut and append the rest.
        """
        api, bucket = self._client.get()
        file = bucket.download_file_by_name(self._name(key), range_=range_)
        if AFTER in file.download_version.file_info:
            current = self._current(key)
            if current is None:
                raise b2_errors.FileNotPresent(file_id_or_name=key)
            if current.id_ != file.download_version.id_:
                file.response.close()
                file = api.download_file_by_id(current.id_, range_=range_)
        return file

    def _current(self, key: str) -> Any | None:
        return current_version(self._versions_of(key))

    def _versions_of(self, key: str) -> builtins.list[Any]:
        with self._errors(key):
            _, bucket = self._client.get()
            return list(bucket.list_file_versions(self._name(key), fetch_count=100))

    def _versions(self, prefix: str) -> Iterator[Any]:
        api, bucket = self._client.get()
        name: str | None = None
        file_id: str | None = None
        while True:
            page = api.session.list_file_versions(bucket.id_, name, file_id, _PAGE, prefix)
            for entry in page["files"]:
                yield api.file_version_factory.from_api_response(entry)
            name, file_id = page["nextFileName"], page["nextFileId"]
            if name is None:
                return

    def _remove(self, version: Any) -> None:
        api, _ = self._client.get()
        api.delete_file_version(version.id_, version.file_name)

    def _info(self, version: Any) -> ObjectInfo:
        return ObjectInfo(
            version.file_name[len(self._base) :], version.size, str(version.id_), _checksum(version)
        )

    def _name(self, key: str) -> str:
        return self._base + check_key(key, self._root)

    def _connect(self) -> tuple[B2Api, Bucket]:
        api = connect(self._root, self._retry_s, self._timeout_s)
        return api, api.get_bucket_by_name(self._bucket_name)

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """Turn b2sdk's errors into ours, naming the URI; ranges past the end stay as they are."""
        uri = self.uri(key) if key else self._root
        try:
            yield
        except (b2_errors.InvalidRange, b2_errors.UnsatisfiableRange):
            raise
        except b2_errors.NonExistentBucket as error:
            hint = "check the bucket's name and the account"
            raise AccessError(f"{uri}: bucket {self._bucket_name} does not exist", hint) from error
        except b2_errors.FileNotPresent:
            raise ObjectNotFoundError(f"{uri} does not exist", "check the URI") from None
        except (
            b2_errors.B2Error,
            RequestException,
            urllib3.exceptions.HTTPError,
            DamagedBytesError,
        ) as error:
            raise access_error(uri, error, self._retry_s) from error


def _restore(root: str, timeout_s: float, retry_s: float) -> B2Store:
    return B2Store(root, timeout_s=timeout_s, retry_s=retry_s)


def _checksum(version: Any) -> str:
    """`sha1:<hex>` of a version; large files carry theirs in the file info, where the uploader put one."""
    sha1 = version.content_sha1
    if sha1 in (None, "none"):
        sha1 = (version.file_info or {}).get("large_file_sha1", "")
    # "unverified:" marks a checksum that B2 did not check on upload; it is no less the uploader's.
    sha1 = sha1.removeprefix("unverified:")
    return f"sha1:{sha1}" if sha1 else ""


def _problem(data: bytes, version: Any) -> str:
    """What is wrong with a whole object's bytes, empty if nothing."""
    if len(data) != version.size:
        return f"{len(data)} of {version.size} bytes"
    checksum = _checksum(version)
    found = f"sha1:{hashlib.sha1(data).hexdigest()}"
    return f"its SHA-1 is {found}, not {checksum}" if checksum and found != checksum else ""

"""Google Cloud Storage: generation preconditions, CRC-32C end to end, the SDK's own retries.

Credentials are Google's application default credentials. `STORAGE_EMULATOR_HOST` (an emulator, no login)
and `CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true` (public buckets) are honoured as Google's own tools do.
"""

from __future__ import annotations

import base64
import contextlib
import os
import uuid
from collections.abc import Iterator
from typing import Any

from octjob.errors import AccessError, DataError
from octjob.storage.base import AlreadyExistsError, ObjectInfo, ObjectNotFoundError, VersionConflictError
from octjob.storage.perprocess import PerProcess
from octjob.storage.uri import check_key, join_uri, parse_uri

# Written into the metadata of conditional writes: a retry after a lost reply finds our own object in its way.
_OWNER = "octjob-owner"
_NUM_DOWNLOAD_TRIES = 3
_LOGIN_HINT = (
    "run `gcloud auth application-default login`, or use a service account that may read and write there"
)


class GcsStore:
    """An `ObjectStore` below a `gs://bucket/prefix` URI. Versions are generations, checksums `crc32c:<hex>`.

    timeout_s: of one request without an answer. retry_s: total per operation for transient faults.
    """

    def __init__(self, root: str, *, timeout_s: float = 60.0, retry_s: float = 120.0) -> None:
        parsed = parse_uri(root)
        self._root = str(parsed)
        self._bucket_name = parsed.bucket
        self._base = f"{parsed.path}/" if parsed.path else ""
        self._timeout_s = timeout_s
        self._retry_s = retry_s
        self._bucket = PerProcess(self._connect)
        self._bucket_seen = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._root, self._timeout_s, self._retry_s)

    @property
    def root(self) -> str:
        return self._root

    def uri(self, key: str) -> str:
        return join_uri(self._root, key)

    def get(self, key: str) -> bytes:
        return self._download(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        if length <= 0:
            return b""
        data = self._download(key, start, length)
        if len(data) == length:
            return data
        # Short is right only at the end of the object.
        expected = max(0, min(length, self.head(key).size - start))
        for _ in range(_NUM_DOWNLOAD_TRIES - 1):
            if len(data) == expected:
                return data
            data = self._download(key, start, length)
        if len(data) != expected:
            raise _damaged(self.uri(key), f"{len(data)} of {expected} bytes from {start} arrived")
        return data

    def head(self, key: str) -> ObjectInfo:
        with self._errors(key):
            blob = self._blob(key)
            blob.reload(**self._patience())
        return self._info(blob)

    def exists(self, key: str) -> bool:
        try:
            self.head(key)
        except ObjectNotFoundError:
            return False
        return True

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        from google.api_core.exceptions import PreconditionFailed

        owner = uuid.uuid4().hex
        generation = 0 if if_absent else (_generation(if_version) if if_version is not None else None)
        with self._errors(key):
            blob = self._blob(key)
            if generation is not None:
                blob.metadata = {_OWNER: owner}
            try:
                blob.upload_from_string(
                    data,
                    content_type="application/octet-stream",
                    if_generation_match=generation,
                    checksum="crc32c",
                    **self._patience(),
                )
            except PreconditionFailed:
                return self._own_version(key, owner, if_version)
        return str(blob.generation)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._errors(""):
            bucket = self._bucket.get()
            fields = "items(name,size,generation,crc32c),nextPageToken"
            blobs = bucket.list_blobs(prefix=self._base + prefix, fields=fields, **self._patience())
            for blob in blobs:
                # A trailing slash marks an empty folder made in the console: not an object of ours.
                if not blob.name.endswith("/"):
                    yield self._info(blob)

    def delete(self, key: str) -> None:
        with self._errors(key):
            self._blob(key).delete(**self._patience())

    def _download(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """The bytes of a range, or of the whole object verified by CRC-32C; empty past the end."""
        from google.api_core.exceptions import RequestRangeNotSatisfiable
        from google.cloud.storage.exceptions import DataCorruption

        end = None if length is None else start + length - 1
        begin = None if length is None else start
        for _ in range(_NUM_DOWNLOAD_TRIES):
            with self._errors(key), contextlib.suppress(DataCorruption):
                try:
                    data: bytes = self._blob(key).download_as_bytes(
                        start=begin, end=end, raw_download=True, checksum="auto", **self._patience()
                    )
                except RequestRangeNotSatisfiable:
                    return b""
                return data
        raise _damaged(self.uri(key), f"its CRC-32C was wrong {_NUM_DOWNLOAD_TRIES} times")

    def _own_version(self, key: str, owner: str, if_version: str | None) -> str:
        """After a failed precondition: the version if the object there is ours after all, else the loss."""
        try:
            blob = self._blob(key)
            with self._errors(key):
                blob.reload(**self._patience())
        except ObjectNotFoundError:
            # Gone again: only a conditional replacement can have failed on that.
            raise VersionConflictError(f"{self.uri(key)} is gone since version {if_version}") from None
        if (blob.metadata or {}).get(_OWNER) == owner:
            return str(blob.generation)
        if if_version is None:
            raise AlreadyExistsError(f"{self.uri(key)} exists already")
        raise VersionConflictError(f"{self.uri(key)} changed since version {if_version}")

    def _info(self, blob: Any) -> ObjectInfo:
        checksum = f"crc32c:{base64.b64decode(blob.crc32c).hex()}" if blob.crc32c else ""
        return ObjectInfo(blob.name[len(self._base) :], int(blob.size), str(blob.generation), checksum)

    def _blob(self, key: str) -> Any:
        return self._bucket.get().blob(self._base + check_key(key, self._root))

    def _patience(self) -> dict[str, Any]:
        from google.cloud.storage.retry import DEFAULT_RETRY

        return {"timeout": self._timeout_s, "retry": DEFAULT_RETRY.with_timeout(self._retry_s)}

    def _connect(self) -> Any:
        import google.auth
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        anonymous = os.environ.get("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "").lower() in ("1", "true", "yes")
        if anonymous or os.environ.get("STORAGE_EMULATOR_HOST"):
            credentials: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
        else:
            scope = "https://www.googleapis.com/auth/devstorage.read_write"
            credentials, _ = google.auth.default(scopes=[scope])
        # Objects need no project; an explicit None keeps the client from insisting on one.
        return storage.Client(project=None, credentials=credentials).bucket(self._bucket_name)

    def _has_bucket(self) -> bool:
        """Whether the bucket is there; true where listing it is not allowed, since then nobody can tell."""
        from google.api_core.exceptions import Forbidden, NotFound

        if not self._bucket_seen:
            try:
                next(iter(self._bucket.get().list_blobs(max_results=1, **self._patience())), None)
            except NotFound:
                return False
            except Forbidden:
                return True
            self._bucket_seen = True
        return True

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """Turn Google's errors into ours, naming the URI."""
        from google.api_core import exceptions
        from google.auth.exceptions import GoogleAuthError
        from requests import RequestException

        uri = self.uri(key) if key else self._root
        try:
            yield
        except exceptions.NotFound as error:
            if not key or not self._has_bucket():
                hint = "check the bucket's name and the project"
                raise AccessError(f"{uri}: bucket {self._bucket_name} does not exist", hint) from error
            raise ObjectNotFoundError(f"{uri} does not exist", "check the URI") from None
        except (exceptions.Forbidden, exceptions.Unauthorized) as error:
            raise AccessError(f"{uri}: permission refused: {_first_line(error)}", _LOGIN_HINT) from error
        except GoogleAuthError as error:
            raise AccessError(
                f"{uri}: no usable Google credentials: {_first_line(error)}", _LOGIN_HINT
            ) from error
        except (exceptions.GoogleAPIError, RequestException, OSError) as error:
            hint = f"retried for up to {self._retry_s:g} s; check the network and try again"
            raise AccessError(f"{uri}: {_first_line(error)}", hint) from error


def _restore(root: str, timeout_s: float, retry_s: float) -> GcsStore:
    return GcsStore(root, timeout_s=timeout_s, retry_s=retry_s)


def _generation(version: str) -> int:
    try:
        return int(version)
    except ValueError:
        raise VersionConflictError(f"version {version!r} is not a generation of this store") from None


def _damaged(uri: str, what: str) -> DataError:
    return DataError(f"{uri} arrived damaged: {what}", "try again; if it persists, upload the object anew")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

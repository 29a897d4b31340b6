"""Google Cloud Storage: generation preconditions, CRC-32C end to end, every transient fault tried again.

The SDK resumes a download that was cut, and then checks no checksum. So here it may retry nothing within an
operation: a body that was cut is read anew from its start, and what arrived is verified against the object's
own CRC-32C.

Credentials are Google's application default credentials. `STORAGE_EMULATOR_HOST` (an emulator, no login)
and `CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true` (public buckets) are honoured as Google's own tools do.
"""

from __future__ import annotations

import base64
import builtins
import contextlib
import io
import os
import uuid
from collections.abc import Callable, Iterator
from typing import IO, Any, TypeVar

from octjob.errors import AccessError, UnavailableError
from octjob.spec.uri import check_key, join_uri, parse_uri
from octjob.storage.base import (
    AlreadyExistsError,
    ObjectInfo,
    ObjectNotFoundError,
    VersionConflictError,
    Write,
)
from octjob.storage.connections import keep_connections, read_in_large_pieces, received
from octjob.storage.patience import (
    FIRST_PAUSE_S,
    MAX_PAUSE_S,
    DamagedBytesError,
    counted,
    is_broken_transport,
    verified,
)
from octjob.storage.perprocess import PerProcess
from octjob.storage.pieces import Pieces

T = TypeVar("T")

# Written into the metadata of conditional writes: a retry after a lost reply finds our own object in its way.
# A replacement carries on its predecessors' owners, so that ours is found even if others have replaced it since.
_OWNER = "octjob-owner"
_NUM_OWNERS = 16
# The version of a write that counted and was replaced before we knew: no object has this generation.
_SUPERSEDED = "1"
_TRANSIENT_STATUSES = (408, 429)
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
        def read() -> tuple[bytes, str]:
            data, blob = self._download(key)
            if blob.crc32c is None:
                blob.reload(**self._once())
            found = _crc32c(data)
            return data, "" if found == blob.crc32c else f"its CRC-32C is {found}, not {blob.crc32c}"

        with self._errors(key):
            return self._persist(verified(read, self.uri(key)))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        if length <= 0:
            return b""

        def read() -> tuple[bytes, str]:
            data, blob = self._download(key, start, length)
            return data, self._problem(blob, len(data), start, length)

        with self._errors(key):
            return self._persist(verified(read, self.uri(key)))

    def copy_range(self, key: str, start: int, length: int, write: Write) -> None:
        if length <= 0:
            return

        def read() -> tuple[int, str]:
            blob, pieces = self._blob(key), Pieces(write, start, length)
            with received(pieces):
                self._download_to(pieces, blob, start, length)
            return pieces.number, self._problem(blob, pieces.number, start, length)

        with self._errors(key):
            self._persist(counted(read, self.uri(key)))

    def _problem(self, blob: Any, number: int, start: int, length: int) -> str:
        """What is wrong where a range of `blob` has given `number` bytes, empty if nothing."""
        if number == length:
            return ""
        # Other lengths are right only at the end of the very object that was read.
        generation = blob.generation
        blob.reload(**self._once())
        expected = max(0, min(length, int(blob.size) - start))
        if generation is not None and int(generation) != int(blob.generation):
            return f"it was replaced while bytes from {start} were read"
        return "" if number == expected else f"{number} of {expected} bytes from {start}"

    def head(self, key: str) -> ObjectInfo:
        with self._errors(key):
            return self._info(self._persist(lambda: self._reloaded(key)))

    def exists(self, key: str) -> bool:
        try:
            self.head(key)
        except ObjectNotFoundError:
            return False
        return True

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        from google.api_core.exceptions import PreconditionFailed

        owner, checksum = uuid.uuid4().hex, _crc32c(data)
        generation = 0 if if_absent else (_generation(if_version) if if_version is not None else None)
        owners = [owner]

        def write() -> str:
            nonlocal generation
            blob = self._blob(key)
            if generation is not None:
                blob.metadata = {_OWNER: " ".join(owners)}
            try:
                blob.upload_from_string(
                    data,
                    content_type="application/octet-stream",
                    if_generation_match=generation,
                    checksum="crc32c",
                    **self._once(),
                )
            except PreconditionFailed:
                blob = self._own(key, owner, if_version)
                if _owners(blob)[0] != owner:
                    return _SUPERSEDED
            if blob.crc32c != checksum:
                # Ours, since nobody else's passes here: the next try replaces exactly this one.
                generation = None if generation is None else int(blob.generation)
                raise DamagedBytesError(f"the upload arrived with CRC-32C {blob.crc32c}, not {checksum}")
            return str(blob.generation)

        with self._errors(key):
            if generation:
                owners += self._persist(lambda: self._owners_before(key, if_version))
            return self._persist(write)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._errors(""):
            bucket = self._persist(self._bucket.get)
            fields = "items(name,size,generation,crc32c),nextPageToken"
            blobs = bucket.list_blobs(
                prefix=self._base + prefix, fields=fields, timeout=self._timeout_s, retry=self._patience()
            )
            for blob in blobs:
                # A trailing slash marks an empty folder made in the console: not an object of ours.
                if not blob.name.endswith("/"):
                    yield self._info(blob)

    def delete(self, key: str) -> None:
        from google.api_core.exceptions import NotFound

        faults: builtins.list[Exception] = []

        def remove() -> None:
            try:
                self._blob(key).delete(**self._once())
            except NotFound:
                # It was there: after a reply that was lost, this very call removed it.
                if not faults or not self._has_bucket():
                    raise

        with self._errors(key):
            self._persist(lambda: self._reloaded(key))
            self._persist(remove, faults.append)

    def _download(self, key: str, start: int = 0, length: int | None = None) -> tuple[bytes, Any]:
        """The bytes of a range, or of the whole object, unverified and never resumed, and their blob.

        Empty past the end.
        """
        blob, data = self._blob(key), io.BytesIO()
        self._download_to(data, blob, start, length)
        return data.getvalue(), blob

    def _download_to(self, file: IO[bytes] | Pieces, blob: Any, start: int, length: int | None) -> None:
        from google.api_core.exceptions import RequestRangeNotSatisfiable

        begin, end = (None, None) if length is None else (start, start + length - 1)
        with contextlib.suppress(RequestRangeNotSatisfiable):
            blob.download_to_file(
                file, start=begin, end=end, raw_download=True, checksum=None, **self._once()
            )

    def _own(self, key: str, owner: str, if_version: str | None) -> Any:
        """After a failed precondition: the blob there if it is ours or follows ours, else the loss."""
        from google.api_core.exceptions import NotFound

        try:
            blob = self._reloaded(key)
        except NotFound:
            if not self._has_bucket():
                raise
            # Gone again: only a conditional replacement can have failed on that.
            raise VersionConflictError(f"{self.uri(key)} is gone since version {if_version}") from None
        if owner in _owners(blob):
            return blob
        if if_version is None:
            raise AlreadyExistsError(f"{self.uri(key)} exists already")
        raise VersionConflictError(f"{self.uri(key)} changed since version {if_version}")

    def _owners_before(self, key: str, if_version: str | None) -> builtins.list[str]:
        """The owners of the version to replace, newest first, or the loss where it is current no more."""
        from google.api_core.exceptions import NotFound

        try:
            blob = self._reloaded(key)
        except NotFound:
            if not self._has_bucket():
                raise
            raise VersionConflictError(f"{self.uri(key)} is gone since version {if_version}") from None
        if str(blob.generation) != if_version:
            raise VersionConflictError(f"{self.uri(key)} changed since version {if_version}")
        return _owners(blob)[: _NUM_OWNERS - 1]

    def _reloaded(self, key: str) -> Any:
        blob = self._blob(key)
        blob.reload(**self._once())
        return blob

    def _info(self, blob: Any) -> ObjectInfo:
        checksum = f"crc32c:{base64.b64decode(blob.crc32c).hex()}" if blob.crc32c else ""
        return ObjectInfo(blob.name[len(self._base) :], int(blob.size), str(blob.generation), checksum)

    def _blob(self, key: str) -> Any:
        return self._bucket.get().blob(self._base + check_key(key, self._root))

    def _once(self) -> dict[str, Any]:
        """Options of one request: whether it is tried again is decided around the whole operation."""
        return {"timeout": self._timeout_s, "retry": None}

    def _patience(self, on_error: Callable[[Exception], object] | None = None) -> Any:
        from google.api_core.retry import Retry

        return Retry(
            predicate=_is_transient,
            initial=FIRST_PAUSE_S,
            maximum=MAX_PAUSE_S,
            multiplier=2.0,
            timeout=self._retry_s,
            on_error=on_error,
        )

    def _persist(self, action: Callable[[], T], on_error: Callable[[Exception], object] | None = None) -> T:
        result: T = self._patience(on_error)(action)()
        return result

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
        client = storage.Client(project=None, credentials=credentials)
        keep_connections(client._http)
        read_in_large_pieces(client._http)
        return client.bucket(self._bucket_name)

    def _has_bucket(self) -> bool:
        """Whether the bucket is there; true where listing it is not allowed, since then nobody can tell."""
        from google.api_core.exceptions import Forbidden, NotFound

        if not self._bucket_seen:
            try:
                found = self._bucket.get().list_blobs(
                    max_results=1, timeout=self._timeout_s, retry=self._patience()
                )
                next(iter(found), None)
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
        except exceptions.RetryError as error:
            hint = f"tried for {self._retry_s:g} s; check the network and try again"
            cause = error.cause or error
            raise UnavailableError(f"{uri} cannot be reached: {_first_line(cause)}", hint) from error
        except GoogleAuthError as error:
            raise AccessError(
                f"{uri}: no usable Google credentials: {_first_line(error)}", _LOGIN_HINT
            ) from error
        except (exceptions.GoogleAPIError, RequestException, OSError) as error:
            raise AccessError(f"{uri}: {_first_line(error)}", "check the URI") from error


def _is_transient(error: BaseException) -> bool:
    """Whether another try may succeed: the one place that says so for GCS."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

    if isinstance(error, GoogleAPICallError):
        return error.code in _TRANSIENT_STATUSES or (error.code or 0) >= 500
    if isinstance(error, InvalidResponse):
        return error.response.status_code in _TRANSIENT_STATUSES or error.response.status_code >= 500
    if isinstance(error, GoogleAuthError):
        return isinstance(error, TransportError) or bool(error.retryable)
    return isinstance(error, DataCorruption) or is_broken_transport(error)


def _restore(root: str, timeout_s: float, retry_s: float) -> GcsStore:
    return GcsStore(root, timeout_s=timeout_s, retry_s=retry_s)


def _generation(version: str) -> int:
    try:
        return int(version)
    except ValueError:
        raise VersionConflictError(f"version {version!r} is not a generation of this store") from None


def _owners(blob: Any) -> list[str]:
    return str((blob.metadata or {}).get(_OWNER, "")).split() or [""]


def _crc32c(data: bytes) -> str:
    """As GCS writes it: base64 of four bytes."""
    import google_crc32c

    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

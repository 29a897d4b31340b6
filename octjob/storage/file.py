"""Objects as files below a directory: every write is whole or not there at all.

Assumes a local or cluster file system with rename, hard links and flock; `gcsfuse` mounts have none: use gs://.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from stat import S_ISDIR
from typing import TypeVar

from octjob.errors import AccessError, UnavailableError
from octjob.spec.uri import check_key, join_uri, parse_uri
from octjob.storage.base import (
    NO_ROOM,
    AlreadyExistsError,
    ObjectInfo,
    ObjectNotFoundError,
    StoreFullError,
    VersionConflictError,
    Write,
)
from octjob.storage.patience import DamagedBytesError, counted, persist, verified
from octjob.storage.pieces import PIECE_BYTES, Pieces
from octjob.storage.temporary import is_temporary, remove_dead, temporary_file

T = TypeVar("T")

_FOLDER_TRIES = 3
# What network file systems answer while their server is away, or has forgotten us.
_TRANSIENT = (errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT)


class FileStore:
    """An `ObjectStore` in the directory of a `file://` URI; the directory is made by the first write.

    Versions are `<mtime in ns>-<inode>-<size>`; replacing writes move mtime strictly forward, so that a
    version never comes back. Temporary files are named `.octjob-*.tmp`, are never listed; what a
    killed writer leaves, the next process removes before its first write to that folder.

    retry_s: per operation for the transient faults of network file systems (EIO, ESTALE, timeouts).
    """

    def __init__(self, root: str, *, retry_s: float = 120.0) -> None:
        parsed = parse_uri(root)
        self._retry_s = retry_s
        self._root = str(parsed)
        self._dir = Path(parsed.path)
        self._swept: set[Path] = set()

    @property
    def root(self) -> str:
        return self._root

    def uri(self, key: str) -> str:
        return join_uri(self._root, key)

    def get(self, key: str) -> bytes:
        def read() -> tuple[bytes, str]:
            with open(self._path(key), "rb") as file:
                data, size = file.read(), os.fstat(file.fileno()).st_size
            return data, "" if len(data) == size else f"{len(data)} of {size} bytes"

        with self._errors(key):
            return self._persist(verified(read, self.uri(key)))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        def read() -> tuple[bytes, str]:
            with open(self._path(key), "rb") as file:
                file.seek(start)
                data, size = file.read(length), os.fstat(file.fileno()).st_size
            expected = max(0, min(length, size - start))
            return data, "" if len(data) == expected else f"{len(data)} of {expected} bytes from {start}"

        with self._errors(key):
            return self._persist(verified(read, self.uri(key)))

    def copy_range(self, key: str, start: int, length: int, write: Write) -> None:
        def read() -> tuple[int, str]:
            pieces = Pieces(write, start, length)
            with open(self._path(key), "rb", buffering=0) as source:
                source.seek(start)
                while piece := source.read(min(PIECE_BYTES, length - pieces.number)):
                    pieces.write(piece)
                size = os.fstat(source.fileno()).st_size
            expected = max(0, min(length, size - start))
            problem = "" if pieces.number == expected else f"{pieces.number} of {expected} bytes from {start}"
            return pieces.number, problem

        with self._errors(key):
            self._persist(counted(read, self.uri(key)))

    def head(self, key: str) -> ObjectInfo:
        with self._errors(key):
            path = self._path(key)
            stat = self._persist(path.stat)
            if S_ISDIR(stat.st_mode):
                raise IsADirectoryError(path)
        return ObjectInfo(key, stat.st_size, _version(stat))

    def exists(self, key: str) -> bool:
        try:
            self.head(key)
        except ObjectNotFoundError:
            return False
        return True

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        with self._errors(key):
            path = self._path(key)
            for _ in range(_FOLDER_TRIES - 1):
                # Its folder may be removed under our hands; the next try makes it anew.
                with contextlib.suppress(FileNotFoundError):
                    return self._put(key, path, data, if_absent=if_absent, if_version=if_version)
            return self._put(key, path, data, if_absent=if_absent, if_version=if_version)

    def _put(self, key: str, path: Path, data: bytes, *, if_absent: bool, if_version: str | None) -> str:
        with contextlib.ExitStack() as stack:
            self._persist(lambda: self._sweep(path.parent))
            new = self._persist(lambda: _written(stack, path.parent, data))
            if if_absent:
                version = self._persist(lambda: self._create(key, new, path))
            else:
                version = self._persist(lambda: self._replace(key, new, path, if_version))
            self._persist(lambda: _sync_dir(path.parent))
        return version

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        folder, _, _ = prefix.rpartition("/")
        if any(segment in ("", ".", "..") for segment in folder.split("/")) and folder:
            return
        yield from self._walk(self._dir / folder, f"{folder}/" if folder else "", prefix)

    def delete(self, key: str) -> None:
        tries = 0

        def remove() -> None:
            nonlocal tries
            tries += 1
            with _locked(path.parent):
                # After a fault the file may be gone by this very call.
                path.unlink(missing_ok=tries > 1)

        with self._errors(key):
            path = self._path(key)
            self._persist(remove)
            self._persist(lambda: _sync_dir(path.parent))

    def _sweep(self, folder: Path) -> None:
        """Before the first write to a folder: remove what dead writers left there."""
        if folder not in self._swept:
            remove_dead(folder)
            self._swept.add(folder)

    def _create(self, key: str, new: _New, path: Path) -> str:
        try:
            os.link(new.path, path)
        except FileExistsError:
            # It may be there by a try of ours whose answer was a fault.
            if not os.path.samestat(new.stat(), path.stat()):
                raise AlreadyExistsError(f"{self.uri(key)} exists already") from None
        return _version(new.stat())

    def _replace(self, key: str, new: _New, path: Path, if_version: str | None) -> str:
        # Unconditional writes take the lock too: a conditional one must not overwrite what it has not seen.
        with _locked(path.parent):
            current = _stat_or_none(path)
            if current is not None and os.path.samestat(new.stat(), current):
                return _version(current)
            if if_version is not None and (current is None or _version(current) != if_version):
                found = "is gone" if current is None else "changed"
                raise VersionConflictError(f"{self.uri(key)} {found} since version {if_version}")
            # Inodes are reused and clocks tick coarsely: without this a version could come back.
            modified_ns = max(time.time_ns(), current.st_mtime_ns + 1 if current else 0)
            os.utime(new.path, ns=(modified_ns, modified_ns))
            version = _version(new.stat())
            os.replace(new.path, path)
        return version

    def _walk(self, folder: Path, base: str, prefix: str) -> Iterator[ObjectInfo]:
        with self._errors(base.rstrip("/")):
            names = self._persist(lambda: _names(folder))
        for name in names:
            key, path = base + name, folder / name
            if name.endswith("/") and (key.startswith(prefix) or prefix.startswith(key)):
                yield from self._walk(path, key, prefix)
            elif not name.endswith("/") and key.startswith(prefix):
                with self._errors(key):
                    stat = self._persist(partial(_stat_or_none, path))
                if stat is not None:
                    yield ObjectInfo(key, stat.st_size, _version(stat))

    def _persist(self, action: Callable[[], T]) -> T:
        return persist(action, _pause_after, self._retry_s)

    def _path(self, key: str) -> Path:
        if is_temporary(check_key(key, self._root).rpartition("/")[2]):
            raise AccessError(f"{self.uri(key)}: the name is kept for temporary files", "choose another name")
        return self._dir / key

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """Turn the operating system's errors into ours, naming the URI."""
        uri = self.uri(key) if key else self._root
        try:
            yield
        except FileNotFoundError:
            raise ObjectNotFoundError(f"{uri} does not exist", "check the path") from None
        except IsADirectoryError:
            raise ObjectNotFoundError(f"{uri} is a directory, not an object", "name a file") from None
        except (NotADirectoryError, FileExistsError):
            raise ObjectNotFoundError(f"{uri}: a parent of it is a file", "check the path") from None
        except PermissionError as error:
            hint = "check the owner and mode of the file and its directory, and that the disk is writable"
            raise AccessError(f"{uri}: {error.strerror}", hint) from error
        except DamagedBytesError as error:
            raise UnavailableError(f"{uri}: {error}", self._tried) from error
        except OSError as error:
            message = f"{uri}: {error.strerror or error}"
            if error.errno in NO_ROOM:
                raise StoreFullError(message, "make room there; the same command then continues") from error
            if error.errno in _TRANSIENT:
                raise UnavailableError(message, self._tried) from error
            raise AccessError(message, "check the path and the disk") from error

    @property
    def _tried(self) -> str:
        return f"tried for {self._retry_s:g} s; check the disk, or the server that it is mounted from"


@dataclass(frozen=True)
class _New:
    """A temporary file, written and still open, so that its inode is nobody else's."""

    path: Path
    fd: int

    def stat(self) -> os.stat_result:
        return os.fstat(self.fd)


def _written(stack: contextlib.ExitStack, folder: Path, data: bytes) -> _New:
    """A new temporary file with this content, which lives as long as `stack`."""
    with contextlib.ExitStack() as attempt:
        path, file = attempt.enter_context(temporary_file(folder))
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        stack.push(attempt.pop_all())
    return _New(path, file.fileno())


def _names(folder: Path) -> list[str]:
    """The names in a folder. Those of folders end in a slash, so that they sort as keys do: "a-b" < "a/" < "a0".

    A folder that is absent or a file holds no objects, like a prefix of a bucket without any.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
        return sorted(e.name + ("/" if e.is_dir() else "") for e in found if not is_temporary(e.name))
    return []


def _pause_after(error: Exception) -> float | None:
    """No pause in particular after a fault that may pass, None for all else."""
    again = isinstance(error, DamagedBytesError) or (isinstance(error, OSError) and error.errno in _TRANSIENT)
    return 0.0 if again else None


def _version(stat: os.stat_result) -> str:
    return f"{stat.st_mtime_ns}-{stat.st_ino}-{stat.st_size}"


def _stat_or_none(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _sync_dir(folder: Path) -> None:
    """Make a rename in `folder` survive a power loss."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the exclusive flock of the directory itself, so that no lock files lie about."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)

"""Objects as files below a directory: every write is whole or not there at all.

Assumes a local or cluster file system with rename, hard links and flock; `gcsfuse` mounts have none: use gs://.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from octjob.errors import AccessError
from octjob.spec.uri import check_key, join_uri, parse_uri
from octjob.storage.base import AlreadyExistsError, ObjectInfo, ObjectNotFoundError, VersionConflictError
from octjob.storage.temporary import is_temporary, remove_dead, temporary_file


class FileStore:
    """An `ObjectStore` in the directory of a `file://` URI; the directory is made by the first write.

    Versions are `<mtime in ns>-<inode>-<size>`; replacing writes move mtime strictly forward, so that a
    version never comes back. Temporary files are named `.octjob-*.tmp`, are never listed; what a
    killed writer leaves, the next process removes before its first write to that folder.
    """

    def __init__(self, root: str) -> None:
        parsed = parse_uri(root)
        self._root = str(parsed)
        self._dir = Path(parsed.path)
        self._swept: set[Path] = set()

    @property
    def root(self) -> str:
        return self._root

    def uri(self, key: str) -> str:
        return join_uri(self._root, key)

    def get(self, key: str) -> bytes:
        with self._errors(key), open(self._path(key), "rb") as file:
            return file.read()

    def get_range(self, key: str, start: int, length: int) -> bytes:
        with self._errors(key), open(self._path(key), "rb") as file:
            file.seek(start)
            return file.read(length)

    def head(self, key: str) -> ObjectInfo:
        with self._errors(key):
            path = self._path(key)
            stat = path.stat()
            if path.is_dir():
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
            self._sweep(path.parent)
            with temporary_file(path.parent) as (temp, file):
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                version = (
                    self._create(key, temp, path) if if_absent else self._replace(key, temp, path, if_version)
                )
            _sync_dir(path.parent)
        return version

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        folder, _, _ = prefix.rpartition("/")
        if any(segment in ("", ".", "..") for segment in folder.split("/")) and folder:
            return
        yield from self._walk(self._dir / folder, f"{folder}/" if folder else "", prefix)

    def delete(self, key: str) -> None:
        with self._errors(key):
            path = self._path(key)
            with _locked(path.parent):
                path.unlink()
            _sync_dir(path.parent)

    def _sweep(self, folder: Path) -> None:
        """Before the first write to a folder: remove what dead writers left there."""
        if folder not in self._swept:
            remove_dead(folder)
            self._swept.add(folder)

    def _create(self, key: str, temp: Path, path: Path) -> str:
        try:
            os.link(temp, path)
        except FileExistsError:
            raise AlreadyExistsError(f"{self.uri(key)} exists already") from None
        return _version(temp.stat())

    def _replace(self, key: str, temp: Path, path: Path, if_version: str | None) -> str:
        # Unconditional writes take the lock too: a conditional one must not overwrite what it has not seen.
        with _locked(path.parent):
            current = _stat_or_none(path)
            if if_version is not None and (current is None or _version(current) != if_version):
                found = "is gone" if current is None else "changed"
                raise VersionConflictError(f"{self.uri(key)} {found} since version {if_version}")
            # Inodes are reused and clocks tick coarsely: without this a version could come back.
            modified_ns = max(time.time_ns(), current.st_mtime_ns + 1 if current else 0)
            os.utime(temp, ns=(modified_ns, modified_ns))
            version = _version(temp.stat())
            os.replace(temp, path)
        return version

    def _walk(self, folder: Path, base: str, prefix: str) -> Iterator[ObjectInfo]:
        entries: list[tuple[str, os.DirEntry[str]]] = []
        # A folder that is absent or a file holds no objects, like a prefix of a bucket without any.
        with (
            self._errors(base.rstrip("/")),
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            os.scandir(folder) as found,
        ):
            # The slash makes the order of names the order of keys: "a-b" < "a/x" < "a0".
            entries = sorted(
                (e.name + ("/" if e.is_dir() else ""), e) for e in found if not is_temporary(e.name)
            )
        for name, entry in entries:
            key = base + name
            if name.endswith("/") and (key.startswith(prefix) or prefix.startswith(key)):
                yield from self._walk(Path(entry.path), key, prefix)
            elif not name.endswith("/") and key.startswith(prefix):
                stat = _stat_or_none(Path(entry.path))
                if stat is not None:
                    yield ObjectInfo(key, stat.st_size, _version(stat))

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
        except OSError as error:
            raise AccessError(f"{uri}: {error.strerror or error}", "check the path and the disk") from error


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

"""Reading a file that a user named: regular, bounded, UTF-8. No other file is opened for longer than to look."""

from __future__ import annotations

import codecs
import difflib
import os
import stat
from pathlib import Path

from octjob.errors import SpecError
from octjob.spec.show import elided

MAX_BYTES = 256 * 1024
_MAX_NAME = 300

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
_SWEEP_FILES = (".yaml", ".yml")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class UnreadableError(SpecError):
    """A file that is not there, is no text file, or may not be read; whoever was told its name can say where."""


def is_sweep_file(text: str) -> bool:
    """Whether a text that may also be a name, a URI or a directory means a sweep file."""
    return text.endswith(_SWEEP_FILES)


def split_sweep_file(text: str) -> tuple[str, str]:
    """`SWEEP.yaml/RUN` as (file, run); both empty for anything else."""
    for suffix in _SWEEP_FILES:
        head, found, run = text.partition(f"{suffix}/")
        if found and run:
            return head + suffix, run
    return "", ""


def name_of(path: Path) -> str:
    """`path` as messages have it."""
    return elided(str(path), _MAX_NAME)


def read_spec(path: Path) -> str:
    """The text of `path`, without a byte order mark.

    Raises `UnreadableError` where there is no such file, it is none, cannot be read, is too large or not UTF-8.
    """
    content = _read(path)
    if content.startswith(_UTF_16):
        raise UnreadableError(f"{name_of(path)}: is UTF-16, not UTF-8", "Save it as UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableError(
            f"{name_of(path)}:{line}: not UTF-8 (byte 0x{content[error.start]:02x})", "Save it as UTF-8."
        ) from None


def _read(path: Path) -> bytes:
    try:
        # Without O_NONBLOCK, opening a pipe waits for someone to write into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise UnreadableError(f"{name_of(path)}: no such file", _similar_files(path)) from None
    except OSError as error:
        raise UnreadableError(f"{name_of(path)}: cannot be read ({error.strerror})") from None
    except ValueError:  # NUL, or half a character
        raise UnreadableError(f"{name_of(path)}: no file can have this name") from None
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise UnreadableError(
                f"{name_of(path)}: is {_KINDS.get(stat.S_IFMT(mode), 'no file')}, not a regular file"
            )
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableError(f"{name_of(path)}: cannot be read ({error.strerror})") from None
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise UnreadableError(
            f"{name_of(path)}: larger than {MAX_BYTES // 1024} KiB, which no sweep or config is"
        )
    return content


def _similar_files(path: Path) -> str:
    try:
        names = [name for name in os.listdir(path.parent) if name.endswith((".yaml", ".yml"))]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"Did you mean {path.parent / close[0]}?" if close else ""

"""The zip archive of a torch checkpoint, checked before torch maps it.

torch writes the CRC-32 of every member and does not read it: one flipped bit in a weight loads without a word. And it
maps the bytes of a member as they lie, whatever the directory says of them.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from octjob.errors import DataError

# A pickle describes tensors, some 150 bytes each, and holds no values.
MAX_PICKLE_BYTES = 8 << 20
_MAX_MEMBERS = 100_000
_CHUNK_BYTES = 8 << 20
_ENCRYPTED = 0x1
_HINT = "Download or copy the file again and compare its size and sha256 with the original."
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    LookupError,
)


def check_archive(path: Path, uri: str) -> None:
    """Read every member once, against its CRC-32; raises `DataError` naming file and member.

    Also for what torch never writes: compressed, encrypted, repeated or overlapping members. A file saved with
    `torch.serialization.set_crc32_options(False)` has no sums, and only the rest is checked.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(members, path.stat().st_size, uri)
            if any(member.CRC for member in members):
                for member in members:
                    _check_sum(archive, member, uri)
    except _DAMAGED as error:
        raise DataError(f"{uri}: unreadable torch checkpoint: its zip directory: {error}", _HINT) from error


def _check_members(members: Sequence[zipfile.ZipInfo], size: int, uri: str) -> None:
    if len(members) > _MAX_MEMBERS:
        raise DataError(f"{uri}: {len(members)} members in the zip archive, more than {_MAX_MEMBERS}", _HINT)
    seen: set[str] = set()
    for member in members:
        problem = ""
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            problem = "is compressed"
        elif member.flag_bits & _ENCRYPTED:
            problem = "is encrypted"
        elif member.filename in seen:
            problem = "is there twice"
        elif member.filename.endswith("/data.pkl") and member.file_size > MAX_PICKLE_BYTES:
            problem = f"has {member.file_size} bytes, more than {MAX_PICKLE_BYTES}"
        if problem:
            raise DataError(
                f"{uri}: member {member.filename[:200]!r} of the zip archive {problem}, as torch writes none",
                "Save the state dict with torch.save, or as safetensors.",
            )
        seen.add(member.filename)
    placed = sorted(members, key=lambda member: member.header_offset)
    for before, after in pairwise(placed):
        if before.header_offset + before.file_size > after.header_offset:
            raise DataError(
                f"{uri}: members {before.filename[:200]!r} and {after.filename[:200]!r} of the zip archive overlap",
                _HINT,
            )
    if placed and placed[-1].header_offset + placed[-1].file_size > size:
        raise DataError(f"{uri}: member {placed[-1].filename[:200]!r} ends behind the file's end", _HINT)


def _check_sum(archive: zipfile.ZipFile, member: zipfile.ZipInfo, uri: str) -> None:
    try:
        with archive.open(member) as file:
            while file.read(_CHUNK_BYTES):
                pass
    except _DAMAGED as error:
        raise DataError(
            f"{uri}: member {member.filename[:200]!r} of the zip archive is damaged: {error}", _HINT
        ) from error

"""What a compressed B-scan says of itself, read from its markers before any decoder sees it.

Sources: ITU-T T.81 (JPEG), T.87 (JPEG-LS), T.800 and T.814 (JPEG 2000, HTJ2K). In all of them a marker is a byte
0xFF and a code that compressed data cannot hold, so that the end marker can be told from data.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

END = b"\xff\xd9"
_JPEG_START = b"\xff\xd8"
_J2K_START = b"\xff\x4f\xff\x51"
_J2K_TILE = b"\xff\x90"
_SCAN = 0xDA
# Start of frame: baseline to lossless JPEG, and JPEG-LS. 0xDE starts a hierarchy of frames of several sizes.
_FRAME = frozenset((0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7))
_FRAME_IN_SCAN = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf\xde\xf7]")
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))


class CodestreamError(ValueError):
    """Why a codestream cannot be one B-scan."""


@dataclass(frozen=True)
class Codestream:
    """One B-scan's codestream: `precision` in bits per sample; `size` in bytes, its end marker included and the
    padding behind it not."""

    rows: int
    columns: int
    components: int
    precision: int
    size: int


def read_codestream(frame: bytes, *, scan: bool = True) -> Codestream:
    """Parse the headers of one JPEG, JPEG-LS, JPEG 2000 or HTJ2K codestream.

    `scan`: look through a JPEG's data as well, for its first end marker and a second image before it; else the last
    end marker is the end, as in JPEG 2000. Raises `CodestreamError` where it is none, is cut off, or holds more than
    one image.
    """
    try:
        if frame.startswith(_JPEG_START):
            return _read_jpeg(frame, scan)
        start = frame.find(_J2K_START) if frame[4:8] == b"jP  " else 0
        if frame.startswith(_J2K_START, max(start, 0)):
            return _read_jpeg2000(frame, max(start, 0))
    except (struct.error, IndexError) as error:
        raise CodestreamError("is cut off within its codestream's header") from error
    raise CodestreamError(f"does not start as a codestream of its transfer syntax ({frame[:4].hex()})")


def _read_jpeg(frame: bytes, scan: bool) -> Codestream:
    sizes: list[tuple[int, int, int, int]] = []
    place = 2
    while True:
        if frame[place] != 0xFF:
            raise CodestreamError(f"has no marker at byte {place} of its codestream's header")
        code = frame[place + 1]
        if code == 0xFF:  # fill bytes before a marker
            place += 1
            continue
        if code in _WITHOUT_LENGTH:
            place += 2
            continue
        (length,) = struct.unpack_from(">H", frame, place + 2)
        if code in _FRAME:
            sizes.append(struct.unpack_from(">BHHB", frame, place + 4))
        place += 2 + length
        if code == _SCAN:
            break
    end = frame.find(END, place) if scan else frame.rfind(END, place)
    if end < 0:
        raise CodestreamError("is cut off: its codestream has no end marker")
    if len(sizes) != 1 or (scan and _FRAME_IN_SCAN.search(frame, place, end)):
        raise CodestreamError("holds a codestream of more or less than one image")
    precision, rows, columns, components = sizes[0]
    return Codestream(rows, columns, components, precision, end + len(END))


def _read_jpeg2000(frame: bytes, start: int) -> Codestream:
    # Image size: Lsiz, Rsiz, then the grid, the image's offset on it, tiles, and Csiz components.
    x1, y1, x0, y0, _, _, _, _, components = struct.unpack_from(">8IH", frame, start + 8)
    depth, step_x, step_y = struct.unpack_from(">3B", frame, start + 42)
    tile = frame.find(_J2K_TILE, start)
    end = frame.rfind(END, tile) if tile >= 0 else -1
    if end < 0:
        raise CodestreamError("is cut off: its codestream has no end marker")
    if (step_x, step_y) != (1, 1):
        raise CodestreamError(f"is subsampled by {step_y} x {step_x}")
    # The lowest seven bits are the depth less one, the highest the sign.
    return Codestream(y1 - y0, x1 - x0, components, (depth & 0x7F) + 1, end + len(END))

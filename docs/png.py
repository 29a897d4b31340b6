"""As much of PNG as the documentation's pictures need: chunks, a text in one, and 256 colours instead of all."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB, _PALETTE, _RGBA = 2, 3, 6
_MOST_FREQUENT = 192
_CHANNELS = {_RGB: 3, _RGBA: 4}


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, data) of each chunk. Raises `ValueError` for what is no PNG."""
    if not png.startswith(SIGNATURE):
        raise ValueError("not a PNG")
    at = len(SIGNATURE)
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        yield kind, png[at + 8 : at + 8 + length]
        at += length + 12


def text_of(png: bytes, keyword: str) -> str | None:
    """The text under a keyword."""
    start = keyword.encode() + b"\0"
    for kind, data in chunks(png):
        if kind == b"tEXt" and data.startswith(start):
            return data.removeprefix(start).decode("latin-1")
    return None


def with_text(png: bytes, keyword: str, text: str) -> bytes:
    """The same picture with a text, behind its header."""
    parts = [SIGNATURE]
    for kind, data in chunks(png):
        parts.append(chunk(kind, data))
        if kind == b"IHDR":
            parts.append(chunk(b"tEXt", f"{keyword}\0{text}".encode("latin-1")))
    return b"".join(parts)


def in_palette(png: bytes) -> bytes:
    """The same picture in at most 256 of its colours; each other pixel gets the nearest of them."""
    pixels_HWC = decoded(png)
    height, width, _ = pixels_HWC.shape
    packed_N = (pixels_HWC.reshape(-1, 3).astype(np.int64) * [65536, 256, 1]).sum(axis=1)
    colours_U, of_pixel_N, counts_U = np.unique(packed_N, return_inverse=True, return_counts=True)
    rgb_UC = np.stack([colours_U >> 16, colours_U >> 8 & 255, colours_U & 255], axis=1)
    kept_UC = _palette(rgb_UC[np.argsort(-counts_U, kind="stable")])
    nearest_U = ((rgb_UC[:, None] - kept_UC[None]) ** 2).sum(axis=2).argmin(axis=1).astype(np.uint8)
    rows_HW = nearest_U[of_pixel_N].reshape(height, width)
    filtered = np.concatenate([np.zeros((height, 1), np.uint8), rows_HW], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, _PALETTE, 0, 0, 0)
    palette = kept_UC.astype(np.uint8).tobytes()
    body = {b"IHDR": header, b"PLTE": palette, b"IDAT": zlib.compress(filtered, 9), b"IEND": b""}
    return SIGNATURE + b"".join(chunk(kind, data) for kind, data in body.items())


def _palette(rgb_UC: NDArray[np.int64]) -> NDArray[np.int64]:
    """The most frequent colours, and of the rest always the one that is farthest from all so far.

    Frequency alone would leave out what little red there is. rgb_UC: the most frequent first.
    """
    kept_UC = rgb_UC[:_MOST_FREQUENT]
    rest_UC = rgb_UC[_MOST_FREQUENT:]
    distance_U = ((rest_UC[:, None] - kept_UC[None]) ** 2).sum(axis=2).min(axis=1, initial=2**31)
    for _ in range(min(len(rest_UC), 256 - len(kept_UC))):
        next_C = rest_UC[distance_U.argmax()]
        kept_UC = np.concatenate([kept_UC, next_C[None]])
        distance_U = np.minimum(distance_U, ((rest_UC - next_C) ** 2).sum(axis=1))
    return kept_UC


def decoded(png: bytes) -> Bytes:
    """Pixels [H, W, 3] of a picture of 8 bits a channel, not interlaced; transparency is dropped."""
    found = list(chunks(png))
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", dict(found)[b"IHDR"])
    if depth != 8 or colour not in _CHANNELS or interlaced:
        raise ValueError(f"a PNG of depth {depth}, colour type {colour}, interlaced {interlaced}")
    step = _CHANNELS[colour]
    raw = zlib.decompress(b"".join(data for kind, data in found if kind == b"IDAT"))
    lines = np.frombuffer(raw, np.uint8).reshape(height, 1 + width * step)
    rows: list[Bytes] = []
    above = np.zeros(width * step, np.uint8)
    for line in lines:
        above = _unfiltered(int(line[0]), line[1:], above, step)
        rows.append(above)
    return np.stack(rows).reshape(height, width, step)[:, :, :3]


def _unfiltered(kind: int, line: Bytes, above: Bytes, step: int) -> Bytes:
    """A row as it was before one of PNG's five filters."""
    if kind == 0:
        return line.copy()
    if kind == 1:
        return np.cumsum(line.reshape(-1, step), axis=0, dtype=np.uint8).reshape(-1)
    if kind == 2:
        return line + above
    row, up = bytearray(len(line)), above.tolist()
    for at, value in enumerate(line.tolist()):
        left, corner = (row[at - step], up[at - step]) if at >= step else (0, 0)
        expected = (left + up[at]) // 2 if kind == 3 else _paeth(left, up[at], corner)
        row[at] = (value + expected) & 255
    return np.frombuffer(bytes(row), np.uint8)


def _paeth(left: int, up: int, corner: int) -> int:
    """The neighbour that is nearest to left + up - corner."""
    to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    if to_left <= to_up and to_left <= to_corner:
        return left
    return up if to_up <= to_corner else corner


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

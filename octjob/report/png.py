"""Pictures as PNG (ISO/IEC 15948), in the few lines that grey and colour with transparency need."""

from __future__ import annotations

import base64
import struct
import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGBA = 0, 6


def grey(pixels: bytes, rows: int, columns: int) -> bytes:
    """One byte a pixel."""
    return _png(pixels, rows, columns, _GREY, 1)


def rgba(pixels: bytes, rows: int, columns: int) -> bytes:
    """Four bytes a pixel: red, green, blue, opacity."""
    return _png(pixels, rows, columns, _RGBA, 4)


def data_uri(png: bytes) -> str:
    """For the source of an image."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _png(pixels: bytes, rows: int, columns: int, kind: int, depth: int) -> bytes:
    width = columns * depth
    # Each row as the difference from the one above it, which tissue in layers packs well as.
    above = bytes(width)
    lines = []
    for start in range(0, rows * width, width):
        row = pixels[start : start + width]
        lines.append(b"\x02" + bytes((a - b) & 255 for a, b in zip(row, above, strict=True)))
        above = row
    header = struct.pack(">IIBBBBB", columns, rows, 8, kind, 0, 0, 0)
    packed = zlib.compress(b"".join(lines), 9)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

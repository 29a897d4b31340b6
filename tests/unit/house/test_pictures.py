"""The pictures of the report are small, show nobody's machine, and are of the page as it is drawn now."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import pytest

from docs.png import SIGNATURE, chunk, chunks, decoded, in_palette, text_of, with_text
from docs.report_pictures import KEYWORD, MAX_BYTES, PICTURES, TAKEN, drawing_digest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", TAKEN)
def test_a_picture_is_of_the_present_page(name: str) -> None:
    png = (PICTURES / name).read_bytes()
    assert len(png) < MAX_BYTES
    assert text_of(png, KEYWORD) == drawing_digest(), f"docs/pictures/{name}: `make pictures` takes it anew"


def test_every_picture_is_shown_and_every_one_shown_is_there() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = {
        name for page in pages for name in re.findall(r"pictures/(report-[\w-]+\.png)", page.read_text())
    }
    assert shown == set(TAKEN) == {path.name for path in PICTURES.glob("report-*.png")}


def filtered(pixels_HWC: np.ndarray, kind: int) -> bytes:
    """The rows of a PNG under one filter, by the standard's own words."""
    height, width, step = pixels_HWC.shape
    flat = pixels_HWC.reshape(height, -1).astype(int)
    out = bytearray()
    for y in range(height):
        out.append(kind)
        for x in range(width * step):
            a = flat[y, x - step] if x >= step else 0
            b = flat[y - 1, x] if y else 0
            c = flat[y - 1, x - step] if y and x >= step else 0
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            out.append((flat[y, x] - [0, a, b, (a + b) // 2, paeth][kind]) % 256)
    return bytes(out)


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("step", [3, 4])
def test_every_filter_is_read(kind: int, step: int) -> None:
    pixels_HWC = np.random.default_rng(kind).integers(0, 256, size=(7, 5, step), dtype=np.uint8)
    header = (5).to_bytes(4, "big") + (7).to_bytes(4, "big") + bytes([8, {3: 2, 4: 6}[step], 0, 0, 0])
    body = zlib.compress(filtered(pixels_HWC, kind))
    png = SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    assert np.array_equal(decoded(png), pixels_HWC[:, :, :3])


def test_a_text_is_read_back_and_changes_nothing_else() -> None:
    png = (PICTURES / next(iter(TAKEN))).read_bytes()
    changed = with_text(png, "another", "word")
    assert text_of(changed, "another") == "word"
    assert text_of(changed, KEYWORD) == text_of(png, KEYWORD)
    assert text_of(png, "another") is None
    with pytest.raises(ValueError, match="not a PNG"):
        text_of(b"GIF89a", KEYWORD)


def test_few_colours_stay_as_they_are() -> None:
    pixels_HWC = np.random.default_rng(0).integers(0, 4, size=(9, 8, 3), dtype=np.uint8) * 60
    header = (8).to_bytes(4, "big") + (9).to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    png = SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(filtered(pixels_HWC, 4)))
    small = in_palette(png + chunk(b"IEND", b""))
    palette = dict(chunks(small))[b"PLTE"]
    rows = np.frombuffer(zlib.decompress(dict(chunks(small))[b"IDAT"]), np.uint8).reshape(9, 9)[:, 1:]
    assert np.array_equal(np.frombuffer(palette, np.uint8).reshape(-1, 3)[rows], pixels_HWC)

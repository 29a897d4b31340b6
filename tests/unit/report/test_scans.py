"""Example B-scans within the page: right pictures, words for them, a policy that lets pass no other, a limit."""

from __future__ import annotations

import base64
import copy
import json
import re
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from doubles.boards import document, images
from pydantic import ValidationError

from octjob.errors import DataError
from octjob.records.examples import Example, Examples, read_examples, write_examples
from octjob.report import scans
from octjob.report.page import to_html
from octjob.report.png import grey, rgba
from octjob.storage import ObjectStore


@pytest.fixture(scope="module")
def board() -> dict[str, Any]:
    return document(("good", "other"), ("logistic",), collapsed=0)


def unpacked(png: bytes, depth: int) -> np.ndarray:
    """Pixels [rows, columns, depth] of a PNG whose rows are all differences from the row above."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, chunks = 8, {}
    while at < len(png):
        (length,), name = struct.unpack(">I", png[at : at + 4]), png[at + 4 : at + 8]
        data = png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length]) == (zlib.crc32(name + data),)
        chunks[name], at = data, at + 12 + length
    columns, rows = struct.unpack(">II", chunks[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, 1 + columns * depth)
    assert (lines[:, 0] == 2).all()
    return np.cumsum(lines[:, 1:], axis=0, dtype=np.uint8).reshape(rows, columns, depth)


def test_pictures_are_the_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(5, 7, 4), dtype=np.uint8)
    assert (unpacked(rgba(pixels.tobytes(), 5, 7), 4) == pixels).all()
    assert (unpacked(grey(pixels[..., 0].tobytes(), 5, 7), 1)[..., 0] == pixels[..., 0]).all()


def test_a_page_without_images_lets_none_pass(board: dict[str, Any]) -> None:
    page = to_html(board)
    assert "img-src" not in page
    assert "<img" not in page
    assert page == to_html(board, {})


def test_a_page_with_images_lets_pass_only_those_within_it(board: dict[str, Any]) -> None:
    page = to_html(board, images(board))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    assert policy[1].endswith("; img-src data:")
    sources = re.findall(r'<img[^>]* src="([^"]+)"', page)
    # Two checkpoints, three examples, of which one has no map.
    assert len(sources) == 2 * (3 + 2)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert len(page) < 5_000_000


def test_every_picture_is_told_in_words_and_every_map_is_hidden_behind_its_picture(
    board: dict[str, Any],
) -> None:
    page = to_html(board, images(board))
    alts = re.findall(r'<img[^>]* alt="([^"]*)"', page)
    assert alts.count("") == 4
    assert (
        "Central B-scan of 1000, left eye, Maestro2: pre-diabetes with 0.61, truth healthy. Strongest at 75 % of the "
        "depth and 17 % of the width; 12 % of the volume\u2019s relevance lies in this layer."
    ) in alts
    assert any("Strongest, and against it, at" in alt for alt in alts)


def test_colours_say_for_and_against() -> None:
    example = {"relevance": [1.0, -0.5], "map_rows": 1, "map_columns": 2}
    (towards, against) = unpacked(scans._overlay(example), 4)[0]
    assert towards[0] > 200 > towards[2]
    assert against[2] > 200 > against[0]
    assert towards[3] == 2 * against[3]


def test_what_has_no_room_is_left_out_and_counted(
    board: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scans, "MAX_CHARACTERS", 30_000)
    page = to_html(board, images(board))
    assert "are left out, so that the page stays below 5 MB" in page
    assert 0 < page.count("<img") < 10


def test_names_in_examples_are_text(board: dict[str, Any]) -> None:
    stored = copy.deepcopy(images(board))
    for one in stored.values():
        one["examples"][0]["participant"] = '"><script>alert(1)</script>'
    page = to_html(board, stored)
    assert "<script>alert" not in page
    assert "&#34;&gt;&lt;script&gt;alert(1)" in page


def test_stored_examples_come_back_and_others_are_refused(
    board: dict[str, Any], file_store: ObjectStore
) -> None:
    made = Examples.model_validate(next(iter(images(board).values())))
    digest = write_examples(file_store, "a.b-1", made)
    assert read_examples(file_store, "a.b-1", digest) == made
    with pytest.raises(DataError, match=r"examples\.json: not the file that the run's result names"):
        read_examples(file_store, "a.b-1", "0" * 64)
    with pytest.raises(DataError, match=r"runs/a\.c-1/examples\.json: gone"):
        read_examples(file_store, "a.c-1", digest)


@pytest.mark.parametrize(
    "change",
    [
        {"pixels": "no base64!"},
        {"pixels": base64.b64encode(b"short").decode()},
        {"rows": 100_000},
        {"relevance": [0.0]},
        {"relevance": [2.0] * 6},
        {"probability": 1.5},
        {"kind": "guess"},
    ],
)
def test_an_example_that_is_not_what_it_says_is_refused(
    board: dict[str, Any], change: dict[str, Any]
) -> None:
    one = next(iter(images(board).values()))["examples"][0]
    Example.model_validate_json(json.dumps(one))
    with pytest.raises(ValidationError):
        Example.model_validate_json(json.dumps({**one, **change}))

"""predictions.parquet: what is written is read, the same content is the same bytes, damage is noticed."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octjob.errors import DataError
from octjob.evaluate import Predictions, by_participant
from octjob.records.layout import PREDICTIONS, run_key
from octjob.records.predictions import (
    decode_predictions,
    encode_predictions,
    read_predictions,
    write_predictions,
)
from octjob.storage import ObjectStore

COLUMNS = ("participant", "eye", "device", "split", "site", "fold", "seed", "label", "repeat")
ROW = st.tuples(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
    st.sampled_from(["OD", "OS"]),
    st.sampled_from(["Maestro2", "Spectralis"]),
    st.sampled_from(["train", "val"]),
    st.sampled_from(["", "UW"]),
    st.integers(0, 4),
    st.integers(0, 2**40),
    st.integers(0, 2),
    st.integers(0, 4),
    st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 3),
)


OLD_FILE = Path(__file__).parents[2] / "doubles/predictions-v1.parquet"


def table(rows: list[tuple[object, ...]]) -> Predictions:
    columns = list(zip(*rows, strict=True))
    return Predictions.from_columns(dict(zip((*COLUMNS, "logits"), columns, strict=True)))


def as_rows(predictions: Predictions) -> list[tuple[object, ...]]:
    columns = [getattr(predictions, name).tolist() for name in COLUMNS]
    return sorted(zip(*columns, map(tuple, predictions.logits_NK.tolist()), strict=True))


def some_rows(n: int = 40) -> list[tuple[object, ...]]:
    rng = np.random.default_rng(0)
    return [
        (f"10{k:02d}", "OD", "Maestro2", "val", "UAB", 0, seed, k % 3, 0, tuple(rng.normal(size=3).tolist()))
        for k in range(n)
        for seed in (0, 1)
    ]


@given(st.lists(ROW, min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_every_row_survives_exactly(rows: list[tuple[object, ...]]) -> None:
    written = table(rows)
    assert as_rows(decode_predictions(encode_predictions(written))) == as_rows(written)


@given(st.permutations(list(range(80))))
@settings(max_examples=10, deadline=None)
def test_same_content_in_any_order_is_the_same_bytes(order: list[int]) -> None:
    rows = some_rows()
    assert encode_predictions(table([rows[k] for k in order])) == encode_predictions(table(rows))


def test_repeated_volumes_of_an_eye_keep_their_order() -> None:
    rows = [("1001", "OD", "Maestro2", "val", "UAB", 0, 0, 1, 0, (float(k), 0.0, 0.0)) for k in (3, 1, 2)]
    read = decode_predictions(encode_predictions(table(rows)))
    assert read.logits_NK[:, 0].tolist() == [3, 1, 2]


def test_scores_are_bit_for_bit_those_before_writing(file_store: ObjectStore) -> None:
    predictions = table(some_rows())
    write_predictions(file_store, "a.linear-1", predictions)
    before, after = by_participant(predictions), by_participant(read_predictions(file_store, "a.linear-1"))
    assert np.array_equal(before.probability_SPK, after.probability_SPK)


def test_no_flipped_bit_changes_what_is_read() -> None:
    """Each damaged copy is refused or, where the bit carries nothing, reads as it was."""
    written = table(some_rows(12))
    data = encode_predictions(written)
    refused = 0
    for position in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[position] ^= 1 << (position % 8)
        try:
            read = decode_predictions(bytes(damaged))
        except DataError:
            refused += 1
        else:
            assert as_rows(read) == as_rows(written)
    assert refused > len(data) // 7 // 2


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: b"", lambda data: b"not parquet"])
def test_damaged_file_is_one_error_naming_its_uri(
    file_store: ObjectStore, damage: Callable[[bytes], bytes]
) -> None:
    write_predictions(file_store, "a.linear-1", table(some_rows()))
    key = run_key("a.linear-1", PREDICTIONS)
    file_store.put(key, damage(file_store.get(key)))
    with pytest.raises(DataError) as caught:
        read_predictions(file_store, "a.linear-1")
    assert caught.value.message.startswith(file_store.uri(key))
    assert "\n" not in caught.value.message


def test_parquet_of_somebody_else_is_refused() -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"participant": ["1001"]}), buffer)
    with pytest.raises(DataError, match="schema version none"):
        decode_predictions(buffer.getvalue())


def test_any_parquet_reader_sees_the_documented_columns() -> None:
    read = pq.read_table(io.BytesIO(encode_predictions(table(some_rows()))))
    assert read.column_names == [*COLUMNS, "logit_0", "logit_1", "logit_2"]
    assert read.schema.metadata[b"octjob.schema_version"] == b"2"


def test_a_file_from_before_there_were_repeats_is_read_as_repeat_0() -> None:
    read = decode_predictions(OLD_FILE.read_bytes())
    assert read.repeat.tolist() == [0] * 6
    assert read.seed.tolist() == [0, 0, 0, 1, 1, 1]
    assert read.fold.tolist() == [0, 1, 1, 0, 1, 1]
    assert read.logits_NK[0].tolist() == [0.001, 0.299, -0.274]

"""Reading a feature store again and again costs what is new in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from octjob.features.store import FeatureKey, Features, FeatureStore, Form
from octjob.storage.file import FileStore

KEY = FeatureKey("encoder", "preprocess", "fp32", "torch")
FORM = Form("identity", "mean-max")


class Counting(FileStore):
    """Counts the shards that are fetched."""

    fetched = 0

    def get(self, key: str) -> bytes:
        self.fetched += 1
        return super().get(key)


def made(*uids: str) -> Features:
    return {uid: np.full(3, len(uid), np.float32) for uid in uids}


@pytest.fixture
def counting(tmp_path: Path) -> Counting:
    return Counting(f"file://{tmp_path}/store")


def test_a_shard_is_fetched_once_however_often_one_looks(counting: Counting) -> None:
    writer, reader = FeatureStore(counting, KEY, FORM), FeatureStore(counting, KEY, FORM)
    wanted = {f"{i}" for i in range(20)}
    for i in range(20):
        writer.write(made(f"{i}"))
        found = reader.read(wanted)
        assert found.keys() == {f"{i}"}
        wanted -= found.keys()
    assert counting.fetched == 20
    # The writer need not fetch what it wrote itself.
    assert writer.read({"another"}) == {}
    assert counting.fetched == 20


def test_what_is_asked_for_again_is_there_again(counting: Counting) -> None:
    store = FeatureStore(counting, KEY, FORM)
    store.write(made("a", "bb"))
    store.write(made("ccc"))
    for _ in range(2):
        assert store.read(["bb", "ccc", "absent"]).keys() == {"bb", "ccc"}
    assert store.read(["a"]).keys() == {"a"}


def test_a_damaged_shard_that_was_replaced_is_fetched_anew(counting: Counting) -> None:
    one, other = FeatureStore(counting, KEY, FORM), FeatureStore(counting, KEY, FORM)
    one.write(made("a"))
    (shard,) = counting.list()
    whole = counting.get(shard.key)
    counting.put(shard.key, whole[:-1])
    assert one.read(["a"]) == other.read(["a"]) == {}
    assert one.write(made("a"))
    assert other.read(["a"]).keys() == {"a"}
    assert counting.get(shard.key) == whole

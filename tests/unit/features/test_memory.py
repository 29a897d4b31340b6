"""What stays in memory stays within its bound."""

from __future__ import annotations

import numpy as np

from octjob.features.memory import FeatureMemory
from octjob.features.store import Features


def made(*uids: str) -> Features:
    """A hundred bytes each."""
    return {uid: np.full(25, len(uid), np.float32) for uid in uids}


def test_what_was_put_there_is_there() -> None:
    memory = FeatureMemory()
    memory.put("one", made("a", "bb"))
    memory.put("one", made("ccc"))
    assert memory.get("one", ["bb", "ccc", "absent"]).keys() == {"bb", "ccc"}
    assert memory.get("other", ["a"]) == {}
    assert memory.num_bytes == 300


def test_beyond_the_bound_the_folder_used_longest_ago_is_dropped() -> None:
    memory = FeatureMemory(500)
    for name in ("one", "two"):
        memory.put(name, made("a", "b"))
    assert memory.get("one", "a")
    memory.put("three", made("a", "b"))
    assert not memory.get("two", "ab")
    assert memory.get("one", "ab").keys() == memory.get("three", "ab").keys() == {"a", "b"}
    assert memory.num_bytes == 400


def test_what_does_not_fit_at_all_is_not_kept() -> None:
    memory = FeatureMemory(150)
    memory.put("one", made("a", "b"))
    assert memory.num_bytes == 0
    memory.put("one", made("a"))
    assert memory.get("one", "a").keys() == {"a"}

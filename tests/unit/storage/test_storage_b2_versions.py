"""Racing conditional writers on B2 agree on what a real precondition would have decided."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from octjob.storage.b2_versions import ABSENT, AFTER, current_version


def version(number: int, action: str = "upload", after: str | None = None) -> Any:
    info = {} if after is None else {AFTER: after}
    return SimpleNamespace(id_=f"{number:04}", upload_timestamp=number, action=action, file_info=info)


# What each writer does, and how many steps ago it looked at the object.
writes = st.tuples(st.sampled_from(["put", "hide", "conditional"]), st.integers(0, 3))


@given(st.lists(writes, max_size=12), st.randoms())
def test_the_current_version_is_what_real_preconditions_leave(
    steps: list[tuple[str, int]], random: Any
) -> None:
    stored: list[Any] = []
    truth: list[str | None] = [None]  # the current id after each step
    for number, (kind, age) in enumerate(steps):
        seen = truth[max(0, len(truth) - 1 - age)]
        if kind == "put":
            stored.append(version(number))
            truth.append(stored[-1].id_)
        elif kind == "hide":
            stored.append(version(number, "hide"))
            truth.append(None)
        else:
            stored.append(version(number, after=seen or ABSENT))
            truth.append(stored[-1].id_ if seen == truth[-1] else truth[-1])
    random.shuffle(stored)
    current = current_version(stored)
    assert (current.id_ if current else None) == truth[-1]


def test_unfinished_large_uploads_do_not_count() -> None:
    first, started = version(1), version(2, "start")
    assert current_version([first, started]) is first
    assert current_version([started]) is None


def test_ties_of_the_clock_are_broken_by_file_id() -> None:
    first, second = version(1, after=ABSENT), version(2, after=ABSENT)
    second.upload_timestamp = first.upload_timestamp
    assert current_version([second, first]) is first


def test_winner_stays_when_what_it_followed_was_removed() -> None:
    winner, loser = version(2, after="0001"), version(3, after="0001")
    assert current_version([loser, winner]) is winner

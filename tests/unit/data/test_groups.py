"""Groups of participants that the report scores apart: thirds by age, and who was seen in pretraining."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octjob.data.groups import age_thirds, groups_facts, ids_of, read_ids
from octjob.data.participants import Participant, read_participants
from octjob.errors import DataError
from octjob.spec.experiment import Classes
from octjob.storage.file import FileStore
from tests.doubles.aireadi_bucket import Bucket


def person(identity: str, age: float | None) -> Participant:
    return Participant(identity, "UW", "healthy", 0, "val", True, age)


def test_thirds_are_named_by_the_ages_in_them() -> None:
    ages = {str(k): float(age) for k, age in enumerate((40, 45, 53, 54, 60, 64, 65, 70, 88))}
    assert Counter(age_thirds(ages).values()) == {"age 40 to 53": 3, "age 54 to 64": 3, "age 65 to 88": 3}


@settings(deadline=None)
@given(st.dictionaries(st.text("0123456789", min_size=1, max_size=4), st.integers(40, 90), min_size=1))
def test_who_is_as_old_is_in_the_same_group_and_groups_do_not_overlap(ages: dict[str, int]) -> None:
    group_of = age_thirds(ages)
    assert group_of.keys() == ages.keys()
    ranges = {}
    for identity, name in group_of.items():
        ranges.setdefault(name, []).append(ages[identity])
    ordered = sorted(ranges.values(), key=min)
    assert all(max(one) < min(next_) for one, next_ in pairwise(ordered))
    assert 1 <= len(ordered) <= 3


def test_an_age_that_is_no_number_is_not_known(tmp_path: Path) -> None:
    bucket = Bucket(tmp_path)
    for identity, age in (
        ("1", "61"),
        ("2", "Not reported"),
        ("3", "90+"),
        ("4", ""),
        ("5", "61.5"),
        ("6", "nan"),
    ):
        bucket.person(identity)
        bucket.people[-1]["age"] = age
    found = read_participants(bucket.write(manifest=False), "participants.tsv", Classes())
    assert {p.id: p.age for p in found} == {"1": 61, "2": None, "3": None, "4": None, "5": 61.5, "6": None}


def test_a_table_without_ages_and_a_checkpoint_that_says_nothing_make_no_groups() -> None:
    facts = groups_facts([person("1", None)], None)
    assert facts == {"schema": "octjob.groups/1", "age": None, "pretraining": None}


def test_whom_the_checkpoint_saw_is_told_from_whom_it_did_not_even_where_it_saw_none() -> None:
    people = [person("1", 50.0), person("2", None)]
    assert groups_facts(people, frozenset({"2", "77"}))["pretraining"] == {
        "1": "unseen in pretraining",
        "2": "seen in pretraining",
    }
    assert set(groups_facts(people, frozenset())["pretraining"].values()) == {"unseen in pretraining"}


def test_a_list_of_ids_is_read_line_by_line(tmp_path: Path) -> None:
    store = FileStore(tmp_path.as_uri())
    store.put("ids.txt", b"# seen\n1001\r\n\n 1002 \n")
    assert read_ids(store, "ids.txt") == {"1001", "1002"}
    store.put("ids.txt", b"1001\tUW\n")
    with pytest.raises(DataError, match=r"ids\.txt: entry 1 .* no participant's id: '1001\\tUW'"):
        read_ids(store, "ids.txt")
    store.put("ids.txt", b"\xff\xfe")
    with pytest.raises(DataError, match=r"ids\.txt: not UTF-8"):
        read_ids(store, "ids.txt")
    with pytest.raises(DataError, match="entry 1"):
        ids_of([["1"]], "file:///c.pt")

"""The metric on groups that only the results know: thirds by age, and who was seen in pretraining."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from doubles.boards import document, groups, predictions, recorded
from doubles.sweep_results import entry, outcome

from octjob.evaluate import by_participant
from octjob.leaderboard.outcome import Scored
from octjob.leaderboard.subgroups import Grouping, groupings, subgroups
from octjob.report.page import to_html

METRIC = "balanced_accuracy"


@pytest.fixture(scope="module")
def scored() -> Scored:
    made = recorded(outcome(entry("good"), predictions(1.0, 0))).scored
    assert made is not None
    return made


def with_groups(scored: Scored, stored: Any) -> Scored:
    return replace(scored, result=scored.result.model_copy(update={"data": {"groups": stored}}))


def test_a_group_is_scored_as_if_it_were_alone(scored: Scored) -> None:
    found = {one.name: one for one in subgroups(scored, METRIC)}
    of = groups("good")["age"]
    for name in ("age 40 to 53", "age 54 to 64", "age 65 to 90"):
        inside = np.array([of[one] == name for one in scored.predictions.participant.tolist()])
        alone = by_participant(scored.predictions.rows(inside))
        assert (found[name].field, found[name].n) == ("age", len(alone.participant_P))
        assert found[name].value == pytest.approx(Scored.metric_of(alone, METRIC), abs=1e-12)
        assert found[name].low < found[name].value < found[name].high
    assert found["seen in pretraining"].n + found["unseen in pretraining"].n == 65


def test_a_group_of_fewer_than_twenty_is_counted_and_not_scored(scored: Scored) -> None:
    stored = groups("good")
    people = sorted(stored["pretraining"])
    stored["pretraining"] = {
        one: "seen in pretraining" if k < 19 else "unseen in pretraining" for k, one in enumerate(people)
    }
    changed = with_groups(scored, stored)
    assert "seen in pretraining" not in {one.name for one in subgroups(changed, METRIC)}
    assert groupings(changed)[1].sizes == {"seen in pretraining": 19, "unseen in pretraining": 46}


def test_what_is_not_known_is_told_from_what_was_not_recorded(scored: Scored) -> None:
    unknown = {"schema": "octjob.groups/1", "age": None, "pretraining": None}
    assert groupings(with_groups(scored, unknown)) == (
        Grouping("age", {}, "the participants table says no ages"),
        Grouping(
            "pretraining", {}, "neither the checkpoint nor the sweep says whose scans it was pretrained on"
        ),
    )
    for stored in (None, {**unknown, "schema": "octjob.groups/9"}):
        before = with_groups(scored, stored)
        assert all("not recorded by this run" in one.unknown for one in groupings(before))
        assert {one.field for one in subgroups(before, METRIC)} == {"site", "device"}


def test_the_page_says_what_it_does_not_score_apart() -> None:
    board = document(("good",), ("a", "b"), collapsed=0)
    page = to_html(board)
    assert "age 40 to 53" in page
    assert "to score apart" not in page
    changed = copy.deepcopy(board)
    for detail in changed["details"]:
        detail["subgroups"] = [one for one in detail["subgroups"] if one["field"] != "pretraining"]
    assert "Too few to score apart, or all alike: 26 seen in pretraining, 39 unseen" in to_html(changed)
    assert "Age: not recorded by this run" in to_html(document(("good",), ("a",), collapsed=0, records=False))

"""Runs that wait for features say how these come along, and encodings are in no count of runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from octjob.records.status import RunStatus, summary
from octjob.records.wait import standings
from octjob.targets.kubernetes.observation.features import awaited, with_features

ENCODING = "a.encoding-0000abcd"
RUN = RunStatus("a.linear-1", "a", "linear", "Running", stage="waiting")
OF = {RUN.run_id: ENCODING}


def encoding(state: str, **facts: Any) -> RunStatus:
    one = RunStatus(ENCODING, "a", "encoding", "Pending", encoding=True, jobset="a-encoding")
    return replace(one, state=state, **facts)


@pytest.mark.parametrize(
    ("stands", "reason", "stuck", "hint"),
    [
        (encoding("Queued", position=2, queue_length=3, queue="tpu"), "is 2 of 3 in queue tpu", False, ""),
        (encoding("Running", done=12, total=40), "has encoded 12 of 40 volumes", False, ""),
        (encoding("Restarting"), "is Restarting", False, ""),
        (encoding("Succeeded"), "has made them", False, ""),
        (encoding("Failed"), "is Failed", True, "`octjob retry s -n team`"),
        (encoding("Interrupted", jobset="", hint="submit it"), "is Interrupted", True, "submit it"),
    ],
)
def test_a_waiting_run_says_what_it_waits_for(stands: RunStatus, reason: str, stuck: bool, hint: str) -> None:
    same, one = with_features([stands, RUN], OF, "s", " -n team")
    assert same == stands
    assert one.waits_for == ENCODING
    assert one.reason == f"waits for its features: {ENCODING} {reason}"
    assert one.stuck == stuck
    assert hint in one.hint


def test_a_run_looked_at_alone_says_where_to_look() -> None:
    (one,) = with_features([RUN], OF, "s")
    assert (one.reason, one.hint) == (
        f"waits for its features, which {ENCODING} makes",
        "`octjob status s` shows how far that is.",
    )


def test_other_runs_say_what_they_said() -> None:
    training = replace(RUN, stage="training")
    ended = replace(RUN, state="Failed")
    assert with_features([training, ended], OF, "s") == [training, ended]


def test_jobsets_name_what_they_wait_for() -> None:
    notes = {"octjob.dev/run": RUN.run_id, "octjob.dev/features": ENCODING}
    other = {"octjob.dev/run": ENCODING}
    assert awaited({"metadata": {"annotations": each}} for each in (notes, other)) == OF


def test_encodings_are_no_runs() -> None:
    both = [encoding("Failed"), RUN]
    assert standings(both).open == (RUN.run_id,)
    assert standings(both).failed == ()
    assert summary(both) == "1 Running; 1 encoding: 1 Failed"

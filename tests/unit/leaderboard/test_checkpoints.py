"""What the leaderboard says of checkpoints: their own verdicts, and how far they are from each other."""

from __future__ import annotations

import base64
import copy
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from doubles.boards import checkpoint_report, document, predictions, record, recorded
from doubles.sweep_results import constant, entry, labels, outcome

from octjob.leaderboard.board import build_leaderboard
from octjob.leaderboard.checkpoints import Checkpoint, CheckpointPair, Checkpoints
from octjob.leaderboard.outcome import Outcome
from octjob.report.page import to_html

NAMES = ("good", "other", "untrained")


def compared(*outcomes: Outcome) -> Checkpoints:
    sweep = record([one.entry for one in outcomes], ("a", "b", "c", "d"), "demo", None)
    return build_leaderboard(sweep, outcomes, num_draws=100).checkpoints


def run(checkpoint: str, seed: int, config: str = "linear", **report: Any) -> Outcome:
    made = recorded(outcome(entry(checkpoint, config), predictions(1.0, seed)))
    assert made.scored is not None
    result = made.scored.result
    changed = result.model_copy(update={"checkpoint_report": {**result.checkpoint_report, **report}})
    return replace(made, scored=replace(made.scored, result=changed))


def pair(found: Checkpoints, *names: str) -> CheckpointPair:
    (one,) = (one for one in found.pairs if {one.first, one.second} == set(names))
    return one


def checkpoint(found: Checkpoints, name: str) -> Checkpoint:
    return next(one for one in found.checkpoints if one.name == name)


def test_each_says_how_it_was_trained_and_who_has_the_same_weights() -> None:
    found = compared(run("good", 1), run("copy", 2, weights_digest="digest-of-good"), run("untrained", 3))
    good = checkpoint(found, "good")
    assert (good.verdict, good.epoch, good.encoder_taken, good.coverage_keys) == (
        "trained", 40, "context", "149/149",
    )  # fmt: skip
    assert (good.from_initialisation, good.same_weights) == (0.2, ("copy",))
    assert checkpoint(found, "untrained").same_weights == ()
    # The target of a checkpoint that was never trained is no initialisation that it could have moved from.
    assert checkpoint(found, "untrained").from_initialisation is None
    assert pair(found, "good", "copy").distance == 0


def test_the_distance_is_that_of_the_sketches_over_their_common_norm() -> None:
    found = compared(run("good", 1), run("other", 2))
    ours, theirs = (
        np.frombuffer(base64.b64decode(checkpoint_report(name)["sketch"]["values"]), "<f4").astype(float)
        for name in ("good", "other")
    )
    expected = np.linalg.norm(ours - theirs) / 16.0
    assert pair(found, "good", "other").distance == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "spoilt",
    [
        None,
        {"schema": "octjob.sketch/2"},
        {"layout": "two"},
        {"values": "AAAA"},
        {"values": "no base64!"},
        {"norm": 0.0},
    ],
)
def test_without_a_sketch_of_the_same_network_there_is_no_distance(spoilt: dict[str, Any] | None) -> None:
    sketch = checkpoint_report("other")["sketch"]
    changed = None if spoilt is None else {**sketch, **spoilt}
    first = run("good", 1, **({"sketch": {**sketch, "norm": 0.0}} if spoilt == {"norm": 0.0} else {}))
    assert pair(compared(first, run("other", 2, sketch=changed)), "good", "other").distance is None


def test_predictions_are_compared_under_each_configuration_that_both_have() -> None:
    ours, theirs = run("good", 1), run("other", 2)
    found = pair(compared(ours, theirs, run("good", 3, "mlp")), "good", "other")
    assert found.num_configs == 1
    assert ours.scored is not None
    assert theirs.scored is not None
    a, b = (one.scored.scores.ordered().probability_SPK.mean(axis=0) for one in (ours, theirs))
    assert found.agreement == pytest.approx(np.mean(a.argmax(axis=1) == b.argmax(axis=1)))
    centred = [(x - x.mean(axis=0)).ravel() for x in (a, b)]
    assert found.correlation == pytest.approx(np.corrcoef(*centred)[0, 1], abs=1e-12)


def test_a_collapsed_run_is_not_said_to_agree() -> None:
    collapsed = recorded(outcome(entry("other"), constant(labels())))
    found = pair(compared(run("good", 1), collapsed), "good", "other")
    assert (found.agreement, found.correlation, found.num_configs) == (None, None, 0)


def test_a_report_of_before_says_less_and_is_no_error() -> None:
    old = outcome(entry("good"), predictions(1.0, 0))
    found = checkpoint(compared(old), "good")
    assert (found.verdict, found.epoch, found.from_initialisation) == ("unknown", None, None)


def test_the_page_names_weights_that_are_the_same_and_says_what_was_not_recorded() -> None:
    board = document(NAMES, ("a", "b"), collapsed=0)
    page = to_html(board)
    assert len(re.findall('class="matrix alike"', page)) == 3
    assert "the same weights as" not in page
    changed = copy.deepcopy(board)
    changed["checkpoints"]["checkpoints"][0]["same_weights"] = ["untrained"]
    assert "the same weights as <bdi>untrained</bdi>" in to_html(changed)
    old = to_html(document(NAMES, ("a", "b"), collapsed=0, records=False))
    assert "Not recorded by these runs, or of networks that differ." in old
    assert "the same weights" not in to_html(document(("good",), ("a",), collapsed=0))

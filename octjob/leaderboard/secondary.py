"""Questions beside the one ranked by, from the same predictions: of the best run of each checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from octjob.evaluate.ordinal import Estimated, auroc_against_rest, somers_d
from octjob.evaluate.recalibration import recalibration
from octjob.evaluate.skill import at_shares, brier_skill
from octjob.leaderboard.details import best_runs
from octjob.leaderboard.differences import GroupDifference, differences
from octjob.leaderboard.outcome import Scored
from octjob.leaderboard.rows import Row
from octjob.records.schema import SweepRecord
from octjob.spec.experiment import CLASS_NAMES

_NO_SHARES = "the result does not say whom it was trained on"


@dataclass(frozen=True)
class Answer:
    """A number with its 95 % interval; None where there is none, and `reason` says why."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class RunAnswers:
    """Of one run.

    first_class, last_class: AUROC against all other classes, whose probabilities are summed. order: Somers' D of the
    expected class number. None where they are not asked.
    brier_skill: against always answering the training participants' shares. slope: of the recalibration; intercepts:
    one a class, at slope 1, where `slope` or its reason stands for them too.
    at_training_shares: the probabilities were brought from the shares that the loss saw to the training shares.
    """

    run_id: str
    first_class: Answer | None
    last_class: Answer | None
    order: Answer | None
    brier_skill: Answer
    slope: Answer
    intercepts: tuple[Answer, ...]
    at_training_shares: bool
    differences: tuple[GroupDifference, ...]


@dataclass(frozen=True)
class Secondary:
    """metric: of the differences, the one ranked by. runs: the best of each checkpoint, in the order of the table.

    not_asked: why nothing is asked of the order of the classes; empty where it is.
    """

    metric: str
    not_asked: str
    runs: tuple[RunAnswers, ...]


NONE_ASKED = Secondary("", "", ())


def secondary(
    rows: Sequence[Row], finished: Mapping[str, Scored], metric: str, sweep: SweepRecord, num_draws: int
) -> Secondary:
    """rows: in the order of the table."""
    not_asked = _why_not(sweep.class_names)
    names = sweep.shown_classes
    runs = (
        _of_run(run_id, finished[run_id], metric, names, not not_asked, num_draws)
        for run_id in best_runs(rows)
    )
    return Secondary(metric, not_asked, tuple(runs))


def _why_not(class_names: Sequence[str]) -> str:
    if tuple(class_names) == CLASS_NAMES:
        return ""
    return "Not asked of the order of the classes: they are not AI-READI's four, from healthy to insulin."


def _of_run(
    run_id: str, one: Scored, metric: str, class_names: Sequence[str], is_ordered: bool, num_draws: int
) -> RunAnswers:
    last = one.scores.num_classes - 1
    shares, scores = one.training_shares, one.scores
    at_training_shares = False
    if shares is not None and one.prior is not None and min(one.prior) > 0:
        scores, at_training_shares = at_shares(scores, one.prior, shares), True
    found = recalibration(scores, class_names=class_names)
    return RunAnswers(
        run_id=run_id,
        first_class=_answer(auroc_against_rest(one.scores, 0, num_draws)) if is_ordered else None,
        last_class=_answer(auroc_against_rest(one.scores, last, num_draws)) if is_ordered else None,
        order=_answer(somers_d(one.scores, num_draws)) if is_ordered else None,
        brier_skill=Answer(reason=_NO_SHARES)
        if shares is None
        else _answer(brier_skill(scores, shares, num_draws)),
        slope=Answer(reason=found.reason) if found.slope is None else _answer(found.slope),
        intercepts=tuple(_answer(value) for value in found.intercept),
        at_training_shares=at_training_shares,
        differences=differences(one, metric, class_names, num_draws),
    )


def _answer(one: Estimated) -> Answer:
    if not np.isfinite(one.value):
        return Answer(reason="not defined on what was scored")
    low, high = (x if math.isfinite(x) else None for x in (one.interval.low, one.interval.high))
    return Answer(one.value, low, high)

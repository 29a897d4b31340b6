"""One row of the leaderboard: what a run's records and predictions say of it by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from octjob.catalog import RANKING
from octjob.evaluate import RankRange
from octjob.evaluate.lead import Lead
from octjob.evaluate.lift import Lift
from octjob.leaderboard.comparison import Comparison
from octjob.leaderboard.outcome import Outcome, Scored
from octjob.leaderboard.ranking import AdjustedSignal
from octjob.records.schema import Progress
from octjob.records.state import RunState, state_at

# What a result is worth; empty where there is none.
RowVerdict = Literal["ok", "control", "no_signal", "collapsed", ""]
# Unranked rows follow the ranked ones in this order: by verdict, then by where the run stands that has none.
ORDER: tuple[RowVerdict | RunState, ...] = (
    "ok", "control", "no_signal", "collapsed", "Unreadable", "Interrupted", "Running", "Failed", "Pending",
)  # fmt: skip
SIGNIFICANT = 0.05
# A fine-tuned encoder that moved less than this, relative to its own length, is the checkpoint's.
UNMOVED = 1e-6


@dataclass(frozen=True)
class Estimate:
    """A metric and its 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None
    method: str


@dataclass(frozen=True)
class Row:
    """One run.

    rank: the ranks it may have at one 95 % level for all pairs; only rows whose verdict is `ok` have one.
    verdict: `control` for one with a result, whatever it predicts.
    state: where the run stands by its records; Succeeded wherever there is a verdict.
    weights: what the checkpoint's own weights say of their training.
    num_models: trained models behind the numbers, one for each seed and repeat (and fold of it).
    flags: the verdict's (`dominant_class`, `misses_class` ...), and `suspicious` (identical predictions from
        different weights), `unpaired` (other participants than the ranked runs), `inconsistent` (the result is not
        that of the stored predictions), `reevaluated` (the result lacks something, so that everything here is
        computed from the predictions), `encoder_unmoved` (fine-tuned, and the scored encoder is the checkpoint's),
        `within_shuffled` (no better than the same training on shuffled labels).
    signal: the label permutation on the metric ranked by; None without a result.
    metrics: by name, those of `catalog.RANKING`; empty without a result.
    train_val_gap: balanced accuracy on the training samples minus that on the evaluated ones.
    best_constant_accuracy: of always predicting the most frequent class.
    prior_corrected_balanced_accuracy: of the same probabilities with the training prior divided out.
    vs_leader: how far the ranked run with the highest value is ahead of this one; None for itself and without a rank.
        For a control at the level of all pairs of the ranked runs and the controls.
    per_class_f1, per_class_auprc, prevalence, prediction_counts: one per class. confusion: rows truth, columns
        prediction, summed over passes.
    vs_checkpoint: against the baseline checkpoint under the same configuration, in the metric ranked by.
    vs_config: against the baseline configuration for the same checkpoint.
    reasons: the flags, and anything that kept the row from a rank or a comparison, in words.
    control: which of the sweep's `controls` this is; None for a checkpoint's run.
    lift: over the untrained encoders of the same configuration, in the metric ranked by; None for a control, and
        where there are none to compare with, which `reasons` says.
    members: run ids of the initialisations that this row folds; empty for every other row.
    """

    rank: RankRange | None
    checkpoint: str
    config: str
    run_id: str
    state: RunState
    verdict: RowVerdict = ""
    weights: str = ""
    num_models: int | None = None
    flags: tuple[str, ...] = ()
    n: int | None = None
    signal: AdjustedSignal | None = None
    metrics: Mapping[str, Estimate] | None = None
    train_val_gap: float | None = None
    best_constant_accuracy: float | None = None
    prior_corrected_balanced_accuracy: float | None = None
    vs_checkpoint: Comparison | None = None
    vs_config: Comparison | None = None
    vs_leader: Lead | None = None
    per_class_f1: tuple[float | None, ...] = ()
    per_class_auprc: tuple[float | None, ...] = ()
    prevalence: tuple[float, ...] = ()
    prediction_counts: tuple[int, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    reasons: tuple[str, ...] = ()
    error: str = ""
    control: str | None = None
    lift: Lift | None = None
    members: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As people write it."""
        return f"{self.checkpoint}.{self.config}"

    @property
    def shown_checkpoint(self) -> str:
        """The checkpoint, with how many initialisations the row folds."""
        return f"{self.checkpoint} ({len(self.members)})" if self.members else self.checkpoint

    @property
    def shown(self) -> RowVerdict | RunState:
        """What a table has room for: the verdict, else where the run stands."""
        return self.verdict or self.state

    def metric(self, name: str) -> Estimate | None:
        """The estimate of a metric, None without a result."""
        return None if self.metrics is None else self.metrics[name]

    def value(self, metric: str) -> float | None:
        """The metric itself, None where it is not defined."""
        estimate = self.metric(metric)
        return None if estimate is None else estimate.value


def num_initialisations(row: Row) -> int | None:
    """Of the row's lift, or those that the row folds."""
    return row.lift.num_initialisations if row.lift else len(row.members) or None


def make_row(outcome: Outcome, metric: str, signal: AdjustedSignal | None) -> Row:
    """The row by itself: without rank, comparisons and what other runs say about it."""
    entry = outcome.entry
    if outcome.scored is not None:
        return _finished(outcome, outcome.scored, metric, signal)
    if outcome.unreadable:
        said = (outcome.unreadable,)
        return Row(None, entry.checkpoint, entry.config, entry.run_id, "Unreadable", reasons=said)
    state, error = _unfinished(outcome.progress)
    return Row(None, entry.checkpoint, entry.config, entry.run_id, state, error=error)


def _finished(outcome: Outcome, one: Scored, metric: str, signal: AdjustedSignal | None) -> Row:
    entry, evaluation = outcome.entry, one.evaluation
    found = [*_of_verdict(one), *_of_signal(metric, signal), *_of_records(one)]
    verdict: RowVerdict = "ok"
    if evaluation.verdict.constant:
        verdict = "collapsed"
    elif signal is not None and signal.p_holm >= SIGNIFICANT:
        verdict = "no_signal"
    value, train = _defined(one.values["balanced_accuracy"]), one.train_balanced_accuracy
    corrected = evaluation.prior_corrected
    return Row(
        rank=None,
        checkpoint=entry.checkpoint,
        config=entry.config,
        run_id=entry.run_id,
        state="Succeeded",
        verdict=verdict,
        weights=one.weights_verdict,
        num_models=one.num_models,
        flags=tuple(dict.fromkeys(flag for flag, _ in found if flag)),
        n=evaluation.metrics.n,
        signal=signal,
        metrics={name: _estimate(one, name) for name in RANKING},
        train_val_gap=None if train is None or value is None else train - value,
        best_constant_accuracy=evaluation.baseline.accuracy.value,
        prior_corrected_balanced_accuracy=corrected.balanced_accuracy if corrected else None,
        per_class_f1=evaluation.metrics.per_class_f1,
        per_class_auprc=evaluation.metrics.per_class_auprc,
        prevalence=one.prevalence,
        prediction_counts=evaluation.metrics.prediction_counts,
        confusion=evaluation.metrics.confusion,
        reasons=tuple(reason for _, reason in found if reason),
    )


def _of_verdict(one: Scored) -> list[tuple[str, str]]:
    verdict = one.evaluation.verdict
    reasons = list(verdict.reasons)
    if verdict.constant and one.weights_verdict in ("untrained", "barely trained"):
        reasons[0] += f"; its encoder is {one.weights_verdict}, so its features need not speak of anything"
    return [(flag, "") for flag in verdict.flags] + [("", reason) for reason in reasons]


def _of_signal(metric: str, signal: AdjustedSignal | None) -> list[tuple[str, str]]:
    if signal is None or signal.p_holm < SIGNIFICANT:
        return []
    alone = f"permuted labels reach its {metric} with p = {signal.p_value:.2g}"
    among = f" ({signal.p_holm:.2g} among {signal.num_runs} runs)" if signal.num_runs > 1 else ""
    return [("no_signal", f"no signal: {alone}{among}")]


def _of_records(one: Scored) -> list[tuple[str, str]]:
    found = [("inconsistent", text) for text in one.disagreements()]
    found += [("reevaluated", text) for text in one.remarks]
    change = one.encoder_change
    if change is not None and change < UNMOVED:
        text = f"fine-tuned, but the scored encoder is the checkpoint's (moved by {change:.1e} of its length)"
        found.append(("encoder_unmoved", text))
    return found


def _unfinished(progress: Progress | None) -> tuple[RunState, str]:
    if progress is None:
        return "Pending", ""
    state = state_at(progress.stage)
    if state == "Failed":
        return state, progress.failure.message if progress.failure else "no message was left"
    return state, ""


def _estimate(one: Scored, name: str) -> Estimate:
    value, interval = _defined(one.values[name]), one.evaluation.intervals.get(name)
    if interval is None:
        return Estimate(value, None, None, "")
    return Estimate(value, interval.low, interval.high, interval.method)


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value

"""The leaderboard: one row per run of the sweep, ranked only where the numbers can carry a rank. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from octjob.errors import SpecError
from octjob.evaluate import IdenticalGroup, ParticipantScores, identical_predictions
from octjob.evaluate.arrays import FloatArray, to_plain
from octjob.results.caveats import caveats, footnotes
from octjob.results.openings import Opening
from octjob.results.outcome import METRICS, Outcome, Scored
from octjob.results.ranking import Comparison, comparable_groups, compare, draw_values, ranks
from octjob.results.records import Progress, SweepRecord

SCHEMA_VERSION = 1
NUM_DRAWS = 2000
DEFAULT_METRIC = "macro_auroc"

State = Literal[
    "ok", "suspicious", "chance", "collapsed", "unreadable", "interrupted", "running", "failed", "missing"
]
# Unranked rows follow the ranked ones in this order.
STATES: tuple[State, ...] = (
    "ok", "suspicious", "chance", "collapsed", "unreadable", "interrupted", "running", "failed", "missing",
)  # fmt: skip


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

    rank: 1 + how many ranked runs beat this one beyond chance; only rows whose state is `ok` have one.
    flags: the verdict's (`dominant_class`, `chance` ...), and `suspicious` (identical predictions from
        different weights), `unpaired` (other participants than the ranked runs), `inconsistent` (the result
        is not that of the stored predictions), `reevaluated` (the result lacks something, so that everything
        here is computed from the predictions).
    metrics: by name, those of `outcome.METRICS`; empty without a result.
    train_val_gap: balanced accuracy on the training samples minus that on the evaluated ones.
    best_constant_accuracy: of always predicting the most frequent class.
    per_class_f1, prediction_counts: one per class.
    comparison: with the baseline checkpoint under the same configuration, in the metric ranked by.
    reasons: the flags, and anything that kept the row from a rank or a comparison, in words.
    """

    rank: int | None
    checkpoint: str
    config: str
    run_id: str
    state: State
    flags: tuple[str, ...] = ()
    n: int | None = None
    metrics: Mapping[str, Estimate] | None = None
    train_val_gap: float | None = None
    best_constant_accuracy: float | None = None
    comparison: Comparison | None = None
    per_class_f1: tuple[float | None, ...] = ()
    prediction_counts: tuple[int, ...] = ()
    reasons: tuple[str, ...] = ()
    error: str = ""

    def metric(self, name: str) -> Estimate | None:
        """The estimate of a metric, None without a result."""
        return None if self.metrics is None else self.metrics[name]


@dataclass(frozen=True)
class Leaderboard:
    """Rows in the order of the table, and what must be read with it."""

    sweep: str
    metric: str
    baseline: str | None
    class_names: tuple[str, ...]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]
    footnotes: tuple[str, ...]
    schema_version: int = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe, undefined numbers as None."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    def in_state(self, *states: State) -> tuple[Row, ...]:
        """The rows in one of these states."""
        return tuple(row for row in self.rows if row.state in states)


def build_leaderboard(
    sweep: SweepRecord,
    outcomes: Sequence[Outcome],
    metric: str = DEFAULT_METRIC,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
    openings: Sequence[Opening] = (),
) -> Leaderboard:
    """Rank the outcomes by `metric`, one of `outcome.METRICS`. openings: those of the sweep's test split.

    Raises:
        SpecError: a metric that is not one of them.
    """
    if metric not in METRICS:
        raise SpecError(
            f"{metric!r} is not a metric of the leaderboard", f"Choose one of {', '.join(METRICS)}."
        )
    finished = {one.entry.run_id: one.scored for one in outcomes if one.scored is not None}
    scores = {run_id: one.scores for run_id, one in finished.items()}
    values = draw_values(scores, metric, num_draws, seed)
    identical = identical_predictions(scores)
    rows = [_row(outcome) for outcome in outcomes]
    rows = _mark_suspicious(rows, identical, finished)
    if sweep.baseline is not None:
        pairs, unpaired = _pairs(rows, sweep.baseline)
        comparisons, unequal = compare(pairs, scores, values, metric, seed)
        rows = [_compared(row, comparisons, unpaired | unequal) for row in rows]
    rows = _rank(rows, scores, values, sweep.baseline, metric)
    return Leaderboard(
        sweep=sweep.name,
        metric=metric,
        baseline=sweep.baseline,
        class_names=sweep.class_names,
        rows=tuple(sorted(rows, key=lambda row: _order(row, metric))),
        warnings=tuple(caveats(sweep, finished, identical, metric)),
        footnotes=tuple(footnotes(finished, metric, sweep.baseline, num_draws, openings)),
    )


def _row(outcome: Outcome) -> Row:
    entry, one = outcome.entry, outcome.scored
    if outcome.unreadable:
        said = (outcome.unreadable,)
        return Row(None, entry.checkpoint, entry.config, entry.run_id, "unreadable", reasons=said)
    if one is None:
        open_state, error = _unfinished(outcome.progress)
        return Row(None, entry.checkpoint, entry.config, entry.run_id, open_state, error=error)
    evaluation, verdict = one.evaluation, one.evaluation.verdict
    disagreements = one.disagreements()
    estimates = {name: _estimate(one, name) for name in METRICS}
    value, train = estimates["balanced_accuracy"].value, one.train_balanced_accuracy
    state: State = "ok"
    if verdict.collapsed:
        state = "collapsed"
    elif disagreements:
        state = "suspicious"
    elif {"chance", "below_chance"} & set(verdict.flags):
        state = "chance"
    return Row(
        rank=None,
        checkpoint=entry.checkpoint,
        config=entry.config,
        run_id=entry.run_id,
        state=state,
        flags=(
            *verdict.flags,
            *(["inconsistent"] if disagreements else []),
            *(["reevaluated"] if one.remarks else []),
        ),
        n=evaluation.metrics.n,
        metrics=estimates,
        train_val_gap=None if train is None or value is None else train - value,
        best_constant_accuracy=evaluation.baseline.accuracy.value,
        per_class_f1=evaluation.metrics.per_class_f1,
        prediction_counts=evaluation.metrics.prediction_counts,
        reasons=(*verdict.reasons, *disagreements, *one.remarks),
    )


def _unfinished(progress: Progress | None) -> tuple[State, str]:
    if progress is None:
        return "missing", ""
    if progress.stage == "failed":
        return "failed", progress.failure.message if progress.failure else "no message was left"
    if progress.stage == "interrupted":
        return "interrupted", ""
    return "running", ""


def _estimate(one: Scored, name: str) -> Estimate:
    value, interval = getattr(one.evaluation.metrics, name), one.evaluation.intervals.get(name)
    if interval is None:
        return Estimate(value, None, None, "")
    return Estimate(value, interval.low, interval.high, interval.method)


def _mark_suspicious(
    rows: list[Row], identical: Sequence[IdenticalGroup], finished: Mapping[str, Scored]
) -> list[Row]:
    """Flag the rows that predict what other weights predict; with equal probabilities that is their state."""
    twins: dict[str, tuple[list[str], bool]] = {}
    for group in identical:
        for name in group.names:
            others = [other for other in group.names if finished[other].weights != finished[name].weights]
            same_output = any(
                name in cluster and len({finished[member].weights for member in cluster}) > 1
                for cluster in group.same_probabilities
            )
            if others:
                twins[name] = (others, same_output)
    return [_suspicious(row, *twins[row.run_id]) if row.run_id in twins else row for row in rows]


def _suspicious(row: Row, others: list[str], same_output: bool) -> Row:
    what = "same probabilities" if same_output else "same classes"
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    reason = f"the {what} for everyone as {', '.join(others[:3])}{more}, from different weights"
    return replace(
        row,
        state="suspicious" if same_output and row.state in ("ok", "chance") else row.state,
        flags=(*row.flags, "suspicious"),
        reasons=(*row.reasons, reason),
    )


def _pairs(rows: Sequence[Row], baseline: str) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """(run, baseline's run under the same configuration), and why a run has no such pair."""
    pairs, refused = [], {}
    for row in rows:
        if row.metrics is None or row.checkpoint == baseline:
            continue
        there = [
            other.run_id
            for other in rows
            if (other.checkpoint, other.config) == (baseline, row.config) and other.metrics is not None
        ]
        if len(there) == 1:
            pairs.append((row.run_id, there[0]))
        else:
            count = "several runs" if there else "no result"
            refused[row.run_id] = f"not compared: the baseline {baseline} has {count} under {row.config}"
    return pairs, refused


def _compared(row: Row, comparisons: Mapping[str, Comparison], refused: Mapping[str, str]) -> Row:
    reasons = (refused[row.run_id],) if row.run_id in refused else ()
    return replace(row, comparison=comparisons.get(row.run_id), reasons=row.reasons + reasons)


def _rank(
    rows: list[Row],
    scores: Mapping[str, ParticipantScores],
    values: Mapping[str, FloatArray],
    baseline: str | None,
    metric: str,
) -> list[Row]:
    """Ranks for the `ok` rows of the largest comparable group; with a tie for it, the baseline's."""
    fit = {row.run_id for row in rows if row.state == "ok" and _value(row, metric) is not None}
    of_baseline = {row.run_id for row in rows if row.checkpoint == baseline}
    groups = comparable_groups(scores)
    main = max(groups, key=lambda names: (len(names), bool(of_baseline & set(names))), default=[])
    rank = ranks({name: values[name] for name in main if name in fit})
    return [_ranked(row, rank.get(row.run_id), set(main), metric) for row in rows]


def _ranked(row: Row, rank: int | None, main: set[str], metric: str) -> Row:
    if row.metrics is not None and row.run_id not in main:
        reason = f"scored other participants, labels or classes than the {len(main)} runs that are compared"
        return replace(row, flags=(*row.flags, "unpaired"), reasons=(*row.reasons, reason))
    if row.state == "ok" and _value(row, metric) is None:
        return replace(row, reasons=(*row.reasons, f"{metric} is not defined on what it scored"))
    return replace(row, rank=rank)


def _value(row: Row, metric: str) -> float | None:
    estimate = row.metric(metric)
    return None if estimate is None else estimate.value


def _order(row: Row, metric: str) -> tuple[bool, int, int, float, str]:
    value = _value(row, metric)
    return (
        row.rank is None,
        row.rank or 0,
        STATES.index(row.state),
        0.0 if value is None else -value,
        row.run_id,
    )

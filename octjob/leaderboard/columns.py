"""The cells of the leaderboard's tables, the same in a terminal, a pipe and Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from octjob.catalog import METRICS, RANKING
from octjob.evaluate.lift import Lift
from octjob.leaderboard.board import Leaderboard
from octjob.leaderboard.comparison import Comparison
from octjob.leaderboard.rows import SIGNIFICANT, Row, num_initialisations

NOTHING = "-"


@dataclass(frozen=True)
class Column:
    """One column; `cell` gives its text for a row, a picture where it is `drawn`.

    Columns are dropped from the right for space.
    """

    header: str
    cell: Callable[[Row], str]
    right: bool = False
    drawn: bool = False


def main_columns(leaderboard: Leaderboard) -> list[Column]:
    """What answers "which checkpoint is better", the most important first."""
    second = "balanced_accuracy" if leaderboard.metric != "balanced_accuracy" else "macro_auroc"
    columns = [*_names(), _metric(leaderboard.metric), *lift_columns(leaderboard)]
    columns += [*_comparisons(leaderboard), _metric(second)]
    columns.append(Column("models", lambda row: _whole(row.num_models), right=True))
    if len({row.n for row in leaderboard.rows if row.n is not None}) > 1:
        columns.append(Column("n", lambda row: _whole(row.n), right=True))
    columns += [_metric_alone(name) for name in ("accuracy", "macro_f1") if name != leaderboard.metric]
    return columns


def wide_columns(leaderboard: Leaderboard) -> list[Column]:
    """Everything that fits a cell."""
    ordered = [leaderboard.metric, *(name for name in RANKING if name != leaderboard.metric)]
    columns = [
        *_names(),
        Column("alike", lambda row: row.rank.letters if row.rank else NOTHING),
        Column("p best", lambda row: _number(row.rank.p_best if row.rank else None), right=True),
        *(_metric(name) for name in ordered),
        *lift_columns(leaderboard),
    ]
    if lift_columns(leaderboard):
        columns += [_p_column("p", _lift_of, "p_value"), _p_column("p Holm", _lift_of, "p_holm")]
        columns.append(Column("initialisations", lambda row: _whole(num_initialisations(row)), right=True))
    for column, of in zip(_comparisons(leaderboard), _families(leaderboard), strict=True):
        columns += [column, _p_column("p", of, "p_value"), _p_column("p Holm", of, "p_holm")]
    columns += [
        Column("p signal", lambda row: _p_value(row.signal.p_holm if row.signal else None), right=True),
        Column("models", lambda row: _whole(row.num_models), right=True),
        Column("n", lambda row: _whole(row.n), right=True),
        Column("gap", lambda row: _signed(row.train_val_gap), right=True),
        Column("best const. acc.", lambda row: _number(row.best_constant_accuracy), right=True),
        Column(
            "prior-free bal. acc.", lambda row: _number(row.prior_corrected_balanced_accuracy), right=True
        ),
        Column(
            f"F1: {', '.join(leaderboard.class_short_names)}",
            lambda row: " ".join(_number(f1) for f1 in row.per_class_f1) or NOTHING,
        ),
        Column("AUPRC/prevalence", _auprc),
        Column("predicted", lambda row: "/".join(map(str, row.prediction_counts)) or NOTHING),
        Column("flags", lambda row: ",".join(row.flags) or NOTHING),
        Column("run", lambda row: row.run_id),
    ]
    return columns


def lift_columns(leaderboard: Leaderboard) -> list[Column]:
    """The lift over untrained encoders; none where the sweep has none with a result."""
    there = any(row.lift or row.members for row in leaderboard.rows)
    return [Column("lift", lambda row: _lift(row.lift))] if there else []


def _lift_of(row: Row) -> Lift | None:
    return row.lift


def _comparisons(leaderboard: Leaderboard) -> list[Column]:
    references = (leaderboard.baseline, leaderboard.baseline_config)
    return [
        Column(f"vs {reference}", lambda row, of=of: _difference(of(row)))  # type: ignore[misc]
        for reference, of in zip([one for one in references if one], _families(leaderboard), strict=True)
    ]


def _families(leaderboard: Leaderboard) -> list[Callable[[Row], Comparison | None]]:
    families: list[Callable[[Row], Comparison | None]] = []
    if leaderboard.baseline is not None:
        families.append(lambda row: row.vs_checkpoint)
    if leaderboard.baseline_config is not None:
        families.append(lambda row: row.vs_config)
    return families


def _p_column(header: str, of: Callable[[Row], Comparison | Lift | None], name: str) -> Column:
    def cell(row: Row) -> str:
        one = of(row)
        return _p_value(getattr(one, name) if one else None)

    return Column(header, cell, right=True)


def _auprc(row: Row) -> str:
    pairs = zip(row.per_class_auprc, row.prevalence, strict=True)
    return " ".join(f"{_number(auprc)}/{share:.2f}" for auprc, share in pairs) or NOTHING


def cells(row: Row, columns: Sequence[Column]) -> list[str]:
    """The texts of one row."""
    return [column.cell(row) for column in columns]


def _names() -> list[Column]:
    return [
        Column("rank", lambda row: str(row.rank) if row.rank else NOTHING, right=True),
        Column("checkpoint", lambda row: row.shown_checkpoint),
        Column("config", lambda row: row.config),
        Column("weights", lambda row: row.weights or NOTHING),
        Column("state", state_text),
    ]


def state_text(row: Row) -> str:
    """The verdict or state, with a mark where a row is ok as a predictor and flagged all the same."""
    return row.shown.replace("_", " ") + (" ?" if row.verdict == "ok" and row.flags else "")


def _metric(name: str) -> Column:
    def cell(row: Row) -> str:
        estimate = row.metric(name)
        if estimate is None or estimate.value is None:
            return NOTHING
        if estimate.low is None or estimate.high is None:
            return f"{estimate.value:.3f}"
        return f"{estimate.value:.3f} [{estimate.low:.2f}, {estimate.high:.2f}]"

    return Column(METRICS[name].label, cell)


def _metric_alone(name: str) -> Column:
    def cell(row: Row) -> str:
        estimate = row.metric(name)
        return _number(estimate.value if estimate else None)

    return Column(METRICS[name].label, cell, right=True)


def _difference(one: Comparison | None) -> str:
    if one is None or one.difference is None:
        return NOTHING
    mark = "*" if one.p_holm is not None and one.p_holm < SIGNIFICANT else ""
    if one.low is None or one.high is None:
        return f"{one.difference:+.3f}{mark}"
    return f"{one.difference:+.2f} [{one.low:+.2f}, {one.high:+.2f}]{mark}"


def _lift(one: Lift | None) -> str:
    if one is None:
        return NOTHING
    mark = "*" if one.p_holm is not None and one.p_holm < SIGNIFICANT else ""
    return f"{one.value:+.2f} [{one.low:+.2f}, {one.high:+.2f}]{mark}"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _p_value(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return NOTHING if value is None else f"{value:+.3f}"


def _whole(value: int | None) -> str:
    return NOTHING if value is None else str(value)

"""The cells of the leaderboard's tables, the same in a terminal, a pipe and Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from octjob.results.leaderboard import Leaderboard, Row
from octjob.results.outcome import METRICS

NOTHING = "-"
SIGNIFICANT = 0.05
_HEADERS = {
    "macro_auroc": "macro AUROC",
    "balanced_accuracy": "balanced acc.",
    "macro_f1": "macro F1",
    "accuracy": "accuracy",
    "quadratic_kappa": "kappa (quad.)",
}


@dataclass(frozen=True)
class Column:
    """One column; `cell` gives its text for a row. Columns are dropped from the right for space."""

    header: str
    cell: Callable[[Row], str]
    right: bool = False


def main_columns(leaderboard: Leaderboard) -> list[Column]:
    """What answers "which checkpoint is better", the most important first."""
    second = "balanced_accuracy" if leaderboard.metric != "balanced_accuracy" else "macro_auroc"
    columns = [*_names(), _metric(leaderboard.metric)]
    if leaderboard.baseline is not None:
        columns.append(Column(f"vs {leaderboard.baseline}", _difference))
    columns.append(_metric(second))
    if len({row.n for row in leaderboard.rows if row.n is not None}) > 1:
        columns.append(Column("n", lambda row: _whole(row.n), right=True))
    columns += [_metric_alone(name) for name in ("accuracy", "macro_f1") if name != leaderboard.metric]
    return columns


def wide_columns(leaderboard: Leaderboard) -> list[Column]:
    """Everything that fits a cell."""
    ordered = [leaderboard.metric, *(name for name in METRICS if name != leaderboard.metric)]
    columns = [*_names(), *(_metric(name) for name in ordered)]
    if leaderboard.baseline is not None:
        columns += [
            Column(f"vs {leaderboard.baseline}", _difference),
            Column("p", lambda row: _p_value(row.comparison.p_value if row.comparison else None), right=True),
            Column(
                "p Holm", lambda row: _p_value(row.comparison.p_holm if row.comparison else None), right=True
            ),
        ]
    columns += [
        Column("n", lambda row: _whole(row.n), right=True),
        Column("gap", lambda row: _signed(row.train_val_gap), right=True),
        Column("best const. acc.", lambda row: _number(row.best_constant_accuracy), right=True),
        Column("F1 per class", lambda row: " ".join(_number(f1) for f1 in row.per_class_f1) or NOTHING),
        Column("predicted", lambda row: "/".join(map(str, row.prediction_counts)) or NOTHING),
        Column("flags", lambda row: ",".join(row.flags) or NOTHING),
        Column("run", lambda row: row.run_id),
    ]
    return columns


def cells(row: Row, columns: Sequence[Column]) -> list[str]:
    """The texts of one row."""
    return [column.cell(row) for column in columns]


def _names() -> list[Column]:
    return [
        Column("rank", lambda row: _whole(row.rank), right=True),
        Column("checkpoint", lambda row: row.checkpoint),
        Column("config", lambda row: row.config),
        Column("state", state_text),
    ]


def state_text(row: Row) -> str:
    """The state, with a mark where a row is ok as a predictor and flagged all the same."""
    return row.state + (" ?" if row.state == "ok" and row.flags else "")


def _metric(name: str) -> Column:
    def cell(row: Row) -> str:
        estimate = row.metric(name)
        if estimate is None or estimate.value is None:
            return NOTHING
        if estimate.low is None or estimate.high is None:
            return f"{estimate.value:.3f}"
        return f"{estimate.value:.3f} [{estimate.low:.2f}, {estimate.high:.2f}]"

    return Column(_HEADERS[name], cell)


def _metric_alone(name: str) -> Column:
    def cell(row: Row) -> str:
        estimate = row.metric(name)
        return _number(estimate.value if estimate else None)

    return Column(_HEADERS[name], cell, right=True)


def _difference(row: Row) -> str:
    one = row.comparison
    if one is None or one.difference is None:
        return NOTHING
    mark = "*" if one.p_holm is not None and one.p_holm < SIGNIFICANT else ""
    if one.low is None or one.high is None:
        return f"{one.difference:+.3f}{mark}"
    return f"{one.difference:+.2f} [{one.low:+.2f}, {one.high:+.2f}]{mark}"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _p_value(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return NOTHING if value is None else f"{value:+.3f}"


def _whole(value: int | None) -> str:
    return NOTHING if value is None else str(value)

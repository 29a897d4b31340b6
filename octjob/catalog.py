"""The metrics, each by its one name: what it is called, what it is made of, where it is used.

A metric is a line here and a registered function of its name in `octjob/evaluate/weighted.py`. Its value then
stands in every result; the fields say where else it goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# What one scored sample is.
SampleUnit = Literal["participant", "volume"]


@dataclass(frozen=True)
class Metric:
    """One metric.

    label: the header of its column.
    ranks: the leaderboard has it, with an interval, and can rank by it; then more is better and 1 is the most.
    per_epoch: computed after every epoch, for the history; early stopping can watch it.
    macro: a mean over the classes that occur, which without a class is a mean of something else.
    lowest: the least value.
    constant: what any predictor scores that ignores its input, `1/K` being one over the classes that occur; None
        where it depends on what is predicted.
    """

    name: str
    label: str
    ranks: bool = False
    per_epoch: bool = False
    macro: bool = False
    lowest: float = 0.0
    constant: float | Literal["1/K"] | None = None

    def chance(self, num_classes: int) -> float | None:
        """`constant` for this number of classes that occur."""
        return 1 / num_classes if self.constant == "1/K" else self.constant


CATALOG = (
    Metric("macro_auroc", "macro AUROC", ranks=True, per_epoch=True, macro=True, constant=0.5),
    Metric("balanced_accuracy", "balanced acc.", ranks=True, per_epoch=True, macro=True, constant="1/K"),
    Metric("macro_f1", "macro F1", ranks=True, per_epoch=True, macro=True),
    Metric("accuracy", "accuracy", ranks=True, per_epoch=True),
    Metric("quadratic_kappa", "kappa (quad.)", ranks=True, lowest=-1.0, constant=0.0),
    Metric("macro_auprc", "macro AUPRC", macro=True),
    Metric("log_loss", "log-loss"),
    Metric("brier", "Brier"),
    Metric("ece", "ECE"),
)
METRICS = {metric.name: metric for metric in CATALOG}
RANKING = tuple(metric.name for metric in CATALOG if metric.ranks)
PER_EPOCH = tuple(metric.name for metric in CATALOG if metric.per_epoch)
# What a table is ranked by unless it is told otherwise.
DEFAULT = "macro_auroc"

"""Optimum: is a linear head trained by steps where a convex fit on the same features says it can be?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from octjob.doctor.finding import Finding

GATE = "optimum"
# Nats by which the training loss lies above another solution's; below, the head is as good as there.
_GAP = 0.1
_SHOWN = 4


@dataclass(frozen=True)
class Pair:
    """A linear head trained by steps, and logistic regression on the same features, participants and class weights.

    head_loss, fit_loss: log-loss on the training samples. The fit's is penalised, so the head's own minimum lies no
    higher. low, high: of `metric` of the fit minus the head's on the scored participants, the 95 % interval that
    holds together with those of the other pairs.
    """

    head: str
    fit: str
    head_loss: float
    fit_loss: float
    metric: str
    difference: float
    low: float
    high: float

    @property
    def gap(self) -> float:
        """Nats."""
        return self.head_loss - self.fit_loss

    @property
    def stopped_short(self) -> bool:
        """Far above its minimum, and scoring less for it."""
        return self.gap > _GAP and self.low > 0


def optimum(pairs: Sequence[Pair], missing: Sequence[str] = ()) -> Finding:
    """Fails where a head stopped far above its minimum, and scores less for it. missing: heads without a fit, and
    why."""
    if not pairs and missing:
        said = "no logistic regression beside the linear heads"
        return Finding(GATE, "not judged", said, tuple(missing[:_SHOWN]))
    if not pairs:
        return Finding(GATE, "not judged", "no linear head was trained by steps")
    evidence = tuple(
        f"{one.head}: training log-loss {one.head_loss:.3f}, {one.fit} {one.fit_loss:.3f};"
        f" {one.metric} {one.difference:+.3f} [{one.low:.3f}, {one.high:.3f}] for the fit"
        for one in pairs
    ) + tuple(missing[:_SHOWN])
    for one in pairs:
        if one.stopped_short:
            said = (
                f"{one.head} stopped {one.gap:.2f} nats above what {one.fit} reaches, and scores less for it"
            )
            return Finding(GATE, "failed", said, evidence, "train.optimizer: LBFGS")
    return Finding(GATE, "passed", "no head is shown to score less for where it stopped", evidence)

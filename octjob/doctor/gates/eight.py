"""Eight samples: can the configured head learn them by heart? One that cannot will not learn hundreds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from octjob.doctor.finding import Finding

GATE = "eight samples"
UNTIL = "needs cached features of a probe that is trained by steps"


@dataclass(frozen=True)
class Learned:
    """A head trained on eight samples. before, after: its log-loss on them. better_rate: a learning rate at which the
    same head does learn them in as many steps; None where none of those tried does."""

    name: str
    learning_rate: float
    before: float
    after: float
    num_steps: int
    by_heart: bool
    better_rate: float | None = None


def eight(learned: Sequence[Learned], note: str = "") -> Finding:
    """Fails where a head does not learn eight samples at its learning rate, and does at another."""
    if not learned:
        return Finding(GATE, "not judged", note or UNTIL)
    evidence = tuple(_told(one) for one in learned)
    for one in learned:
        if not one.by_heart and one.better_rate is not None:
            said = (
                f"the head of {one.name} does not learn eight samples by heart at learning rate"
                f" {one.learning_rate:.0e} (log-loss {one.before:.2f} to {one.after:.2f}), and does at"
                f" {one.better_rate:.0e}"
            )
            return Finding(GATE, "failed", said, evidence, f"train.lr_head: {one.better_rate:.1e}")
    if not all(one.by_heart for one in learned):
        slow = next(one for one in learned if not one.by_heart)
        said = f"the head of {slow.name} does not learn eight samples at any learning rate tried"
        return Finding(GATE, "not judged", said, evidence)
    return Finding(GATE, "passed", "heads learn eight samples by heart", evidence)


def _told(one: Learned) -> str:
    return (
        f"{one.name}: log-loss on eight samples {one.before:.3f} to {one.after:.3f} in {one.num_steps} steps,"
        f" learning rate {one.learning_rate:.0e}"
    )

"""What a trainer is, what it tells while it trains, and what it leaves of each unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from octjob.train.loop import Hooks, State
from octjob.train.scoring import Logits
from octjob.train.units import Unit


@dataclass(frozen=True, eq=False)
class Trained:
    """A unit's outcome: logits of the evaluated and the training volumes, weights, and the values used.

    `weights` gave the logits; `last_weights` are those of the last epoch, other ones after early stopping.
    `used` holds `scored_epoch` where there were epochs, and after fine-tuning `encoder_change`, the distance of
    the scored encoder's weights from the checkpoint's over the norm of the checkpoint's.
    """

    eval_logits_NK: Logits
    train_logits_NK: Logits
    weights: dict[str, Tensor]
    last_weights: dict[str, Tensor]
    used: dict[str, Any]


Done = Sequence[tuple[Unit, Trained]]


class Watch(Hooks, Protocol):
    """What looks on while units train: a loop's hooks, what was saved before, and when to stop."""

    def begin(self, units: Sequence[Unit], name: str) -> State | None:
        """Units begin together: the state of the training of this name, where an attempt was interrupted in it."""
        ...

    def check_stop(self) -> None:
        """Raise `Interrupted` where training has to end; called wherever nothing would be lost."""
        ...


class Trainer(Protocol):
    """Trains units, each from the same start."""

    def train(self, units: Sequence[Unit], watch: Watch) -> Iterator[Done]:
        """Train each, or continue it, in any order; what is trained together is handed over together."""
        ...

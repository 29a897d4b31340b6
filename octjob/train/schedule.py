"""Learning-rate schedules as pure functions of the step: nothing to save, nothing that can come loose."""

from __future__ import annotations

import math
from typing import Literal

Kind = Literal["cosine", "step", "none"]


def lr_factor(step: int, steps_per_epoch: int, epochs: int, warmup_epochs: int, kind: Kind) -> float:
    """The factor on every base learning rate at optimisation step `step` (from 0).

    Linear warm-up over `warmup_epochs`, then: cosine to 0; step, a tenth after 60 % and a hundredth after 85 %
    of the remaining epochs; none, constant.
    """
    warmup = warmup_epochs * steps_per_epoch
    total = epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, total - warmup)
    if kind == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * share))
    if kind == "step":
        return 1.0 if share < 0.6 else 0.1 if share < 0.85 else 0.01
    return 1.0

"""Where a number lies on an axis, in per cent of its width, and which numbers the axis names."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A linear axis from `low` to `high`."""

    low: float
    high: float
    step: float

    def at(self, value: float) -> float:
        """Per cent of the width, clipped to the axis."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 2)

    @property
    def ticks(self) -> list[float]:
        """Whole multiples of the step inside the axis."""
        first = math.ceil(self.low / self.step - 1e-9)
        last = math.floor(self.high / self.step + 1e-9)
        return [round(number * self.step, 10) for number in range(first, last + 1)]


def scale_over(values: Iterable[float], least: float, most: float, max_ticks: int = 6) -> Scale:
    """An axis over the values that holds `least` and `most`, with a margin at both ends."""
    known = [value for value in values if math.isfinite(value)] or [least, most]
    low, high = min(*known, least), max(*known, most)
    margin = 0.04 * (high - low)
    low, high = low - margin, high + margin
    steps = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    step = next((size for size in steps if (high - low) / size <= max_ticks), steps[-1])
    return Scale(low, high, step)

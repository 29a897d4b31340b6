"""What a number of participants can show."""

from __future__ import annotations

import math

# Quantiles of the normal distribution at 0.975 and 0.8: two-sided 5 %, power 80 %.
DETECTABLE_ERRORS = 1.959964 + 0.841621


def detectable_difference(standard_error: float) -> float:
    """The smallest true difference found with 80 % power at two-sided 5 %: 2.8 standard errors of it."""
    return DETECTABLE_ERRORS * standard_error


def participants_needed(num_participants: int, difference: float, standard_error: float) -> int | None:
    """How many participants would show `difference` with 80 % power, as the error falls with their root.

    None where the difference is zero.
    """
    if difference == 0 or not math.isfinite(difference):
        return None
    return math.ceil(num_participants * (detectable_difference(standard_error) / difference) ** 2)

"""The few quantiles and tail probabilities that the tests need, and mid-ranks.

`scipy.special` on first use: `scipy.stats`, which wraps it, takes two seconds to import, and a run that trains needs
neither before it has something to score.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from octjob.evaluate.arrays import FloatArray


def normal_quantile(probability: float) -> float:
    """Of the standard normal distribution."""
    from scipy import special

    return float(special.ndtri(probability))


def student_quantile(probability: float, degrees: float) -> float:
    """Of Student's t with `degrees` of freedom."""
    from scipy import special

    return float(special.stdtrit(degrees, probability))


def student_beyond(t: float, degrees: float) -> float:
    """The probability that Student's t is at least as far from zero, on either side."""
    from scipy import special

    return 2 * float(special.stdtr(degrees, -abs(t)))


def fair_coin_beyond(heads: int, tosses: int) -> float:
    """The exact probability that a fair coin falls at least as far from half and half, on either side."""
    from scipy import special

    return min(1.0, 2 * float(special.bdtr(min(heads, tosses - heads), tosses, 0.5)))


def mid_ranks(value: FloatArray, axis: int) -> FloatArray:
    """Ranks from 1 along an axis, ties sharing the mean of theirs; an array of the same shape."""
    order = np.argsort(value, axis=axis, kind="stable")
    ordered = np.moveaxis(np.take_along_axis(value, order, axis), axis, -1)
    place = np.broadcast_to(np.arange(ordered.shape[-1]), ordered.shape)
    differs = ordered[..., 1:] != ordered[..., :-1]
    ends: Any = np.ones((*ordered.shape[:-1], 1), dtype=np.bool_)
    first = np.maximum.accumulate(np.where(np.concatenate([ends, differs], axis=-1), place, 0), axis=-1)
    is_last = np.concatenate([differs, ends], axis=-1)
    backwards = np.where(is_last, place, ordered.shape[-1])[..., ::-1]
    last = np.minimum.accumulate(backwards, axis=-1)[..., ::-1]
    rank = np.empty(value.shape)
    np.put_along_axis(rank, order, np.moveaxis((first + last) / 2 + 1, -1, axis), axis)
    return rank

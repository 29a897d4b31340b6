"""How often resampled values reach a bound, where they are a matrix product.

Suffixes: B resamples, M terms of a sum, R runs or pairs of runs.
"""

from __future__ import annotations

import numpy as np

from octjob.evaluate.arrays import FloatArray, IntArray

# Resamples to hand over at once.
CHUNK = 2048
# Of the products of a chunk so many columns are made at once: 2 MB, which shall stay in a core's cache.
_COLUMNS = 128


def tally(
    term_BM: FloatArray, weight_MR: FloatArray, least_R: FloatArray, *, absolute: bool = False
) -> IntArray:
    """How many of the sums `term_BM @ weight_MR`, or of their absolute values, are at least `least_R`, [R]."""
    count_R = np.zeros(len(least_R), dtype=np.int64)
    product = np.empty((len(term_BM), _COLUMNS))
    for r in range(0, len(least_R), _COLUMNS):
        of = slice(r, min(r + _COLUMNS, len(least_R)))
        value_BR = np.matmul(term_BM, weight_MR[:, of], out=product[:, : of.stop - r])
        if absolute:
            np.abs(value_BR, out=value_BR)
        count_R[of] = (value_BR >= least_R[of]).sum(axis=0, dtype=np.uint32)
    return count_R

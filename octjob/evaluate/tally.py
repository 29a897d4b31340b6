"""How often resampled values reach a bound, where they are a matrix product.

Suffixes: B resamples, M terms of a sum, R runs or pairs of runs.
"""

from __future__ import annotations

import numpy as np

from octjob.evaluate.arrays import FloatArray, IntArray
from octjob.evaluate.threads import in_threads

# Resamples to hand over at once.
CHUNK = 2048
# Of the products of a chunk so many columns are made at once: 2 MB, which shall stay in a core's cache.
_COLUMNS = 128


def tally(
    term_BM: FloatArray, weight_MR: FloatArray, least_R: FloatArray, *, absolute: bool = False
) -> IntArray:
    """How many of the sums `term_BM @ weight_MR`, or of their absolute values, are at least `least_R`, [R]."""
    blocks = [slice(r, r + _COLUMNS) for r in range(0, len(least_R), _COLUMNS)]

    def of_block(of: slice) -> IntArray:
        value_BR = term_BM @ weight_MR[:, of]
        if absolute:
            np.abs(value_BR, out=value_BR)
        count: IntArray = (value_BR >= least_R[of]).sum(axis=0, dtype=np.int64)
        return count

    return np.concatenate(in_threads(of_block, blocks) if len(blocks) > 1 else [of_block(blocks[0])])

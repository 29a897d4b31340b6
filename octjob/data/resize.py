"""Trilinear resizing that looks only at what it needs, one or two B-scans at a time.

Legend: D B-scans, H rows, W columns of the input; R, C rows and columns that are touched; d, h, w of the output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octjob.data.taps import Float32, linear_taps

Size = tuple[int, int, int]

# Picking columns costs as much as three passes over as many voxels in a row.
_WORTH_PICKING = 4


def resize(
    frame: Callable[[int], NDArray[Any]], shape: tuple[int, ...], size: Size, pivot: float = 0
) -> Float32:
    """(d, h, w) float32 of the (D, H, W) volume of `shape`, less `pivot`: trilinear, align_corners=False, no
    anti-aliasing.

    `frame(i)` gives input B-scan i as (H, W) of any real type, i ascending, each that is touched once and no other
    (`taps.touched_frames`). Agrees with `interpolate` on the whole volume to rounding; a `pivot` amid the values
    keeps that small beside a narrow contrast. Voxels that are all alike stay so exactly.
    """
    taps = linear_taps(shape[0], size[0])
    plane = _Plane(shape[1:], size[1:], pivot)
    # The cheaper order: as many planes shrink as there are B-scans on the smaller side.
    early = len(taps.touched) <= size[0]
    out_dhw = np.empty(size, np.float32)
    held: dict[int, Float32] = {}
    for index, (first, second, weight) in enumerate(
        zip(taps.first.tolist(), taps.second.tolist(), taps.weight, strict=True)
    ):
        for i in (first, second):
            if i not in held:
                x_RC = plane.taken(frame(i))
                held[i] = plane.shrunk(x_RC) if early else x_RC
        x = _blended(held[first], held[second], weight) if second != first else held[first]
        out_dhw[index] = x if early else plane.shrunk(x)
        held = {i: x for i, x in held.items() if i >= first}
    return out_dhw


class _Plane:
    """Resizes B-scans of one shape, in two steps, so that two can be blended in between."""

    def __init__(self, shape: tuple[int, ...], size: tuple[int, int], pivot: float) -> None:
        rows, columns = (linear_taps(n, m) for n, m in zip(shape, size, strict=True))
        self._pivot = np.float32(pivot)
        self._picked_rows, self._picked_columns = rows.touched, columns.touched
        self._picks_rows = len(self._picked_rows) < shape[0]
        self._picks_columns = _WORTH_PICKING * len(self._picked_columns) <= shape[1]
        self._rows = rows.within(self._picked_rows)
        self._columns = columns.within(self._picked_columns) if self._picks_columns else columns
        self._same = shape == size

    def taken(self, x_HW: NDArray[Any]) -> Float32:
        """What is touched of it, less the pivot, as float32."""
        if self._picks_rows:
            x_HW = x_HW.take(self._picked_rows, 0)
        if self._picks_columns:
            x_HW = x_HW.take(self._picked_columns, 1)
        x_RC: Float32 = np.subtract(x_HW, self._pivot, dtype=np.float32, casting="same_kind")
        return x_RC

    def shrunk(self, x_RC: Float32) -> Float32:
        """(h, w): rows first, of which more are lost."""
        if self._same:
            return x_RC
        rows, columns = self._rows, self._columns
        x_hC = _blended(x_RC.take(rows.first, 0), x_RC.take(rows.second, 0), rows.weight[:, None])
        return _blended(x_hC.take(columns.first, 1), x_hC.take(columns.second, 1), columns.weight)


def _blended(a: Float32, b: Float32, weight: Float32 | np.float32) -> Float32:
    """a + weight (b - a): exact where both are alike."""
    x: Float32 = np.subtract(b, a)
    x *= weight
    x += a
    return x

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
    shrink_first = len(taps.touched) < size[0]
    out_dhw = np.empty(size, np.float32)
    scratch_RC = plane.room()

    def make(index: int, out: Float32) -> None:
        if shrink_first:
            plane.shrink(plane.take(frame(index), scratch_RC), out)
        else:
            plane.take(frame(index), out)

    neighbours = _Neighbours(
        make, [np.empty(size[1:], np.float32) if shrink_first else plane.room() for _ in "ab"]
    )
    for out_hw, first, second, weight in zip(
        out_dhw, taps.first.tolist(), taps.second.tolist(), taps.weight, strict=True
    ):
        a, b = neighbours.get(first, second)
        if shrink_first:
            _blend(a, b, weight, out_hw)
        else:
            plane.shrink(a if a is b else _blend(a, b, weight, scratch_RC), out_hw)
    return out_dhw


class _Neighbours:
    """Two B-scans at a time, each made once if asked for in ascending order."""

    def __init__(self, make: Callable[[int, Float32], None], rooms: list[Float32]) -> None:
        self._make, self._rooms = make, rooms
        self._held: dict[int, Float32] = {}

    def get(self, first: int, second: int) -> tuple[Float32, Float32]:
        """Those of these numbers; what was given before is overwritten."""
        self._rooms += [self._held.pop(i) for i in tuple(self._held) if i not in (first, second)]
        for i in (first, second):
            if i not in self._held:
                self._held[i] = self._rooms.pop()
                self._make(i, self._held[i])
        return self._held[first], self._held[second]


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
        num_columns = len(self._picked_columns) if self._picks_columns else shape[1]
        self._shape = len(self._picked_rows), num_columns
        self._halves_hC = np.empty((2, size[0], num_columns), np.float32)
        self._half_hw = np.empty(size, np.float32)

    def room(self) -> Float32:
        """Room for what is touched of one B-scan."""
        return np.empty(self._shape, np.float32)

    def take(self, x_HW: NDArray[Any], out_RC: Float32) -> Float32:
        """What is touched of it, less the pivot."""
        if self._picks_rows:
            x_HW = x_HW.take(self._picked_rows, 0)
        if self._picks_columns:
            x_HW = x_HW.take(self._picked_columns, 1)
        np.subtract(x_HW, self._pivot, out=out_RC, dtype=np.float32, casting="same_kind")
        return out_RC

    def shrink(self, x_RC: Float32, out_hw: Float32) -> Float32:
        """Rows first, of which more are lost."""
        if self._same:
            out_hw[:] = x_RC
            return out_hw
        rows, columns = self._rows, self._columns
        first_hC, second_hC = self._halves_hC
        # `clip` spares a copy; no index needs it.
        x_RC.take(rows.first, 0, first_hC, "clip")
        x_RC.take(rows.second, 0, second_hC, "clip")
        x_hC = _blend(first_hC, second_hC, rows.weight[:, None], second_hC)
        x_hC.take(columns.first, 1, self._half_hw, "clip")
        x_hC.take(columns.second, 1, out_hw, "clip")
        return _blend(self._half_hw, out_hw, columns.weight, out_hw)


def _blend(a: Float32, b: Float32, weight: Float32 | np.float32, out: Float32) -> Float32:
    """a + weight (b - a): exact where both are alike. `out` may be `b`."""
    np.subtract(b, a, out=out)
    out *= weight
    out += a
    return out

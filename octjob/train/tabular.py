"""What is known of a volume without looking at it, as features of the controls.

Shapes: N volumes, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from octjob.data.cohort import Volume
from octjob.errors import DataError

AGE, AGE_UNKNOWN = "age", "age not known"


@dataclass(frozen=True, eq=False)
class Table:
    """Features by name, float64 (N, F); no column is constant."""

    names: tuple[str, ...]
    x_NF: npt.NDArray[np.float64]


def clinical(volumes: Sequence[Volume]) -> Table:
    """Age, in years.

    Raises `DataError` where it tells nobody apart.
    """
    columns = _ages(volumes)
    if not columns:
        raise DataError(
            "control clinical: the data set says no age as a number, or the same for everyone",
            "Fill its column `age`, or leave clinical out of `controls`.",
        )
    return _table(columns, len(volumes))


def site_device(volumes: Sequence[Volume]) -> Table:
    """Site, device and region, a column of 0 and 1 for each that there is, and age where it is known.

    Raises `DataError` where none of them tells anyone apart.
    """
    said = {
        "site": [volume.participant.site for volume in volumes],
        "device": [volume.record.device for volume in volumes],
        "region": [volume.record.region for volume in volumes],
    }
    columns: dict[str, npt.NDArray[np.float64]] = {}
    for what, value_N in said.items():
        for value in sorted(set(value_N)):
            columns[f"{what} {value}"] = np.array([float(one == value) for one in value_N])
    columns = {name: x_N for name, x_N in columns.items() if _varies(x_N)} | _ages(volumes)
    if not columns:
        raise DataError(
            "control site_device: one site, one device, one region and no age tell nobody apart",
            "Widen data.sites, data.devices or data.regions, or leave site_device out of `controls`.",
        )
    return _table(columns, len(volumes))


def _ages(volumes: Sequence[Volume]) -> dict[str, npt.NDArray[np.float64]]:
    """Age, the mean of the known ones where it is not, and a mark for these; empty where it tells nobody apart."""
    age_N = np.array([np.nan if v.participant.age is None else v.participant.age for v in volumes])
    unknown_N = np.isnan(age_N)
    if unknown_N.all():
        return {}
    columns = {
        AGE: np.where(unknown_N, age_N[~unknown_N].mean(), age_N),
        AGE_UNKNOWN: unknown_N.astype(np.float64),
    }
    return {name: x_N for name, x_N in columns.items() if _varies(x_N)}


def _varies(x_N: npt.NDArray[np.float64]) -> bool:
    return bool(np.ptp(x_N) > 0)


def _table(columns: dict[str, npt.NDArray[np.float64]], num_volumes: int) -> Table:
    return Table(tuple(columns), np.stack(list(columns.values()), axis=1).reshape(num_volumes, -1))

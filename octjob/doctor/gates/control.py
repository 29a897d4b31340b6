"""A positive control: what surely stands in the images, device and region, stands in the features too.

Shapes: N points, the held-out volumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octjob.doctor.finding import Finding
from octjob.evaluate.arrays import FloatArray, IntArray
from octjob.evaluate.feature_map import explained

GATE = "positive control"
MIN_EACH = 8
_NUM_PERMUTATIONS, _SIGNIFICANT = 999, 0.05
_TIMES = 1.5
# Standard errors of an AUROC of features that know nothing.
_KNOWN = 3.0
# As well as an encoder that sees tells devices or regions apart. Where so much is not ruled out, too few were asked.
_SEEN = 0.8
# What every volume is of one of, in this order; eyes are alike where an image is turned to one of them.
SURE = ("devices", "regions")
EYES = "eyes"


@dataclass(frozen=True)
class Reading:
    """How well a checkpoint's cached features tell groups of volumes apart, of participants left out.

    what: devices, regions, eyes or classes. auroc: the mean over pairs of groups. error: its standard error, were
    the features of nothing. num_points: a participant's volumes of one group are one point.
    """

    checkpoint: str
    what: str
    auroc: float
    error: float
    num_groups: int
    num_points: int

    @property
    def is_told(self) -> bool:
        """Beyond doubt."""
        return self.auroc > 0.5 + _KNOWN * self.error

    @property
    def is_missed(self) -> bool:
        """Beyond doubt too: what surely stands in the images would have been told."""
        return self.what in SURE and self.auroc + _KNOWN * self.error < _SEEN


@dataclass(frozen=True, eq=False)
class Plane:
    """A checkpoint's held-out volumes on the two first principal axes, [N, 2], with class and device of each.

    device_times, class_times: how many times more of the variance of all features lies between devices, or classes,
    than would between groups of these sizes dealt at random.
    """

    checkpoint: str
    at_N2: FloatArray
    label_N: IntArray
    device_N: IntArray
    device_times: float
    class_times: float


@dataclass(frozen=True)
class _Judged:
    """A checkpoint, what was looked for in its features, what of it is there, and the numbers. enough: there was
    enough to look at, so that what is not there is missing."""

    checkpoint: str
    sought: tuple[str, ...]
    told: tuple[str, ...]
    evidence: tuple[str, ...]
    enough: bool = True


def control(
    planes: Sequence[Plane],
    missing: str = "no run recorded where its features lie",
    readings: Sequence[Reading] = (),
) -> Finding:
    """Fails where a checkpoint's features tell nothing apart that was looked for, by readings where there are some of
    devices or regions, else by planes; not judged where there are too few points to say so. Eyes are told or not, and
    never asked for. missing: what is said of none."""
    read = _by_reading(readings)
    known = {one.checkpoint for one in read}
    judged = [*read, *(_by_plane(one) for one in planes if one.checkpoint not in known and _is_enough(one))]
    if not judged:
        enough = f"needs two devices or regions with {MIN_EACH} volumes each"
        return Finding(GATE, "not judged", enough if planes or readings else missing)
    evidence = tuple(line for one in judged for line in one.evidence)
    blind = [one for one in judged if not one.told and one.enough]
    unsure = [one.checkpoint for one in judged if not one.told and not one.enough]
    if blind:
        sought = list(dict.fromkeys(what for one in blind for what in one.sought))
        names = ", ".join(one.checkpoint for one in blind)
        tell = f"tell neither {' nor '.join(sought)}" if len(sought) > 1 else f"do not tell {sought[0]}"
        said = f"the features of {names} {tell} apart"
        cure = "look at what the encoder is given: `octjob data check --help` shows how"
        return Finding(GATE, "failed", said, evidence, cure)
    if unsure:
        said = f"too few points to tell whether {', '.join(unsure)} tells devices or regions apart"
        return Finding(GATE, "not judged", said, evidence)
    told = list(dict.fromkeys(what for one in judged for what in one.told))
    return Finding(GATE, "passed", f"{_and(told)} can be read from the features", evidence)


def _by_reading(readings: Sequence[Reading]) -> list[_Judged]:
    by_checkpoint: dict[str, list[Reading]] = {}
    for one in readings:
        by_checkpoint.setdefault(one.checkpoint, []).append(one)
    return [
        _Judged(
            checkpoint,
            tuple(one.what for one in its if one.is_missed),
            tuple(one.what for one in its if one.is_told),
            (_told(its),),
            any(one.is_missed for one in its),
        )
        for checkpoint, its in by_checkpoint.items()
        if any(one.what in SURE for one in its)
    ]


def _told(its: Sequence[Reading]) -> str:
    each = [f"{one.what} {one.auroc:.2f} ({one.num_groups} groups)" for one in its]
    error, points = max(one.error for one in its), min(one.num_points for one in its)
    alike = [one for one in its if one.what == EYES and not one.is_told]
    meant = "; eyes as it should be where all are turned to one side" if alike else ""
    return (
        f"{its[0].checkpoint}: cross-validated AUROC of {', '.join(each)};"
        f" by chance 0.50 ± {error:.2f} ({points} points){meant}"
    )


def _by_plane(one: Plane) -> _Judged:
    device, label = p_value(one.at_N2, one.device_N), p_value(one.at_N2, one.label_N)
    evidence = (
        f"{one.checkpoint}: devices explain {one.device_times:.1f} times the variance of random groups"
        f" (p = {device:.3f} on two axes), classes {one.class_times:.1f} times (p = {label:.3f})"
    )
    # Two axes may miss what lies on the third, and the times have no p-value: blind is what neither shows.
    sought = {"devices": (device, one.device_times), "classes": (label, one.class_times)}
    told = tuple(what for what, (p, times) in sought.items() if p < _SIGNIFICANT or times >= _TIMES)
    return _Judged(one.checkpoint, tuple(sought), told, (evidence,))


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def p_value(at_N2: FloatArray, group_N: IntArray) -> float:
    """How often permuted groups explain as much of the variance of the points; 1 for a single group."""
    if len(np.unique(group_N)) < 2:
        return 1.0
    seen = explained(at_N2, group_N).share
    generator = np.random.default_rng(0)
    reached = sum(
        explained(at_N2, generator.permutation(group_N)).share >= seen - 1e-12
        for _ in range(_NUM_PERMUTATIONS)
    )
    return (1 + reached) / (1 + _NUM_PERMUTATIONS)


def _is_enough(one: Plane) -> bool:
    return int((np.bincount(one.device_N, minlength=1) >= MIN_EACH).sum()) > 1

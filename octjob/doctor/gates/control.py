"""A positive control: what surely stands in the images, the device, stands in the features too.

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
_MIN_EACH = 8
_NUM_PERMUTATIONS, _SIGNIFICANT = 999, 0.05
_TIMES = 1.5


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


def control(planes: Sequence[Plane], missing: str = "no run recorded where its features lie") -> Finding:
    """Fails where a checkpoint's features tell neither devices nor classes apart. missing: what is said of none."""
    judged = [one for one in planes if _num_judged(one) > 1]
    if not planes:
        return Finding(GATE, "not judged", missing)
    if not judged:
        return Finding(GATE, "not judged", f"needs two devices with {_MIN_EACH} held-out volumes each")
    evidence, blind = [], []
    for one in judged:
        device, label = p_value(one.at_N2, one.device_N), p_value(one.at_N2, one.label_N)
        evidence.append(
            f"{one.checkpoint}: devices explain {one.device_times:.1f} times the variance of random groups"
            f" (p = {device:.3f} on two axes), classes {one.class_times:.1f} times (p = {label:.3f})"
        )
        # Two axes may miss what lies on the third, and the times have no p-value: blind is what neither shows.
        shown = min(device, label) < _SIGNIFICANT or max(one.device_times, one.class_times) >= _TIMES
        if not shown:
            blind.append(one.checkpoint)
    if blind:
        said = f"the features of {', '.join(blind)} tell neither devices nor classes apart"
        cure = "look at what the encoder is given: `octjob data check --help` shows how"
        return Finding(GATE, "failed", said, tuple(evidence), cure)
    return Finding(GATE, "passed", "devices, or classes, can be read from the features", tuple(evidence))


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


def _num_judged(one: Plane) -> int:
    return int((np.bincount(one.device_N, minlength=1) >= _MIN_EACH).sum())

"""Which of a run's heads train together: all that take equally many steps, as many as fit.

The answer depends on the run's units and its features' sizes only, and without the groups that are done it is the
same for the rest: a run that was interrupted finds the same company again, whatever it goes on with.
"""

from __future__ import annotations

from collections.abc import Sequence

from octjob.spec.experiment import Experiment
from octjob.train import epoch
from octjob.train.units import Unit

# Weights, gradients and two moments: beyond a CPU's last cache each step would wait for memory.
_STACK_BYTES = 16 * 2**20
# What a step computes besides, with the epoch's logits; and features that are scaled for each training set anew.
_BATCH_BYTES = 256 * 2**20
_FEATURE_BYTES = 2**30
_FLOAT = 4


def together(
    units: Sequence[Unit], experiment: Experiment, shape_VNE: tuple[int, int, int]
) -> list[list[Unit]]:
    """The units in groups, each unit in one; those of fewer steps first, otherwise in their order."""
    size = most_together(experiment, shape_VNE)
    by_steps: dict[int, list[Unit]] = {}
    for unit in units:
        by_steps.setdefault(epoch.steps_per_epoch(experiment, len(unit.train_N)), []).append(unit)
    return [some[i : i + size] for _, some in sorted(by_steps.items()) for i in range(0, len(some), size)]


def most_together(experiment: Experiment, shape_VNE: tuple[int, int, int]) -> int:
    """Heads that are trained together at most, at least one: those whose numbers fit."""
    V, N, E = shape_VNE
    K, H = experiment.classes.num_classes, experiment.model.head.hidden
    parameters = (E + 1) * H + (H + 1) * K if H else (E + 1) * K
    rows = min(N, experiment.data.batch_size * experiment.train.accumulate)
    bounds = [
        _STACK_BYTES // (4 * parameters * _FLOAT),
        _BATCH_BYTES // ((rows * (E + 6 * H) + 4 * N * K) * _FLOAT),
    ]
    if experiment.train.standardize:
        bounds.append(_FEATURE_BYTES // (V * N * E * _FLOAT))
    return max(1, min(bounds))

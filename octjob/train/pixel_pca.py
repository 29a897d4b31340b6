"""Principal components of downsampled volumes, as features of a control.

Shapes: D, H, W voxels; N volumes, F downsampled voxels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from octjob.spec.experiment import Experiment
from octjob.train.multinomial import Floats
from octjob.train.scaling import by_training_set
from octjob.train.scoring import Scorer
from octjob.train.trained import Done, Watch
from octjob.train.trainers import LogisticTrainer
from octjob.train.units import Indices, Unit

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

log = logging.getLogger(__name__)

Float32 = npt.NDArray[np.float32]

# Means of boxes: B-scans, rows, columns.
GRID = (8, 16, 16)
MOST_COMPONENTS = 50
# A component of less variance than this share of the first one's is rounding.
_LEAST_VARIANCE = 1e-10


def downsampled(x_DHW: Float32) -> Float32:
    """(F,) the means over the boxes of `GRID`."""
    x_dhw = F.adaptive_avg_pool3d(torch.tensor(x_DHW)[None], GRID)
    return x_dhw.flatten().numpy()


class PixelPcaTrainer:
    """Logistic regressions to their optimum on principal components of x_NF, fitted on whom a unit trains on."""

    def __init__(self, experiment: Experiment, scorer: Scorer, x_NF: Float32) -> None:
        self.experiment = experiment
        self.scorer = scorer
        self.x_NF = x_NF.astype(np.float64)

    def train(self, units: Sequence[Unit], watch: Watch) -> Iterator[Done]:
        """One after the other, those of one training set together."""
        for alike in by_training_set(units):
            components = _fit(self.x_NF, alike[0].train_N)
            scores_NC: Floats = components.transform(self.x_NF)
            log.info("%d components of %d voxels", scores_NC.shape[1], self.x_NF.shape[1])
            kept = {
                "pixel_mean": torch.from_numpy(components.mean_),
                "components": torch.from_numpy(np.ascontiguousarray(components.components_)),
            }
            trainer = LogisticTrainer(self.experiment, self.scorer, torch.from_numpy(scores_NC).float()[None])
            for done in trainer.train(alike, watch):
                yield [
                    (unit, replace(one, weights=one.weights | kept, last_weights=one.last_weights | kept))
                    for unit, one in done
                ]


def _fit(x_NF: Floats, train_N: Indices) -> PCA:
    """At most `MOST_COMPONENTS` of them, as many as vary."""
    from sklearn.decomposition import PCA

    most = max(1, min(MOST_COMPONENTS, len(train_N) - 1, x_NF.shape[1]))
    fitted = PCA(most, svd_solver="full").fit(x_NF[train_N])
    variance_C = fitted.explained_variance_
    varying = max(1, int((variance_C > _LEAST_VARIANCE * variance_C[0]).sum()))
    return fitted if varying == most else PCA(varying, svd_solver="full").fit(x_NF[train_N])

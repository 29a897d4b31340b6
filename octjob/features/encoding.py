"""One encoder on volumes: what it makes of them, and at which address that is kept.

Shapes: D, H, W voxels; B batch, N tokens; E embedding; M pooling methods; T pooled tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from octjob.data.volume_format import VolumeFormat
from octjob.features.store import FeatureKey
from octjob.features.views import Volume3D
from octjob.models.checkpoint import LoadedEncoder
from octjob.models.choice import Backend
from octjob.models.pooling import pool, pooling_for
from octjob.runtime.base import Runtime
from octjob.spec.experiment import Experiment

# By pooling, what is kept of one encoded volume: (M, E) or (T, E).
Pooled = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Encoding:
    """How volumes become features: one encoder, one preprocessing, one precision.

    made_by: who compiled the encoder that made them, where that was not this runtime.
    """

    loaded: LoadedEncoder
    experiment: Experiment
    runtime: Runtime
    made_by: Backend | None = field(default=None, kw_only=True)

    @property
    def key(self) -> FeatureKey:
        """The content address of the features."""
        data, geometry = self.experiment.data, self.loaded.encoder.geometry
        return FeatureKey(
            encoder=self.loaded.report.encoder_digest,
            preprocess=VolumeFormat(data.profile, geometry.volume_size, data.volume_dtype).digest,
            precision=self.experiment.train.precision,
            backend=self.made_by or self.runtime.backend,
        )

    def pooling_of(self, experiment: Experiment) -> str:
        """What has to be kept of this encoder's tokens for a probe of the experiment."""
        return pooling_for(experiment.model.pool_method, self.loaded.encoder.geometry)

    def encode(self, volumes: Sequence[Volume3D], poolings: Sequence[str]) -> list[Pooled]:
        """What is kept of at most `own_shards` volumes (D, H, W), by pooling.

        One volume a device, so that a feature never depends on its neighbours in a batch. Every process of the
        runtime calls this as often as the others, with nothing where it has no more.
        """
        geometry = self.loaded.encoder.geometry
        blank = np.zeros(geometry.volume_size, np.float32)
        padding = [blank] * (self.runtime.own_shards - len(volumes))
        x_bCDHW = torch.from_numpy(np.stack([*volumes, *padding]))[:, None]
        bf16 = self.experiment.train.precision == "bf16"
        with torch.no_grad(), self.runtime.autocast(bf16):
            tokens_BNE = self.loaded.encoder(self.runtime.batch(x_bCDHW)).float()
        # Side by side, so that the devices are asked once.
        parts = [pool(tokens_BNE, pooling, geometry) for pooling in poolings]
        own = self.runtime.gather(torch.cat(parts, dim=1))[self.runtime.rows(self.runtime.num_shards)]
        pieces = torch.split(own[: len(volumes)], [part.shape[1] for part in parts], dim=1)
        return [
            {pooling: piece[i].numpy().copy() for pooling, piece in zip(poolings, pieces, strict=True)}
            for i in range(len(volumes))
        ]

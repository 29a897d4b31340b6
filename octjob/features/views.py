"""The views of a volume that are encoded: the volume itself, and augmentations of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from octjob.data.augment import IDENTITY, augment, augment_seed
from octjob.spec.experiment import Augment

Volume3D = npt.NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """number: `IDENTITY` for the volume itself, else which of the augmentations that `augment` describes."""

    augment: Augment
    number: int

    @property
    def name(self) -> str:
        """Equal for views that are equal, whatever else their configs say."""
        if self.number == IDENTITY:
            return "identity"
        on = ("flip", "intensity_jitter", "random_crop", "rotation")
        return "-".join([*(name for name in on if getattr(self.augment, name)), str(self.number)])

    def of(self, x_DHW: Volume3D, uid: str) -> Volume3D:
        """This view of a preprocessed volume, which is left alone."""
        if self.number == IDENTITY:
            return x_DHW
        return augment(x_DHW, self.augment, augment_seed(0, self.number, uid))


def views_of(config: Augment) -> list[View]:
    """Views of a training volume: the volume itself, and more only where some augmentation is on."""
    return [View(config, number) for number in range(config.views if config.any else 1)]

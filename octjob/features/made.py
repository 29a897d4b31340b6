"""Features that an encoding has made, for runs that make none themselves.

Shapes: V views; N volumes; E embedding; T pooled tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from octjob.data.cohort import Volume
from octjob.data.quarantine import Quarantine, Quarantined
from octjob.data.volumes import VolumeReader
from octjob.errors import DataError
from octjob.features.encode import stacked
from octjob.features.encoding import Encoding
from octjob.features.work import Work
from octjob.models.choice import Backend
from octjob.storage.base import ObjectStore


@dataclass(frozen=True)
class Made:
    """What an encoding says of its features, once all are there.

    backend: who compiled the encoder. prefix: their folder in the cache. left_out: volumes that cannot be read.
    mended_by: what makes them again, as a hint.
    """

    encoding: str
    backend: Backend
    prefix: str
    left_out: tuple[Quarantined, ...]
    mended_by: str


def read_made(
    encoding: Encoding,
    made: Made,
    cache: ObjectStore,
    reader: VolumeReader,
    volumes: Sequence[Volume],
    augmented: Collection[str],
    quarantine: Quarantine,
) -> npt.NDArray[np.float32]:
    """As `encode_views`, of features that are there; what the encoding left out is put into `quarantine`.

    Raises `DataError` where they are those of another encoder or preprocessing, or some are not there.
    """
    if encoding.key.prefix != made.prefix:
        raise DataError(
            f"{cache.uri(made.prefix)}: {made.encoding} made these features with another encoder or preprocessing"
            " than this run has",
            f"The checkpoint's file was replaced since. Restore it, or {made.mended_by}",
        )
    own = {volume.record.sop_instance_uid for volume in volumes}
    for entry in made.left_out:
        if entry.sop_instance_uid in own:
            quarantine.add(entry)
    work = Work(encoding, cache, reader, volumes, augmented, quarantine)
    work.read()
    if missing := work.missing():
        raise DataError(
            f"{cache.uri(made.prefix)}: features of {len(missing)} of {len(volumes)} volumes are not there, though"
            f" {made.encoding} has made them",
            f"The cache was cleared, or the data grew. To make what is missing {made.mended_by}",
        )
    return stacked(encoding, list(work.features.values()), volumes, quarantine)

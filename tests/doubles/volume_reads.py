"""A few volumes in a bucket, and all of them through a reader: for tests of what stands between the two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from octjob.data.cohort import Volume
from octjob.data.manifest import MANIFEST_KEY, read_manifest
from octjob.data.participants import Participant
from octjob.data.volumes import VolumeReader
from tests.doubles.aireadi_bucket import Bucket, speckle

# (D, H, W) that they are read in.
SIZE = (4, 6, 5)


def bucket_of(folder: Path, num_volumes: int) -> Bucket:
    """A volume of noise for each of so many participants."""
    made = Bucket(folder)
    for i in range(num_volumes):
        made.person(str(1000 + i))
        made.volume(str(1000 + i), x_DHW=speckle(seed=i))
    made.write()
    return made


def volumes_of(bucket: Bucket) -> list[Volume]:
    """Its volumes, all of healthy participants of one site's training split."""
    return [
        Volume(record, Participant(record.participant, "UW", "healthy", 0, "train", True))
        for record in read_manifest(bucket.store, MANIFEST_KEY)
    ]


def read_all(reader: VolumeReader, volumes: Sequence[Volume]) -> np.ndarray:
    """x_NDHW."""
    return np.stack([reader.read(volume) for volume in volumes])

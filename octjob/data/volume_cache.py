"""Where preprocessed volumes are kept: this machine's disk first, then the object store that all runs share.

Legend: x_DHW float32, B-scans x rows x columns, as the encoder takes them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from octjob.data.manifest import VolumeRecord
from octjob.data.source_versions import SourceVersions
from octjob.data.volume_format import VolumeFormat

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]


class Place(Protocol):
    """One place that holds encoded volumes by name. Thread-safe."""

    def get(self, name: str) -> bytes | None:
        """The bytes of that name, whole or damaged; None where there are none."""
        ...

    def put(self, name: str, data: bytes, *, damaged: bool = False) -> None:
        """Keep these bytes while there is room. damaged: what is there is damaged and to be replaced."""
        ...

    def where(self, name: str) -> str:
        """Path or URI, for messages."""
        ...


class VolumeCache:
    """Volumes of one format in several places, the nearest first. Thread-safe.

    What is found in one place is put into the nearer ones. What is damaged is absent, and replaced when it is made
    again.
    """

    def __init__(self, format_: VolumeFormat, versions: SourceVersions, places: Sequence[Place]) -> None:
        self._format = format_
        self._versions = versions
        self._places = tuple(places)
        self._damaged: set[str] = set()

    def get(self, record: VolumeRecord) -> Float32 | None:
        """x_DHW, or None where no place holds it. Raises `CorruptVolumeError` where its file is gone."""
        name = self._name(record)
        for number, place in enumerate(self._places):
            data = place.get(name)
            if data is None:
                continue
            try:
                x_DHW = self._format.decode(data)
            except ValueError as error:
                log.warning("%s: damaged cache file (%s), made again", place.where(name), error)
                self._damaged.add(place.where(name))
                continue
            self._put(name, data, self._places[:number])
            return x_DHW
        return None

    def put(self, record: VolumeRecord, x_DHW: Float32) -> None:
        """Keep a volume that was just made in every place. Raises `AccessError` where one cannot be written."""
        self._put(self._name(record), self._format.encode(x_DHW), self._places)

    def _put(self, name: str, data: bytes, places: Sequence[Place]) -> None:
        for place in places:
            where = place.where(name)
            place.put(name, data, damaged=where in self._damaged)
            self._damaged.discard(where)

    def _name(self, record: VolumeRecord) -> str:
        return volume_name(record, self._versions)


def volume_name(record: VolumeRecord, versions: SourceVersions) -> str:
    """The name of a volume in every place, `<SOP instance UID>-<version of its file>.npy`."""
    return f"{record.sop_instance_uid}-{record.version or versions.of(record.key)}.npy"

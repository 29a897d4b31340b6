"""What the cache holds of the sweep's encoders. Nothing is encoded or written.

Shapes: N volumes, M pooling methods, E features, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from octjob.errors import AccessError
from octjob.extras import is_installed
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore
from octjob.storage.open import open_store

Features = Mapping[str, npt.NDArray[np.float32]]

_NUM_THREADS = 8


@dataclass(frozen=True, eq=False)
class Place:
    """Where the features of a run's encoder lie, before it is said how they are pooled.

    name: the run's. encoder: its digest. geometry: as the report of the checkpoint says it.
    """

    name: str
    checkpoint: str
    encoder: str
    geometry: Mapping[str, Any]
    run: Run

    @property
    def identity(self) -> tuple[str, ...]:
        """Of equal ones the features are the same."""
        config = self.run.config
        data = (config.data.profile, config.data.volume_dtype, config.train.precision)
        return (self.encoder, *data, self.run.cache)


def place_of(name: str, checkpoint: str, report: Mapping[str, Any], run: Run | None) -> Place | None:
    """report: of the checkpoint, as results have it. None where it does not say what was loaded, or for a run that
    keeps no features."""
    encoder, geometry = report.get("encoder_digest"), report.get("geometry") or {}
    if run is None or run.config.mode != "probe" or not encoder or not geometry.get("volume_size"):
        return None
    return Place(name, checkpoint, str(encoder), geometry, run)


@dataclass(frozen=True, eq=False)
class Held:
    """Features of one encoder, the mean over tokens [E], by volume; empty where the cache has none."""

    place: Place
    features: Features


def held(places: Sequence[Place]) -> tuple[list[Held], str]:
    """One for each encoder, and why something is missing; empty where nothing is."""
    if not (is_installed("torch") and is_installed("safetensors")):
        return [], "cached features: not read, octjob[train] is not installed"
    distinct: dict[tuple[str, ...], Place] = {}
    for place in places:
        distinct.setdefault(place.identity, place)
    try:
        found = [Held(place, read_features(place)) for place in distinct.values()]
    except AccessError as error:
        return [], f"cached features: {error.message}"
    missing = list(dict.fromkeys(one.place.checkpoint for one in found if not one.features))
    note = f"cached features: none of {', '.join(missing)}" if missing else ""
    return [one for one in found if one.features], note


def read_features(place: Place, pool_method: str = "mean") -> Features:
    """By volume [E], or [T, E] for attentive, of unaugmented volumes; from whichever backend's are there, and none
    where none are.

    Raises:
        AccessError: the cache's store refuses.
    """
    from octjob.data.volume_format import VolumeFormat
    from octjob.features.store import FeatureKey, FeatureStore, Form
    from octjob.models.choice import Backend
    from octjob.models.pooling import row_of

    data = place.run.config.data
    volumes = VolumeFormat(data.profile, tuple(place.geometry["volume_size"]), data.volume_dtype).digest
    cache = open_store(place.run.cache)
    for backend in get_args(Backend):
        key = FeatureKey(place.encoder, volumes, place.run.config.train.precision, backend)
        prefix = FeatureStore(cache, key, Form("identity", _pooling(place, pool_method))).prefix
        if found := _read(cache, prefix, row_of(pool_method)):
            return found
    return {}


def _pooling(place: Place, pool_method: str) -> str:
    from octjob.models.pooling import pooling_for
    from octjob.models.shape import geometry_from

    return pooling_for(pool_method, geometry_from(place.geometry))


def _read(cache: ObjectStore, prefix: str, row: int | slice) -> Features:
    """All that is whole below the prefix."""
    import safetensors.numpy

    from octjob.storage.sealed import unseal

    def read(key: str) -> Features:
        body = unseal(cache.get(key))
        # Copied: a row is a window on the whole shard, which shall not stay in memory for it.
        return {} if body is None else {u: x[row].copy() for u, x in safetensors.numpy.load(body).items()}

    found: dict[str, npt.NDArray[np.float32]] = {}
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        for features in pool.map(read, [shard.key for shard in cache.list(prefix)]):
            found.update(features)
    return found

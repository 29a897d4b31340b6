"""Cached features of the sweep's encoders: how alike they are to the untrained one's. Nothing is encoded or written.

Shapes: N volumes, M pooling methods, E features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from octjob.doctor.case import Finished
from octjob.doctor.cka import MIN_VOLUMES, debiased_linear_cka
from octjob.doctor.gates.features import Alike
from octjob.errors import AccessError
from octjob.evaluate.arrays import FloatArray
from octjob.extras import is_installed
from octjob.storage.base import ObjectStore

# More cost time, and tell no more.
_MAX_VOLUMES = 1000

Features = Mapping[str, FloatArray]


@dataclass(frozen=True)
class Likeness:
    """What the cache says: `found`, and in `note` why something is missing, empty where nothing is."""

    found: tuple[Alike, ...] = ()
    note: str = ""


def likeness(runs: Sequence[Finished], untrained: str) -> Likeness:
    """Of each checkpoint whose features, and the untrained one's, lie in the cache; for the mean over tokens."""
    if not (is_installed("torch") and is_installed("safetensors")):
        return Likeness(note="cached features: not read, octjob[train] is not installed")
    first: dict[str, Finished] = {}
    for run in runs:
        if run.spec is not None and run.scored.result.mode == "probe":
            first.setdefault(run.checkpoint, run)
    if untrained not in first:
        return Likeness(note=f"cached features: no probe of {untrained}")
    try:
        features = {name: _features(run) for name, run in first.items()}
    except AccessError as error:
        return Likeness(note=f"cached features: {error.message}")
    reference = features.pop(untrained)
    compared = [_compared(name, own, reference) for name, own in features.items()]
    missing = [name for name, one in zip(features, compared, strict=True) if one is None]
    note = f"cached features: none to compare of {', '.join(missing)}" if missing else ""
    return Likeness(tuple(one for one in compared if one is not None), note)


def _compared(name: str, own: Features, other: Features) -> Alike | None:
    shared = sorted(own.keys() & other.keys())[:_MAX_VOLUMES]
    if len(shared) < MIN_VOLUMES:
        return None
    cka = debiased_linear_cka(*(np.stack([one[uid] for uid in shared]) for one in (own, other)))
    return None if math.isnan(cka) else Alike(name, cka, len(shared))


def _features(run: Finished) -> Features:
    """By volume [E], from whichever backend's are there; none where none are."""
    from octjob.data.volume_format import VolumeFormat
    from octjob.features.store import FeatureKey, FeatureStore, Form
    from octjob.models.choice import Backend
    from octjob.models.pooling import VECTORS
    from octjob.storage.open import open_store

    assert run.spec is not None
    data, size = run.spec.config.data, (run.report.get("geometry") or {}).get("volume_size")
    encoder, precision = run.report.get("encoder_digest"), run.spec.config.train.precision
    if not size or not encoder:
        return {}
    volumes = VolumeFormat(data.profile, tuple(size), data.volume_dtype).digest
    cache = open_store(run.spec.cache)
    for backend in get_args(Backend):
        key = FeatureKey(encoder, volumes, precision, backend)
        prefix = FeatureStore(cache, key, Form("identity", VECTORS)).prefix
        if found := _read(cache, prefix):
            return found
    return {}


def _read(cache: ObjectStore, prefix: str) -> Features:
    """All that is whole below the prefix; the mean over tokens, the first of the poolings [M, E]."""
    import safetensors.numpy

    from octjob.storage.sealed import unseal

    found: dict[str, FloatArray] = {}
    for shard in cache.list(prefix):
        body = unseal(cache.get(shard.key))
        if body is not None:
            found.update(
                (uid, np.asarray(x_ME[0], np.float64)) for uid, x_ME in safetensors.numpy.load(body).items()
            )
    return found

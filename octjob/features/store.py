"""The content-addressed feature store: encode once, share between the runs of a sweep.

    <cache>/features/<digest>/<shard>.safetensors   features of some volumes, keyed by SOP instance UID
                             /lease.json            who is encoding now

The digest covers encoder weights and geometry, preprocessing, view, pooling and precision; never a name or path.
Shards are create-only and named by the volumes in them, so writers can repeat each other but never conflict.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from octjob.errors import DataError
from octjob.storage.base import AlreadyExistsError, ObjectStore

log = logging.getLogger(__name__)

FEATURE_VERSION = 1
_LEASE = "lease.json"

Features = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class FeatureKey:
    """Everything that decides a feature's value.

    encoder: digest of weights and geometry. preprocess: digest of profile and size.
    view: "identity", or the augmentation and the view's number. pooling: mean, max or the token grid.
    """

    encoder: str
    preprocess: str
    view: str
    pooling: str
    precision: str
    version: int = FEATURE_VERSION

    @property
    def digest(self) -> str:
        """The store's folder for these features."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


class FeatureStore:
    """Features under one key in a sweep's cache. Arrays are float32, one per volume, all of one shape."""

    def __init__(self, store: ObjectStore, key: FeatureKey) -> None:
        self.store = store
        self.key = key
        self.prefix = f"features/{key.digest}/"

    @property
    def lease_key(self) -> str:
        """The object that says who is encoding."""
        return self.prefix + _LEASE

    def read(self, uids: Iterable[str]) -> Features:
        """Those of `uids` that are there."""
        wanted = set(uids)
        shards = [info.key for info in self.store.list(self.prefix) if info.key.endswith(".safetensors")]
        found: Features = {}
        with ThreadPoolExecutor(max_workers=8) as pool:
            for features in pool.map(self._read_shard, shards):
                found.update((uid, x) for uid, x in features.items() if uid in wanted)
        return found

    def _read_shard(self, key: str) -> Mapping[str, npt.NDArray[np.float32]]:
        try:
            return safetensors.numpy.load(self.store.get(key))
        except safetensors.SafetensorError as error:
            raise DataError(
                f"{self.store.uri(key)}: not a readable feature shard ({error})",
                "Delete this object; the features in it are then made again.",
            ) from None

    def write(self, features: Features) -> None:
        """Add a shard."""
        name = hashlib.sha256("\n".join(sorted(features)).encode()).hexdigest()[:32]
        data = safetensors.numpy.save({uid: np.ascontiguousarray(x) for uid, x in features.items()})
        try:
            self.store.put(f"{self.prefix}{name}.safetensors", data, if_absent=True)
        except AlreadyExistsError:
            log.info("shard %s was written by another run meanwhile", name)

"""The content-addressed feature store: encode once, share between the runs of a sweep.

    <cache>/features/<digest>/<shard>.sealed   SHA-256, then safetensors: features by SOP instance UID
                             /lease.json            who is encoding now

The digest covers encoder weights and geometry, preprocessing, view, pooling, precision and the compiler; never a name
or path.
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

from octjob.models.choice import Backend
from octjob.storage.base import AlreadyExistsError, ObjectNotFoundError, ObjectStore, StoreFullError
from octjob.storage.sealed import seal, unseal

log = logging.getLogger(__name__)

FEATURE_VERSION = 3
_SUFFIX = ".sealed"
_LEASE = "lease.json"

Features = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class FeatureKey:
    """Everything that decides a feature's value.

    encoder: digest of weights and geometry. preprocess: digest of profile and size.
    view: "identity", or the augmentation and the view's number. pooling: mean, max or the token grid.
    backend: who compiled the encoder, since each rounds in its own way.
    """

    encoder: str
    preprocess: str
    view: str
    pooling: str
    precision: str
    backend: Backend
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
        self._damaged: set[str] = set()
        self.prefix = f"features/{key.digest}/"

    @property
    def lease_key(self) -> str:
        """The object that says who is encoding."""
        return self.prefix + _LEASE

    def read(self, uids: Iterable[str]) -> Features:
        """Those of `uids` that are there."""
        wanted = set(uids)
        shards = [info.key for info in self.store.list(self.prefix) if info.key.endswith(_SUFFIX)]
        found: Features = {}
        with ThreadPoolExecutor(max_workers=8) as pool:
            for features in pool.map(self._read_shard, shards):
                found.update((uid, x) for uid, x in features.items() if uid in wanted)
        return found

    def _read_shard(self, key: str) -> Mapping[str, npt.NDArray[np.float32]]:
        try:
            body = unseal(self.store.get(key))
        except ObjectNotFoundError:
            log.warning("%s was removed; its features are made again", self.store.uri(key))
            return {}
        if body is None:
            log.warning(
                "%s is damaged (its SHA-256 is wrong); its features are made again", self.store.uri(key)
            )
            self._damaged.add(key)
            return {}
        return safetensors.numpy.load(body)

    def write(self, features: Features) -> None:
        """Add a shard. A store without room for it is a warning: whoever needs them encodes these volumes again."""
        name = hashlib.sha256("\n".join(sorted(features)).encode()).hexdigest()[:32]
        data = safetensors.numpy.save({uid: np.ascontiguousarray(x) for uid, x in features.items()})
        key = f"{self.prefix}{name}{_SUFFIX}"
        try:
            # The same features replace damaged ones, whoever comes first.
            self.store.put(key, seal(data), if_absent=key not in self._damaged)
        except AlreadyExistsError:
            log.info("shard %s was written by another run meanwhile", name)
        except StoreFullError as error:
            log.warning("%s; %d features are not kept", error.message, len(features))

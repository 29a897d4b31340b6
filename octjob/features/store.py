"""The content-addressed feature store: encode once, share between the runs of a sweep.

    <cache>/features/<digest>/<view>/<pooling>/<shard>.sealed   SHA-256, then safetensors: features by volume
                             /claims/<part>.json   who encodes the volumes of a part (`octjob.features.claims`)

The digest covers encoder weights and geometry, preprocessing, precision and the compiler; never a name or path. One
pass over a volume fills the folders of all views and poolings that are wanted; a reader fetches only its own.
Shards are create-only and named by the volumes in them, so writers can repeat each other but never conflict.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from octjob.models.choice import Backend
from octjob.models.pooling import VECTORS
from octjob.storage.base import (
    AlreadyExistsError,
    ObjectInfo,
    ObjectNotFoundError,
    ObjectStore,
    StoreFullError,
    VersionConflictError,
)
from octjob.storage.sealed import seal, unseal

log = logging.getLogger(__name__)

FEATURE_VERSION = 4
_SUFFIX = ".sealed"
# A shard is written when it is full or this old, so that a killed run loses little.
_SHARD_VOLUMES = 64
_SHARD_S = 30.0

Features = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class FeatureKey:
    """What decides the tokens that an encoder makes of a volume.

    encoder: digest of weights and geometry. preprocess: digest of profile and size.
    backend: who compiled the encoder, since each rounds in its own way.
    """

    encoder: str
    preprocess: str
    precision: str
    backend: Backend
    version: int = FEATURE_VERSION

    @property
    def prefix(self) -> str:
        """The store's folder for these features."""
        text = json.dumps(asdict(self), sort_keys=True)
        return f"features/{hashlib.sha256(text.encode()).hexdigest()[:32]}/"

    @property
    def claims_prefix(self) -> str:
        """Where it is said who encodes what."""
        return f"{self.prefix}claims/"


@dataclass(frozen=True, order=True)
class Form:
    """In what form a volume's features are: which view of it, and how its tokens are pooled.

    view: "identity", or the augmentation and the view's number. pooling: see `octjob.models.pooling.pooling_for`.
    """

    view: str
    pooling: str


class FeatureStore:
    """Features of one form under one key in a cache. Arrays are float32, one per volume, all of one shape."""

    def __init__(self, store: ObjectStore, key: FeatureKey, form: Form) -> None:
        self.store = store
        # Shards that hold nothing, in the place of damaged ones.
        self._void: set[str] = set()
        # (key, version) of every shard that was fetched, and the UIDs in it.
        self._held: dict[tuple[str, str], frozenset[str]] = {}
        self.prefix = f"{key.prefix}{form.view}/{form.pooling}/"

    @property
    def uri(self) -> str:
        """The folder of the shards."""
        return self.store.uri(self.prefix)

    def read(self, uids: Iterable[str]) -> Features:
        """Those of `uids` that are there. A shard is fetched once, and again only for what it is known to hold."""
        wanted = set(uids)
        shards = [info for info in self.store.list(self.prefix) if info.key.endswith(_SUFFIX)]
        found: Features = {}
        with ThreadPoolExecutor(max_workers=8) as pool:
            for features in pool.map(self._read_shard, [s for s in shards if self._may_hold(s, wanted)]):
                # Copied: the array is a window on the whole shard, which shall not stay in memory for it.
                found.update((uid, x.copy()) for uid, x in features.items() if uid in wanted)
        return found

    def _may_hold(self, shard: ObjectInfo, wanted: Set[str]) -> bool:
        held = self._held.get((shard.key, shard.version))
        return held is None or not held.isdisjoint(wanted)

    def _read_shard(self, shard: ObjectInfo) -> Features:
        try:
            body = unseal(self.store.get(shard.key))
        except ObjectNotFoundError:
            log.warning("%s was removed; its features are made again", self.store.uri(shard.key))
            return {}
        if body is None:
            log.warning(
                "%s is damaged (its SHA-256 is wrong); its features are made again", self.store.uri(shard.key)
            )
            self._clear(shard)
        features = safetensors.numpy.load(body) if body is not None else {}
        if not features:
            self._void.add(shard.key)
        self._held[shard.key, shard.version] = frozenset(features)
        return features

    def _clear(self, shard: ObjectInfo) -> None:
        """Put a shard of nothing in its place: what is made again may be divided into others, and leave it there."""
        with contextlib.suppress(VersionConflictError, StoreFullError):
            version = self.store.put(shard.key, seal(safetensors.numpy.save({})), if_version=shard.version)
            self._held[shard.key, version] = frozenset()

    def write(self, features: Features) -> bool:
        """Add a shard, and say whether others can read it.

        A store without room for it is a warning: whoever needs these features encodes the volumes again.
        """
        name = hashlib.sha256("\n".join(sorted(features)).encode()).hexdigest()[:32]
        data = safetensors.numpy.save({uid: np.ascontiguousarray(x) for uid, x in features.items()})
        key = f"{self.prefix}{name}{_SUFFIX}"
        try:
            version = self.store.put(key, seal(data), if_absent=key not in self._void)
            self._held[key, version] = frozenset(features)
        except AlreadyExistsError:
            log.info("shard %s was written by another run meanwhile", name)
        except StoreFullError as error:
            log.warning("%s; %d features are not kept", error.message, len(features))
            return False
        return True


class Shards:
    """Features on their way to the store: shards are written when one is full or old, and at the end.

    unkept: those that the store had no room for.
    """

    def __init__(self, store_of: Callable[[Form], FeatureStore]) -> None:
        self.store_of = store_of
        self.unkept: dict[Form, Features] = defaultdict(dict)
        self._shards: dict[Form, Features] = defaultdict(dict)
        self._began = time.monotonic()

    def add(self, form: Form, uid: str, feature: npt.NDArray[np.float32]) -> None:
        """Take it in, and write what is due."""
        self._shards[form][uid] = feature
        if len(self._shards[form]) >= _SHARD_VOLUMES or time.monotonic() - self._began > _SHARD_S:
            self.close()

    def close(self) -> None:
        """Write what is left: of each view the mean and the maximum last, by which others see that it is there."""
        shards, self._shards, self._began = self._shards, defaultdict(dict), time.monotonic()
        for form in sorted(shards, key=lambda form: (form.pooling == VECTORS, form)):
            if not self.store_of(form).write(shards[form]):
                self.unkept[form] |= shards[form]

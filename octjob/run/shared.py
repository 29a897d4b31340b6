"""What the runs of one process need not read or make again: the last encoder, cohorts, features, trainings."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from octjob.data.cohort import Cohort
from octjob.features.memory import FeatureMemory
from octjob.models.checkpoint import LoadedEncoder
from octjob.run.company import Later
from octjob.spec.run import Run
from octjob.spec.uri import HUB, split_uri
from octjob.storage.base import ObjectNotFoundError
from octjob.storage.open import open_store

_NUM_COHORTS = 8
# Of `data`, what has no part in who is in a cohort.
_NOT_OF_COHORT = {"augment", "batch_size", "val_batch_size", "num_workers", "connections", "cache_dir"}


@dataclass
class Shared:
    """What earlier runs of this process read, each under the version that its object had before it was read.

    An object that was replaced since has another version, and is read again. One encoder is kept: the next run of a
    bundle wants the same, and two need not fit.

    later: those that follow, and what was done ahead for them.
    """

    memory: FeatureMemory = field(default_factory=FeatureMemory)
    later: Later = field(default_factory=Later)
    _encoder: tuple[Hashable, LoadedEncoder] | None = None
    _cohorts: OrderedDict[Hashable, Cohort] = field(default_factory=OrderedDict)

    def encoder(self, run: Run, load: Callable[[], LoadedEncoder]) -> LoadedEncoder:
        """The run's encoder; `load` is called where it is not the last one that was asked for."""
        version = _version(run.checkpoint.uri)
        # The file's version stands for its digest; whose scans it saw is not asked of it.
        said = run.checkpoint.model_copy(update={"sha256": None, "pretraining_participants": None})
        identity = (version, said, run.config.model.encoder)
        if version is not None and self._encoder is not None and self._encoder[0] == identity:
            return self._encoder[1]
        self._encoder = None
        self._encoder = (identity, load())
        return self._encoder[1]

    def cohort(self, run: Run, uris: tuple[str, ...], find: Callable[[], Cohort]) -> Cohort:
        """What `find` makes of the objects at `uris` for this run, or made for one that selects alike."""
        versions = tuple(_version(uri) for uri in uris)
        if None in versions:
            return find()
        selection = run.config.model_dump(mode="json", include={"data", "classes"})
        for name in _NOT_OF_COHORT:
            del selection["data"][name]
        identity = (versions, json.dumps(selection, sort_keys=True))
        if identity not in self._cohorts:
            self._cohorts[identity] = find()
            if len(self._cohorts) > _NUM_COHORTS:
                self._cohorts.popitem(last=False)
        return self._cohorts[identity]


def _version(uri: str) -> Hashable:
    """URI, version and size of an object, or of all in a folder; None where nothing is there, which whoever reads it
    will say better, and for what a hub has."""
    if uri.startswith(HUB):
        return None
    root, key = split_uri(uri)
    store = open_store(root)
    try:
        info = store.head(key)
    except ObjectNotFoundError:
        below = tuple((one.key, one.version, one.size) for one in store.list(f"{key}/"))
        return (uri, below) if below else None
    return uri, info.version, info.size

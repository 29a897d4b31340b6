"""Features that stay in memory for the next run of the process, up to a bound."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from octjob.features.store import Features

# Vectors of 170,000 volumes of width 768; token grids of 2,400.
DEFAULT_BYTES = 2**30


class FeatureMemory:
    """Features by the folder of the store that holds them; beyond the bound those used longest ago are dropped."""

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._folders: OrderedDict[str, Features] = OrderedDict()

    def get(self, folder: str, uids: Iterable[str]) -> Features:
        """Those of `uids` that are there."""
        held = self._folders.get(folder)
        if held is None:
            return {}
        self._folders.move_to_end(folder)
        return {uid: held[uid] for uid in uids if uid in held}

    def put(self, folder: str, features: Features) -> None:
        """Keep these too."""
        self._folders.setdefault(folder, {}).update(features)
        self._folders.move_to_end(folder)
        while self._folders and self.num_bytes > self._max_bytes:
            self._folders.popitem(last=False)

    @property
    def num_bytes(self) -> int:
        """What the features take."""
        return sum(x.nbytes for features in self._folders.values() for x in features.values())

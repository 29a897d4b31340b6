"""Where a table's volumes lie: below one root, or anywhere by their full URIs, behind one store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from octjob.spec.uri import split_uri
from octjob.storage.base import ObjectInfo, ObjectNotFoundError, ObjectStore, Write
from octjob.storage.open import open_store

# Listing a folder costs a request a thousand objects, looking one up a request.
_MOST_LISTINGS = 32


class Sources:
    """Reads objects by keys below `root`, or by full URIs: an `ObjectStore`, but that listing is below `root`."""

    def __init__(self, root: str) -> None:
        self._own = open_store(root)

    @property
    def root(self) -> str:
        return self._own.root

    def _place(self, key: str) -> tuple[ObjectStore, str]:
        if "://" not in key:
            return self._own, key
        root, below = split_uri(key)
        return open_store(root), below

    def uri(self, key: str) -> str:
        store, below = self._place(key)
        return store.uri(below)

    def get(self, key: str) -> bytes:
        store, below = self._place(key)
        return store.get(below)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        store, below = self._place(key)
        return store.get_range(below, start, length)

    def copy_range(self, key: str, start: int, length: int, write: Write) -> None:
        store, below = self._place(key)
        store.copy_range(below, start, length, write)

    def head(self, key: str) -> ObjectInfo:
        store, below = self._place(key)
        return replace(store.head(below), key=key)

    def exists(self, key: str) -> bool:
        store, below = self._place(key)
        return store.exists(below)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._own.list(prefix)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        store, below = self._place(key)
        return store.put(below, data, if_absent=if_absent, if_version=if_version)

    def delete(self, key: str) -> None:
        store, below = self._place(key)
        store.delete(below)

    def find(self, keys: Iterable[str]) -> dict[str, ObjectInfo]:
        """What is known of each of these objects that is there, in few requests however many they are."""
        groups: dict[str, dict[str, str]] = defaultdict(dict)
        for key in keys:
            store, below = self._place(key)
            groups[store.root][below] = key
        found: dict[str, ObjectInfo] = {}
        for root, names in groups.items():
            for info in _known(open_store(root), names):
                found[names[info.key]] = replace(info, key=names[info.key])
        return found


def _known(store: ObjectStore, names: Iterable[str]) -> Iterator[ObjectInfo]:
    wanted = set(names)
    if len(wanted) <= _MOST_LISTINGS:
        for name in sorted(wanted):
            try:
                yield store.head(name)
            except ObjectNotFoundError:
                continue
        return
    for folder in _folders(wanted):
        yield from (info for info in store.list(folder) if info.key in wanted)


def _folders(names: set[str]) -> list[str]:
    """Prefixes, none within another, below which all of these lie: the deepest of one depth that are few."""
    folders = [name.split("/")[:-1] for name in names]
    depth = min(map(len, folders))
    while (
        len(found := {"".join(f"{part}/" for part in folder[:depth]) for folder in folders}) > _MOST_LISTINGS
    ):
        depth -= 1
    return sorted(found)

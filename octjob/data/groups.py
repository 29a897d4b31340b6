"""Groups of participants that no column of the predictions names: thirds by age, seen in pretraining or not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from octjob.data.participants import Participant
from octjob.errors import DataError
from octjob.storage.base import ObjectStore

SCHEMA = "octjob.groups/1"
SEEN, UNSEEN = "seen in pretraining", "unseen in pretraining"
_MAX_IDS = 1_000_000


def groups_facts(scored: Collection[Participant], pretrained_on: Collection[str] | None) -> dict[str, Any]:
    """For the run record: by kind, each scored participant's group; null where nothing says it.

    pretrained_on: the participants whose scans the checkpoint saw, None where neither it nor the sweep says.
    """
    ages = {person.id: person.age for person in scored if person.age is not None}
    seen = None
    if pretrained_on is not None:
        seen = {person.id: SEEN if person.id in pretrained_on else UNSEEN for person in scored}
    return {"schema": SCHEMA, "age": age_thirds(ages) if ages else None, "pretraining": seen}


def age_thirds(age_of: Mapping[str, float]) -> dict[str, str]:
    """Thirds of these participants, as even as ties allow, named by the ages that they hold: `age 40 to 53`.

    The bounds are ages that occur; participants of one age are in one group, so there may be fewer than three.
    """
    ages = np.array(sorted(age_of.values()))
    bounds = sorted({float(np.quantile(ages, share, method="inverted_cdf")) for share in (1 / 3, 2 / 3)})
    part_of = {identity: int(np.searchsorted(bounds, age)) for identity, age in age_of.items()}
    names = {}
    for part in set(part_of.values()):
        inside = [age for identity, age in age_of.items() if part_of[identity] == part]
        low, high = min(inside), max(inside)
        names[part] = f"age {low:g}" if low == high else f"age {low:g} to {high:g}"
    return {identity: names[part] for identity, part in sorted(part_of.items())}


def read_ids(store: ObjectStore, key: str) -> frozenset[str]:
    """The participants of a text file, an id a line; empty lines and those that begin with # are none.

    Raises `DataError` where it is not such a file.
    """
    uri = store.uri(key)
    try:
        lines = store.get(key).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{uri}: not UTF-8 text ({error.reason})", "Write one participant id a line."
        ) from error
    return ids_of(lines, uri)


def ids_of(values: Iterable[object], uri: str) -> frozenset[str]:
    """Participant ids as text. Raises `DataError` on what is none, or on too many."""
    ids: set[str] = set()
    for number, value in enumerate(values, start=1):
        text = str(value).strip() if isinstance(value, str | int) else ""
        if isinstance(value, str) and (not text or text.startswith("#")):
            continue
        if not text or len(text.split()) > 1 or len(text) > 64 or number > _MAX_IDS:
            raise DataError(
                f"{uri}: entry {number} of the participants seen in pretraining is no participant's id: "
                f"{str(value)[:60]!r}",
                "Write one id of participants.tsv each, nothing else.",
            )
        ids.add(text)
    return frozenset(ids)

"""How alike the encoders' cached features are to those of encoders that were never trained."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from octjob.doctor.cached import Held
from octjob.doctor.cka import MIN_VOLUMES, cka_interval
from octjob.doctor.gates.features import Alike
from octjob.doctor.tables import Tables

# More cost time, and tell no more.
_MAX_VOLUMES = 1000


@dataclass(frozen=True)
class Likeness:
    """of: each checkpoint and each untrained encoder. between: the untrained ones among themselves. note: why
    something is missing, empty where nothing is."""

    of: tuple[Alike, ...] = ()
    between: tuple[Alike, ...] = ()
    note: str = ""


def likeness(held: Sequence[Held], untrained: Collection[str], tables: Sequence[Tables]) -> Likeness:
    """untrained: names of checkpoints."""
    first: dict[str, Held] = {}
    for one in held:
        first.setdefault(one.place.checkpoint, one)
    references = [one for name, one in first.items() if name in untrained]
    others = [one for name, one in first.items() if name not in untrained]
    if not references:
        return Likeness(note="cached features: none of an untrained encoder")
    whose = _whose(tables)
    pairs = [(own, other) for own in others for other in references]
    of = [_compared(*pair, whose) for pair in pairs]
    between = [_compared(*pair, whose) for pair in combinations(references, 2)]
    missing = {own.place.checkpoint for (own, _), one in zip(pairs, of, strict=True) if one is None}
    note = f"cached features: none to compare of {', '.join(sorted(missing))}" if missing else ""
    known, among = (tuple(one for one in some if one is not None) for some in (of, between))
    return Likeness(known, among, note)


def _whose(tables: Sequence[Tables]) -> Mapping[str, str]:
    """The participant of each volume, as far as tables say it."""
    return {
        volume.record.sop_instance_uid: volume.participant.id
        for one in tables
        for volume in (one.cohort.volumes if one.cohort else ())
    }


def _compared(own: Held, other: Held, whose: Mapping[str, str]) -> Alike | None:
    shared = sorted(own.features.keys() & other.features.keys())[:_MAX_VOLUMES]
    if len(shared) < MIN_VOLUMES:
        return None
    x_NE, y_NF = (np.stack([one.features[uid] for uid in shared]).astype(np.float64) for one in (own, other))
    _, group_N = np.unique([whose.get(uid, uid) for uid in shared], return_inverse=True)
    found = cka_interval(x_NE, y_NF, np.asarray(group_N, np.int64))
    if math.isnan(found.value):
        return None
    return Alike(own.place.checkpoint, other.place.checkpoint, found)

"""What surely stands in the images, looked for in the cached features: device and region, then eye and class.

Suffixes: P points, E features.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from octjob.data.cohort import Volume
from octjob.doctor.cached import Held
from octjob.doctor.discriminants import auroc, standard_error
from octjob.doctor.gates.control import EYES, MIN_EACH, Reading
from octjob.doctor.tables import Tables
from octjob.evaluate.arrays import FloatArray, IntArray

_TEST = "test"
# More cost time, and tell no more.
_MAX_POINTS = 1000
_GROUPS: dict[str, Callable[[Volume], str]] = {
    "devices": lambda volume: volume.record.device,
    "regions": lambda volume: volume.record.region,
    EYES: lambda volume: volume.record.laterality,
    "classes": lambda volume: str(volume.participant.label),
}


def readings(held: Sequence[Held], tables: Sequence[Tables]) -> list[Reading]:
    """Of each checkpoint's first features; nothing of the test split is looked at. Groups are left out of which there
    are too few volumes, and nothing is said of what all volumes share."""
    volume_of = {
        volume.record.sop_instance_uid: volume
        for one in tables
        for volume in (one.cohort.volumes if one.cohort else ())
        if volume.participant.split != _TEST
    }
    first: dict[str, Held] = {}
    for one in held:
        first.setdefault(one.place.checkpoint, one)
    found = [
        _reading(one, what, group_of, volume_of)
        for one in first.values()
        for what, group_of in _GROUPS.items()
    ]
    return [one for one in found if one is not None]


def _reading(
    one: Held, what: str, group_of: Callable[[Volume], str], volume_of: dict[str, Volume]
) -> Reading | None:
    x_PE, group_P, person_P = _points(one, group_of, volume_of)
    names, count_G = np.unique(group_P, return_counts=True)
    kept_P = np.isin(group_P, names[count_G >= MIN_EACH])
    kept_P &= np.cumsum(kept_P) <= _MAX_POINTS
    _, index_P, left_G = np.unique(group_P[kept_P], return_inverse=True, return_counts=True)
    if len(left_G) < 2 or left_G.min() < MIN_EACH:
        return None
    value = auroc(x_PE[kept_P], np.asarray(index_P, np.int64), person_P[kept_P])
    error = standard_error(left_G.tolist())
    return Reading(one.place.checkpoint, what, value, error, len(left_G), int(kept_P.sum()))


def _points(
    one: Held, group_of: Callable[[Volume], str], volume_of: dict[str, Volume]
) -> tuple[FloatArray, np.ndarray[tuple[int, ...], np.dtype[np.str_]], IntArray]:
    """The mean features of each participant's volumes of one group: those of one eye, or device, are much alike, so
    that they count once. In an order that says nothing of groups."""
    members = defaultdict(list)
    for uid in sorted(one.features):
        if (volume := volume_of.get(uid)) is not None and (group := group_of(volume)):
            members[volume.participant.id, group].append(one.features[uid])
    places = sorted(members)
    order = [places[k] for k in np.random.default_rng(0).permutation(len(places))]
    x_PE = np.array([np.mean(members[place], axis=0, dtype=np.float64) for place in order])
    _, person_P = np.unique([person for person, _ in order], return_inverse=True)
    return x_PE, np.array([group for _, group in order], np.str_), np.asarray(person_P, np.int64)

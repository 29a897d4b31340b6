"""Participants by the features of their volumes: whose labels stand in another row, who brings another's volume.

Suffixes: P participants, E features.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np

from octjob.doctor.cached import Held
from octjob.doctor.gates.labels import MovedTable, Twins
from octjob.doctor.rows import Moved, against_own, knows
from octjob.doctor.tables import OWN_TABLE, Tables

# Encoders whose features are asked whose labels they know.
_MAX_ASKED = 3
_TEST = "test"


def moved_tables(tables: Sequence[Tables], held: Sequence[Held]) -> list[MovedTable]:
    """Tables whose labels differ from the data set's own, or stand in other rows than features tell."""
    found = []
    for one in tables:
        if one.own is not None:
            moved, differing = against_own(one.order, one.own)
            if differing.differing:
                found.append(MovedTable(one.labels_uri, moved, differing, OWN_TABLE))
        for encoder in held[:_MAX_ASKED]:
            known = _by_features(one, encoder)
            if isinstance(known, Moved):
                found.append(MovedTable(one.labels_uri, known, None, encoder.place.checkpoint))
            if known != "none":
                break
    return found


def _by_features(one: Tables, encoder: Held) -> Literal["own", "none"] | Moved:
    """By the mean feature of each participant; nothing of the test split is looked at."""
    by_person = defaultdict(list)
    for volume in one.cohort.volumes if one.cohort else ():
        feature_E = encoder.features.get(volume.record.sop_instance_uid)
        if feature_E is not None and volume.participant.split != _TEST:
            by_person[volume.participant.id].append(feature_E)
    place_of = {identity: place for place, (identity, _) in enumerate(one.order)}
    people = one.person_of
    label_of = {
        place: people[identity].label
        for identity, place in place_of.items()
        if identity in people and people[identity].split != _TEST
    }
    if not by_person:
        return "none"
    x_PE = np.stack([np.mean(features, axis=0, dtype=np.float64) for features in by_person.values()])
    place_P = np.array([place_of[identity] for identity in by_person], np.int64)
    return knows(x_PE, place_P, label_of)


def twins(tables: Sequence[Tables], held: Sequence[Held]) -> list[Twins]:
    """Pairs of participants one of whose volumes has the same features, to the bit, in every encoder that tells most
    volumes apart."""
    found: dict[tuple[str, str], Twins] = {}
    for one in tables:
        person = {
            v.record.sop_instance_uid: v.participant for v in (one.cohort.volumes if one.cohort else ())
        }
        common: set[tuple[str, str]] | None = None
        for encoder in held:
            uids = [uid for uid in encoder.features if uid in person]
            holders = defaultdict(set)
            for uid in uids:
                holders[encoder.features[uid].tobytes()].add(person[uid].id)
            if len(holders) <= len(uids) / 2:
                continue  # an encoder that ignores its input says nothing of volumes
            pairs = {(a, b) for its in holders.values() if len(its) > 1 for a in its for b in its if a < b}
            common = pairs if common is None else common & pairs
        split = {p.id: p.split for p in person.values()}
        for a, b in common or ():
            found[a, b] = Twins(a, b, split[a], split[b])
    return [found[pair] for pair in sorted(found)]

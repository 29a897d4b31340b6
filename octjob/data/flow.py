"""From what the data set lists to what a run uses: what is left out step by step, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from octjob.data.manifest import VolumeRecord
from octjob.data.participants import SPLITS

SCHEMA = "octjob.flow/1"
# Of participants whose split no table says.
NO_SPLIT = ""

NOT_LISTED = "no row in the participants table"
NO_CLASS = "study group outside classes.mapping"
OTHER_SITE = "site not selected"
NO_OCT = "no OCT, by the participants table"
UNREADABLE = "cannot be read (quarantined)"


@dataclass(frozen=True)
class Size:
    """How many participants, eyes of theirs and volumes of these. A participant may be listed without a volume."""

    participants: int = 0
    eyes: int = 0
    volumes: int = 0

    def __sub__(self, other: Size) -> Size:
        return Size(
            self.participants - other.participants, self.eyes - other.eyes, self.volumes - other.volumes
        )

    def to_list(self) -> list[int]:
        """Participants, eyes, volumes."""
        return [self.participants, self.eyes, self.volumes]


Sizes = Mapping[str, Size]


@dataclass(frozen=True)
class Step:
    """What one reason left out, by split: those who had nothing left after it, in participants, eyes and volumes."""

    reason: str
    lost: Sizes


@dataclass(frozen=True)
class Flow:
    """`listed`, by split, less every step in its order, is what is left. Steps that lost nothing are left out."""

    listed: Sizes = field(default_factory=dict)
    steps: tuple[Step, ...] = ()

    def less(self, reason: str, before: Sizes, after: Sizes) -> Flow:
        """The same with one more step."""
        lost = {
            split: gone
            for split, size in before.items()
            if (gone := size - after.get(split, Size())) != Size()
        }
        return replace(self, steps=(*self.steps, Step(reason, lost))) if lost else self

    def to_dict(self, used: Sizes) -> dict[str, Any]:
        """For the run record. used: of the splits that the run uses; of others nothing is said."""
        return {
            "schema": SCHEMA,
            "listed": _plain(self.listed),
            "steps": [{"reason": step.reason, "lost": _plain(step.lost)} for step in self.steps],
            "used": _plain(used),
        }


def _plain(sizes: Sizes) -> dict[str, list[int]]:
    order = (*SPLITS, NO_SPLIT)
    return {split: sizes[split].to_list() for split in order if split in sizes}


def sizes_of(split_of: Mapping[str, str], records: Iterable[VolumeRecord]) -> dict[str, Size]:
    """By split. split_of: every participant, with a volume or without; records: volumes of these."""
    records = tuple(records)
    eyes = {(record.participant, record.laterality) for record in records}
    parts = (
        [split_of[identity] for identity in split_of],
        [split_of[identity] for identity, _ in eyes],
        [split_of[record.participant] for record in records],
    )
    return {split: Size(*(part.count(split) for part in parts)) for split in sorted(set(parts[0]))}


def trace(
    split_of: Mapping[str, str],
    records: Sequence[VolumeRecord],
    without_people: Sequence[tuple[str, Collection[str]]],
    no_volume: str,
    excluded: Mapping[VolumeRecord, str],
    reasons: Sequence[str],
) -> Flow:
    """The flow up to what is eligible.

    split_of: every participant of the table, in or out. without_people: reasons that leave out participants, with
    their ids, in order. no_volume: the reason of who has none in `records`. excluded: volumes left out of what then
    remains, with their reasons, which are taken in the order of `reasons`.
    """
    people = {record.participant: NO_SPLIT for record in records} | dict(split_of)
    left = list(records)
    before = sizes_of(people, left)
    flow = Flow(before)
    have = {record.participant for record in records}
    no_row = [identity for identity in people if identity not in split_of]
    out_of = [(NOT_LISTED, no_row), *without_people, (no_volume, [i for i in people if i not in have])]
    for reason, ids in out_of:
        gone = frozenset(ids)
        people = {identity: split for identity, split in people.items() if identity not in gone}
        left = [record for record in left if record.participant in people]
        after = sizes_of(people, left)
        flow, before = flow.less(reason, before, after), after
    for reason in reasons:
        left = [record for record in left if excluded.get(record) != reason]
        have = {record.participant for record in left}
        people = {identity: split for identity, split in people.items() if identity in have}
        after = sizes_of(people, left)
        flow, before = flow.less(reason, before, after), after
    return flow

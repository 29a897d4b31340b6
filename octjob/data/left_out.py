"""Sites or devices left out one after the other: who is trained on and who is scored by it.

A participant belongs to one site, so leaving a site out parts participants. Most are scanned by several devices:
whoever is scored on the device left out would be known from the others. Participants are therefore dealt to folds
besides, and scored, on that device, by what was trained on other participants by other devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from octjob.data.cohort import Volume
from octjob.data.participants import Participant
from octjob.data.sampling import stratified_folds
from octjob.errors import DataError

By = Literal["site", "device"]


@dataclass(frozen=True)
class LeftOut:
    """name: of the site or device. fold: of the participants who are scored, 0 or more; a site is a fold of its own.

    train, scored: participants' ids. trains, scores: the devices whose volumes of theirs these are; empty for all.
    """

    name: str
    fold: int
    train: frozenset[str]
    scored: frozenset[str]
    trains: frozenset[str] = frozenset()
    scores: frozenset[str] = frozenset()


def left_out(
    volumes: Sequence[Volume], by: By, min_participants: int, num_classes: int, folds: int = 0, seed: int = 0
) -> list[LeftOut]:
    """Of the volumes' sites or devices, in the order of their names. folds, seed: by device, see `stratified_folds`.

    Raises `DataError` where there is one alone, where one has fewer participants than `min_participants`, and where a
    class is missing on either side.
    """
    found = _groups(volumes, by)
    people = {volume.participant.id: volume.participant for volume in volumes}
    if len(found) < 2:
        raise DataError(
            f"evaluate: leave_one_out by {by}: there is one {by} alone, {next(iter(found), 'none')}",
            f"Widen data.{by}s, or write another protocol.",
        )
    for name, members in found.items():
        _check(name, members, people, by, min_participants, num_classes, found)
    if by == "site":
        return [
            LeftOut(name, fold, frozenset(set(people) - members), frozenset(members))
            for fold, (name, members) in enumerate(found.items())
        ]
    fold_of = stratified_folds(list(people.values()), folds, seed)
    return [
        LeftOut(
            name,
            fold,
            frozenset(one for one, other in fold_of.items() if other != fold),
            frozenset(one for one in members if fold_of[one] == fold),
            frozenset(set(found) - {name}),
            frozenset({name}),
        )
        for name, members in found.items()
        for fold in range(folds)
    ]


def _groups(volumes: Sequence[Volume], by: By) -> dict[str, set[str]]:
    """Participants' ids by site or device."""
    found: dict[str, set[str]] = {}
    for volume in volumes:
        name = volume.participant.site if by == "site" else volume.record.device
        found.setdefault(name, set()).add(volume.participant.id)
    return dict(sorted(found.items()))


def _check(
    name: str,
    members: set[str],
    people: dict[str, Participant],
    by: By,
    min_participants: int,
    num_classes: int,
    found: dict[str, set[str]],
) -> None:
    kept = ", ".join(other for other in found if other != name)
    hint = f"Leave it out of the data: `data: {{{by}s: [{kept}]}}` in the sweep"
    if len(members) < min_participants:
        raise DataError(
            f"evaluate: leave_one_out by {by}: {name} has {len(members)} participants, fewer than"
            f" evaluate.min_participants ({min_participants})",
            f"{hint}; or lower evaluate.min_participants.",
        )
    outside = (
        set(people) - members
        if by == "site"
        else {one for other in found if other != name for one in found[other]}
    )
    for where, side in ((f"in {name}", members), (f"outside {name}", outside)):
        missing = set(range(num_classes)) - {people[one].label for one in side}
        if missing:
            raise DataError(
                f"evaluate: leave_one_out by {by}: no participant of class"
                f" {', '.join(map(str, sorted(missing)))} {where}",
                f"{hint}.",
            )

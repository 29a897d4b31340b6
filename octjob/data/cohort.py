"""The volumes of an experiment, joined to their participants, with a count of what should have been there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from octjob.catalog import SampleUnit
from octjob.data.coverage import ALL_QUARANTINED, NO_VOLUME, NONE_SELECTED, ONLY_RADIAL, Coverage, require
from octjob.data.flow import NO_CLASS, NO_OCT, OTHER_SITE, UNREADABLE, Flow, Size, sizes_of, trace
from octjob.data.manifest import VolumeRecord, read_manifest
from octjob.data.participants import Participant, list_participants
from octjob.data.selection import RADIAL, REASONS, Eligibility, require_known, select
from octjob.errors import DataError
from octjob.spec.experiment import Classes, Experiment
from octjob.storage.base import ObjectStore


@dataclass(frozen=True)
class Volume:
    """One volume and whose it is."""

    record: VolumeRecord
    participant: Participant


@dataclass(frozen=True)
class Cohort:
    """`volumes` by participant and UID; `participants` those with at least one of them, by id.

    flow: from what the data set lists to `volumes`, of all splits.
    """

    volumes: tuple[Volume, ...]
    participants: tuple[Participant, ...]
    coverage: Coverage
    flow: Flow

    def split(self, name: str) -> tuple[Volume, ...]:
        """The volumes of the participants of one recommended split."""
        return tuple(volume for volume in self.volumes if volume.participant.split == name)

    def only(self, *splits: str) -> Cohort:
        """The volumes and participants of some splits; coverage and flow stay those of all."""
        return Cohort(
            tuple(v for v in self.volumes if v.participant.split in splits),
            tuple(p for p in self.participants if p.split in splits),
            self.coverage,
            self.flow,
        )

    def sizes(self) -> dict[str, Size]:
        """Participants, eyes and volumes by split."""
        return sizes_of({p.id: p.split for p in self.participants}, (v.record for v in self.volumes))

    def class_counts(self, split: str, num_classes: int, unit: SampleUnit = "participant") -> tuple[int, ...]:
        """Participants or volumes per class really used in a split, index by class."""
        people = self.participants if unit == "participant" else [v.participant for v in self.volumes]
        labels = [person.label for person in people if person.split == split]
        return tuple(labels.count(index) for index in range(num_classes))

    def without(self, uids: Collection[str]) -> Cohort:
        """The cohort less quarantined volumes; who loses every volume is missing for that reason."""
        kept = tuple(v for v in self.volumes if v.record.sop_instance_uid not in uids)
        left = {v.participant.id for v in kept}
        lost = [p.id for p in self.participants if p.id not in left]
        readable = Cohort(
            kept,
            tuple(p for p in self.participants if p.id in left),
            self.coverage.with_missing(lost, ALL_QUARANTINED),
            self.flow,
        )
        return replace(readable, flow=self.flow.less(UNREADABLE, self.sizes(), readable.sizes()))


def find_cohort(
    store: ObjectStore, participants_key: str, manifest_key: str, experiment: Experiment
) -> Cohort:
    """What is there, however little: for looking. Participants of other sites than `data.sites` are not
    expected. Raises as `list_participants`, `read_manifest`, `select` do, and `SpecError` on an unknown site."""
    listed = list_participants(store, participants_key, experiment.classes)
    everyone = listed.participants
    sites = experiment.data.sites
    require_known("sites", sites, {p.site for p in everyone}, str)
    elsewhere = {p.id for p in everyone if sites is not None and p.site not in sites}
    expected = {p.id: p for p in everyone if p.has_oct and p.id not in elsewhere}
    records = read_manifest(store, manifest_key)
    selection = select(records, experiment.data)
    volumes = tuple(
        Volume(r, expected[r.participant]) for r in selection.eligible if r.participant in expected
    )
    found = {volume.participant.id for volume in volumes}
    coverage = Coverage(
        expected=tuple(expected.values()),
        missing=_missing_reasons([i for i in expected if i not in found], records, selection),
        not_expected=tuple(sorted({r.participant for r in records} - set(expected) - elsewhere)),
    )
    flow = trace(
        {p.id: p.split for p in everyone} | dict(listed.without_class),
        records,
        (
            (NO_CLASS, listed.without_class),
            (OTHER_SITE, elsewhere),
            (NO_OCT, {p.id for p in everyone if not p.has_oct}),
        ),
        NO_VOLUME,
        selection.excluded,
        REASONS,
    )
    return Cohort(volumes, tuple(p for p in expected.values() if p.id in found), coverage, flow)


def build_cohort(
    store: ObjectStore,
    participants_key: str,
    manifest_key: str,
    experiment: Experiment,
    folds: int | bool = 0,
) -> Cohort:
    """The cohort to train and evaluate on. Raises as `find_cohort` and `check_cohort` do."""
    cohort = find_cohort(store, participants_key, manifest_key, experiment)
    check_cohort(cohort, experiment, folds)
    return cohort


def check_cohort(cohort: Cohort, experiment: Experiment, folds: int | bool = 0) -> None:
    """Raise `DataError` if fewer participants than `data.min_coverage` have a volume, or a class is empty.

    A class must occur in the training and in the evaluated split; with folds, which deal train and val out anew,
    in the two together.
    """
    require(cohort.coverage, experiment.data.min_coverage)
    if folds:
        require_classes(cohort, ("train", "val"), experiment.classes)
        return
    for split in ("train", experiment.data.eval_split):
        require_classes(cohort, (split,), experiment.classes)


def require_classes(cohort: Cohort, splits: Sequence[str], classes: Classes) -> None:
    """Raise `DataError` if a class has no participant left in the splits together."""
    by_split = [cohort.class_counts(split, classes.num_classes) for split in splits]
    counts = [sum(column) for column in zip(*by_split, strict=True)]
    empty = [name for name, count in zip(classes.names, counts, strict=True) if count == 0]
    if empty:
        raise DataError(
            f"split {' + '.join(splits)}: no participant of class {', '.join(empty)} "
            f"(participants per class: {', '.join(map(str, counts))})",
            "Widen the selection, or map classes together in `classes.mapping`.",
        )


def _missing_reasons(
    missing: list[str], records: tuple[VolumeRecord, ...], selection: Eligibility
) -> dict[str, str]:
    reasons: dict[str, set[str]] = {}
    for record in records:
        if record in selection.excluded:
            reasons.setdefault(record.participant, set()).add(selection.excluded[record])
    # Radial is the last test of `select`: whoever has it had volumes of the selected device, region and eye.
    return {
        identity: NO_VOLUME
        if identity not in reasons
        else (ONLY_RADIAL if RADIAL in reasons[identity] else NONE_SELECTED)
        for identity in missing
    }


__all__ = [
    "Cohort",
    "Coverage",
    "Volume",
    "build_cohort",
    "check_cohort",
    "find_cohort",
    "require",
    "require_classes",
]

"""Which of the volumes an experiment uses, and why it leaves out the others."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from octjob.data.manifest import VolumeRecord
from octjob.data.protocols import is_radial, region_key
from octjob.errors import SpecError
from octjob.spec.experiment import Data

NOT_STRUCTURAL = "not a structural OCT volume"
OTHER_DEVICE = "device not selected"
OTHER_REGION = "region not selected"
OTHER_EYE = "laterality not selected"
RADIAL = "radial scan, not a raster volume"
NOT_THE_ONE = "another volume of the participant is used (data.volumes: one)"
# In the order of `select`'s tests: a volume has the first that it fails.
REASONS = (NOT_STRUCTURAL, OTHER_DEVICE, OTHER_REGION, OTHER_EYE, RADIAL, NOT_THE_ONE)


@dataclass(frozen=True)
class Eligibility:
    """`eligible` in the order of the records given; every other record is in `excluded`, with its reason."""

    eligible: tuple[VolumeRecord, ...]
    excluded: Mapping[VolumeRecord, str]


def select(records: Iterable[VolumeRecord], data: Data) -> Eligibility:
    """Apply `data.devices`, `regions`, `laterality`, `include_radial` and `volumes`, in this order.

    Device names are matched exactly, regions up to the published spellings (`Macula, 6 x 6`, `Macula_6x6`).
    `volumes: one` takes each participant's first volume by (device, region, laterality, UID).
    Raises `SpecError` if a device or region named is not in the data at all.
    """
    records = tuple(records)
    structural = [record for record in records if is_structural(record)]
    require_known("devices", data.devices, {record.device for record in structural}, str)
    require_known("regions", data.regions, {record.region for record in structural}, region_key)
    excluded: dict[VolumeRecord, str] = {}
    eligible: list[VolumeRecord] = []
    for record in records:
        reason = _reason(record, data)
        if reason:
            excluded[record] = reason
        else:
            eligible.append(record)
    if data.volumes == "one":
        chosen = _one_each(eligible)
        excluded.update((record, NOT_THE_ONE) for record in eligible if record not in chosen)
        eligible = [record for record in eligible if record in chosen]
    return Eligibility(tuple(eligible), MappingProxyType(excluded))


def is_structural(record: VolumeRecord) -> bool:
    """Structural OCT by its place in the layout, else by the manifest's `imaging`. (The SOP class is checked
    when the file is read.)"""
    if "structural_oct/" in record.key:
        return True
    return "retinal_octa/" not in record.key and record.imaging.casefold() == "oct"


def _reason(record: VolumeRecord, data: Data) -> str:
    if not is_structural(record):
        return NOT_STRUCTURAL
    if data.devices is not None and record.device not in data.devices:
        return OTHER_DEVICE
    if data.regions is not None and region_key(record.region) not in {region_key(r) for r in data.regions}:
        return OTHER_REGION
    if data.laterality != "both" and record.laterality != data.laterality[0].upper():
        return OTHER_EYE
    if not data.include_radial and is_radial(record.protocol, record.device, record.region):
        return RADIAL
    return ""


def _one_each(records: Iterable[VolumeRecord]) -> Collection[VolumeRecord]:
    def rank(record: VolumeRecord) -> tuple[str, str, str, str]:
        return record.device, record.region, record.laterality, record.sop_instance_uid

    first: dict[str, VolumeRecord] = {}
    for record in records:
        best = first.get(record.participant)
        if best is None or rank(record) < rank(best):
            first[record.participant] = record
    return frozenset(first.values())


def require_known(
    key: str, names: tuple[str, ...] | None, present: set[str], normalise: Callable[[str], str]
) -> None:
    """Raise `SpecError` if `data.<key>` names something that is not `present`, with the nearest that is."""
    known = {normalise(name) for name in present}
    for name in names or ():
        if normalise(name) in known:
            continue
        near = difflib.get_close_matches(normalise(name), sorted(known), n=1, cutoff=0.5)
        nearest = next((p for p in sorted(present) if near and normalise(p) == near[0]), None)
        raise SpecError(
            f"data.{key}: the data set has no {name!r}; present: {', '.join(sorted(present)) or 'none'}",
            f"Did you mean {nearest!r}?" if nearest else f"Name {key} that the data set has.",
        )

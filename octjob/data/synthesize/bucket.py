"""Writing a whole synthetic bucket: tables first, volumes in parallel, the manifest last."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from octjob.data.manifest import MANIFEST_KEY
from octjob.data.synthesize.anatomy import draw_retina
from octjob.data.synthesize.cohort import CORRUPTION_STREAM, Participant, draw_cohort, stream
from octjob.data.synthesize.dicom import EN_FACE_SOP_CLASS, VolumeIdentity, derived_uid, encode_volume
from octjob.data.synthesize.protocols import PROTOCOLS, scaled_shape
from octjob.data.synthesize.recipe import SynthesisRecipe
from octjob.data.synthesize.scan import Volume, scan_retina
from octjob.data.synthesize.tables import manifest_tsv, other_tables, participants_tsv
from octjob.errors import DataError, SpecError
from octjob.storage.base import ObjectStore
from octjob.tick import Tick

PARTICIPANTS_KEY = "participants.tsv"
_SCAN_STREAM = 3
_OPT_CLASS = b"1.2.840.10008.5.1.4.1.1.77.1.5.4"


@dataclass(frozen=True)
class SynthesisReport:
    """What was written. `corrupted` names, by kind, the keys of the volumes spoilt on purpose; the bucket
    itself does not say which they are."""

    digest: str
    participants: tuple[Participant, ...]
    volumes: tuple[VolumeIdentity, ...]
    corrupted: Mapping[str, tuple[str, ...]]


def synthesize(
    store: ObjectStore, recipe: SynthesisRecipe, progress: Tick | None = None, workers: int | None = None
) -> SynthesisReport:
    """Write the bucket `recipe` describes below the root of `store`; `progress(done, total)` counts volumes.

    The bytes depend on the recipe alone, not on `workers` (threads; every core by default). Writing the same
    recipe again is harmless and does nothing once its manifest is there.
    Raises `DataError` if another data set is there already, `SpecError` for a recipe that cannot be met.
    """
    people = draw_cohort(recipe)
    volumes = [volume for person in people for volume in _volumes_of(recipe, person)]
    report = SynthesisReport(recipe.digest, tuple(people), tuple(volumes), _choose_corrupted(recipe, volumes))
    manifest = manifest_tsv(recipe, volumes)
    tables = {PARTICIPANTS_KEY: participants_tsv(recipe, people), **other_tables(recipe, people)}
    if _is_written(store, {**tables, MANIFEST_KEY: manifest}):
        return report
    for key, content in tables.items():
        store.put(key, content)
    fate = {key: kind for kind, keys in report.corrupted.items() for key in keys}

    def write(volume: VolumeIdentity) -> None:
        content = _file_of(recipe, volume, fate.get(volume.key))
        if content is not None:
            store.put(volume.key, content)

    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        for done, _ in enumerate(pool.map(write, volumes), start=1):
            if progress is not None:
                progress(done, len(volumes))
    store.put(MANIFEST_KEY, manifest)
    return report


def render_volume(recipe: SynthesisRecipe, volume: VolumeIdentity) -> Volume:
    """The uint8 voxels (D, H, W) of one volume of the bucket, as stored."""
    person, protocol, eye = volume.participant, volume.protocol, volume.laterality
    place = (person.index, sorted(PROTOCOLS).index(protocol.name), "LR".index(eye))
    rng = stream(recipe, _SCAN_STREAM, *place)
    shape = scaled_shape(protocol, recipe.geometry_scale)
    return scan_retina(draw_retina(recipe, person, eye), protocol, eye, shape, recipe, rng)


def _volumes_of(recipe: SynthesisRecipe, person: Participant) -> list[VolumeIdentity]:
    return [
        VolumeIdentity(person, PROTOCOLS[name], eye, derived_uid(recipe.digest, person.index, name, eye))
        for name in recipe.protocols
        if PROTOCOLS[name].device in person.devices
        for eye in person.eyes
    ]


def _choose_corrupted(recipe: SynthesisRecipe, volumes: list[VolumeIdentity]) -> dict[str, tuple[str, ...]]:
    wanted = recipe.corruptions
    if wanted.total > len(volumes):
        raise SpecError(
            f"corruptions: {wanted.total} volumes to spoil, but the recipe has only {len(volumes)}",
            "Ask for fewer corruptions or more participants.",
        )
    order = iter(stream(recipe, CORRUPTION_STREAM).permutation(len(volumes)).tolist())
    return {
        kind: tuple(sorted(volumes[next(order)].key for _ in range(count)))
        for kind, count in wanted.model_dump().items()
    }


def _file_of(recipe: SynthesisRecipe, volume: VolumeIdentity, fate: str | None) -> bytes | None:
    if fate == "missing":
        return None
    if fate == "not_dicom":
        return b"<html><body><h1>503 Service Unavailable</h1></body></html>\n"
    syntax = recipe.transfer_syntax.get(volume.protocol.device, "explicit_le")
    content = encode_volume(volume, render_volume(recipe, volume), syntax)
    if fate == "truncated":
        return content[: len(content) // 2]
    if fate == "wrong_sop_class":
        # The two class UIDs are equally long, in the file meta as in the data set.
        return content.replace(_OPT_CLASS, EN_FACE_SOP_CLASS.encode())
    return content


def _is_written(store: ObjectStore, expected: Mapping[str, bytes]) -> bool:
    """Whether this very data set is there and complete; raises if another one is, in whole or in part."""
    for key in (PARTICIPANTS_KEY, MANIFEST_KEY):
        if store.exists(key) and store.get(key) != expected[key]:
            raise DataError(
                f"{store.uri(key)} belongs to another data set",
                "Write to an empty prefix: two data sets in one place cannot be told apart.",
            )
    return store.exists(MANIFEST_KEY)

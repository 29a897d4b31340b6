"""The synthetic bucket: repeatable, true to the published tables, class-free where no effect is asked for."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydicom.errors import InvalidDicomError

from octjob.data.synthesize import Corruptions, SynthesisRecipe, SynthesisReport, render_volume, synthesize
from octjob.data.synthesize.anatomy import draw_retina
from octjob.data.synthesize.cohort import class_counts, draw_cohort
from octjob.data.synthesize.protocols import PROTOCOLS, scaled_shape
from octjob.data.synthesize.recipe import ClassCounts
from octjob.errors import DataError, SpecError
from octjob.storage.file import FileStore

RADIAL = "spectralis_onh_rc_hr_oct"
SMALL = SynthesisRecipe(seed=3, participants=6, geometry_scale=(0.03, 0.03, 0.03))


def write(folder: Path, recipe: SynthesisRecipe, workers: int = 2) -> SynthesisReport:
    return synthesize(FileStore(folder.as_uri()), recipe, workers=workers)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text()), delimiter="\t"))


def test_bytes_depend_on_the_recipe_and_not_on_the_workers(tmp_path: Path) -> None:
    write(tmp_path / "a", SMALL, workers=1)
    write(tmp_path / "b", SMALL, workers=4)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"class_effect": 0.5}, {"transfer_syntax": {"zeiss_cirrus": "rle"}}]
)
def test_another_recipe_never_reuses_a_uid(change: dict[str, object]) -> None:
    from octjob.data.synthesize.bucket import _volumes_of

    def uids(recipe: SynthesisRecipe) -> set[str]:
        return {v.sop_instance_uid for person in draw_cohort(recipe) for v in _volumes_of(recipe, person)}

    other = SynthesisRecipe(**{**SMALL.model_dump(), **change})
    assert len(uids(SMALL)) == 6 * 4 * 2
    assert not uids(SMALL) & uids(other)
    assert all(len(uid) <= 64 and uid.startswith("2.25.") for uid in uids(SMALL))


def test_writing_again_is_harmless_and_another_data_set_is_refused(tmp_path: Path) -> None:
    first = write(tmp_path, SMALL)
    before = contents(tmp_path)
    assert write(tmp_path, SMALL) == first
    assert contents(tmp_path) == before
    with pytest.raises(DataError, match="belongs to another data set"):
        write(tmp_path, SMALL.model_copy(update={"seed": 4}))


def test_the_whole_cohort_has_the_published_proportions() -> None:
    people = draw_cohort(SynthesisRecipe(participants=1061, without_oct=6))
    with_oct = [p for p in people if p.devices]
    assert len(people) == 1067
    cells = Counter((p.split, p.label) for p in with_oct)
    assert [cells["train", c] for c in range(4)] == [290, 162, 233, 58]
    assert [cells["val", c] for c in range(4)] == [39, 40, 47, 33]
    assert [cells["test", c] for c in range(4)] == [40, 40, 41, 38]
    sites = Counter((p.site, p.label) for p in with_oct)
    for site, counts in {
        "UW": (160, 97, 92, 34),
        "UCSD": (83, 74, 99, 33),
        "UAB": (126, 71, 130, 62),
    }.items():
        assert [sites[site, c] for c in range(4)] == pytest.approx(counts, abs=4)
    assert {p.site: p.participant_id // 1000 for p in people} == {"UW": 1, "UCSD": 4, "UAB": 7}
    assert len({p.participant_id for p in people}) == 1067


def test_counts_per_split_are_kept_exactly() -> None:
    counts = class_counts(SynthesisRecipe(participants={"train": 40, "val": 401}))
    assert [sum(counts[s]) for s in ("train", "val", "test")] == [40, 401, 0]
    assert counts["train"] == [16, 9, 12, 3]


@given(
    train=st.tuples(*[st.integers(0, 30)] * 4),
    val=st.tuples(*[st.integers(0, 30)] * 4),
    seed=st.integers(0, 9),
)
def test_counts_per_class_are_kept_exactly(train: ClassCounts, val: ClassCounts, seed: int) -> None:
    recipe = SynthesisRecipe(participants={"train": train, "val": val, "test": 7}, seed=seed)
    cells = Counter((p.split, p.label) for p in draw_cohort(recipe))
    assert tuple(cells["train", label] for label in range(4)) == train
    assert tuple(cells["val", label] for label in range(4)) == val
    assert sum(cells["test", label] for label in range(4)) == 7


@pytest.mark.parametrize("counts", [(1, 2, 3), (1, 2, 3, 4, 5), (1, 2, 3, -1)])
def test_counts_of_other_than_four_classes_are_refused(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="participants"):
        SynthesisRecipe.model_validate({"participants": {"train": counts}})


def test_too_many_participants_for_the_ids_is_a_users_error() -> None:
    with pytest.raises(SpecError, match="more than 999 ids"):
        draw_cohort(SynthesisRecipe(participants=4000))


def test_one_device_each_is_spread_evenly_over_devices() -> None:
    people = draw_cohort(SynthesisRecipe(participants=100, devices_per_participant=1, eyes="one"))
    assert set(Counter(p.devices for p in people).values()) == {25}
    assert Counter(len(p.eyes) for p in people) == {1: 100}
    assert 25 < Counter(p.eyes for p in people)["L",] < 75


def test_files_are_valid_volumes_at_the_devices_geometry(tmp_path: Path) -> None:
    recipe = SMALL.model_copy(update={"participants": 1, "protocols": (*SMALL.protocols, RADIAL)})
    report = write(tmp_path, recipe)
    rows = {row["sop_instance_uid"]: row for row in table(tmp_path / "retinal_oct/manifest.tsv")}
    assert len(rows) == len(report.volumes) == 10
    assert all(len(row) == 15 for row in rows.values())
    for volume in report.volumes:
        ds = pydicom.dcmread(tmp_path / volume.key)
        row = rows[volume.sop_instance_uid]
        assert row["filepath"] == "/" + volume.key
        assert ds.SOPClassUID == ds.file_meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.77.1.5.4"
        assert (ds.Modality, ds.ProtocolName, ds.ImageLaterality) == (
            "OPT",
            volume.protocol.name,
            row["laterality"],
        )
        assert (ds.Manufacturer, ds.ManufacturerModelName) == (
            row["manufacturer"],
            row["manufacturers_model_name"],
        )
        shape = scaled_shape(volume.protocol, recipe.geometry_scale)
        assert (int(row["number_of_frames"]), int(row["height"]), int(row["width"])) == shape
        np.testing.assert_array_equal(ds.pixel_array, render_volume(recipe, volume))
        shared = ds.SharedFunctionalGroupsSequence[0]
        if volume.protocol.radial:
            assert row["slice_thickness"] == "Not reported"
            assert len(ds.PerFrameFunctionalGroupsSequence) == shape[0] == 27
        else:
            axial, lateral = shared.PixelMeasuresSequence[0].PixelSpacing
            assert float(axial) * shape[1] == pytest.approx(volume.protocol.depth_mm, rel=1e-4)
            assert float(lateral) * shape[2] == pytest.approx(volume.protocol.width_mm, rel=1e-4)


def test_scale_one_is_the_published_geometry() -> None:
    shapes = {name: scaled_shape(PROTOCOLS[name], (1, 1, 1)) for name in SMALL.protocols}
    assert list(shapes.values()) == [(61, 496, 768), (128, 885, 512), (320, 992, 320), (128, 1024, 512)]


@pytest.mark.parametrize("syntax", ["rle", "jpeg_ls", "jpeg2000"])
def test_compressed_volumes_decode_to_the_same_voxels(tmp_path: Path, syntax: str) -> None:
    recipe = SMALL.model_copy(update={"participants": 1, "transfer_syntax": {"topcon_maestro2": syntax}})
    report = write(tmp_path, recipe)
    for volume in report.volumes:
        ds = pydicom.dcmread(tmp_path / volume.key)
        assert ds.file_meta.TransferSyntaxUID.is_compressed == (volume.protocol.device == "topcon_maestro2")
        assert ds.SOPInstanceUID == volume.sop_instance_uid
        np.testing.assert_array_equal(ds.pixel_array, render_volume(recipe, volume))


def test_without_class_effect_a_volume_does_not_depend_on_the_class() -> None:
    from dataclasses import replace

    from octjob.data.synthesize.bucket import _volumes_of

    for effect, same in ((0.0, True), (1.0, False)):
        recipe = SMALL.model_copy(update={"class_effect": effect})
        for person in draw_cohort(recipe):
            volume = _volumes_of(recipe, person)[0]
            versions = [
                render_volume(recipe, replace(volume, participant=replace(person, label=label)))
                for label in range(4)
            ]
            assert all(np.array_equal(versions[0], other) for other in versions[1:]) == same


def test_the_class_moves_thickness_and_cysts_in_both_eyes() -> None:
    recipe = SynthesisRecipe(participants=400)
    people = draw_cohort(recipe)
    for eye in ("L", "R"):
        retinas = {c: [draw_retina(recipe, p, eye) for p in people if p.label == c] for c in range(4)}
        inner = [np.mean([r.thickness_mm[1] for r in retinas[c]]) for c in range(4)]
        cysts = [np.mean([len(r.cysts) for r in retinas[c]]) for c in range(4)]
        assert inner == sorted(inner, reverse=True)
        assert cysts == sorted(cysts)


def test_the_nose_is_on_the_right_of_a_right_eye() -> None:
    # Nerve fibres thicken towards the disc: the surface is higher on that side.
    recipe = SynthesisRecipe(participants=12, nuisance=0, protocols=("maestro2_3d_macula_oct",))
    from octjob.data.synthesize.bucket import _volumes_of

    for person in draw_cohort(recipe):
        for volume in _volumes_of(recipe, person):
            mean_HW = render_volume(recipe, volume)[6:10].mean(axis=0)
            surface_W = (mean_HW > mean_HW[:5].mean() + 30).argmax(axis=0)
            left, right = surface_W[2:8].mean(), surface_W[-8:-2].mean()
            assert (right < left) == (volume.laterality == "R")


def test_corruptions_are_what_they_say_and_no_volume_is_spoilt_twice(tmp_path: Path) -> None:
    wrong = Corruptions(truncated=2, not_dicom=1, wrong_sop_class=2, missing=3)
    report = write(tmp_path, SMALL.model_copy(update={"corruptions": wrong}))
    spoilt = [key for keys in report.corrupted.values() for key in keys]
    assert {kind: len(keys) for kind, keys in report.corrupted.items()} == wrong.model_dump()
    assert len(set(spoilt)) == wrong.total
    listed = {row["filepath"].lstrip("/") for row in table(tmp_path / "retinal_oct/manifest.tsv")}
    assert set(spoilt) < listed
    for key in report.corrupted["missing"]:
        assert not (tmp_path / key).exists()
    for key in report.corrupted["not_dicom"]:
        with pytest.raises(InvalidDicomError):
            pydicom.dcmread(tmp_path / key)
    for key in report.corrupted["truncated"]:
        with pytest.raises((ValueError, EOFError, AttributeError)):
            _ = pydicom.dcmread(tmp_path / key).pixel_array
    for key in report.corrupted["wrong_sop_class"]:
        ds = pydicom.dcmread(tmp_path / key)
        assert ds.SOPClassUID == ds.file_meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.77.1.5.7"
    for key in listed - set(spoilt):
        assert pydicom.dcmread(tmp_path / key).pixel_array.dtype == np.uint8


def test_more_corruptions_than_volumes_is_a_users_error(tmp_path: Path) -> None:
    recipe = SMALL.model_copy(update={"corruptions": Corruptions(missing=1000)})
    with pytest.raises(SpecError, match="has only 48"):
        write(tmp_path, recipe)


@pytest.mark.parametrize("column", ["participant_id", "person_id"])
def test_tables_have_the_published_columns(tmp_path: Path, column: str) -> None:
    write(tmp_path, SMALL.model_copy(update={"id_column": column, "without_oct": 1}))
    people = table(tmp_path / "participants.tsv")
    assert list(people[0]) == [
        column, "clinical_site", "study_group", "age", "study_visit_date", "recommended_split", "cardiac_ecg",
        "clinical_data", "environment", "retinal_flio", "retinal_oct", "retinal_octa", "retinal_photography",
        "wearable_activity_monitor", "wearable_blood_glucose",
    ]  # fmt: skip
    assert Counter(row["retinal_oct"] for row in people) == {"TRUE": 6, "FALSE": 1}
    manifest = table(tmp_path / "retinal_oct/manifest.tsv")
    assert next(iter(manifest[0])) == column
    assert {row[column] for row in manifest} == {
        row[column] for row in people if row["retinal_oct"] == "TRUE"
    }


def test_progress_counts_every_volume(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    synthesize(FileStore(tmp_path.as_uri()), SMALL, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 48) for n in range(1, 49)]


def test_an_unknown_protocol_is_named() -> None:
    with pytest.raises(ValidationError, match="spectralis_mac"):
        SynthesisRecipe(protocols=("spectralis_mac",))

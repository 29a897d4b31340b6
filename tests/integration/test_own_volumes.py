"""A table's volumes on the way to the encoder: streamed, decoded in processes, kept, quarantined as any others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles.aireadi_bucket import make_dicom
from doubles.own_volumes import CLASSES, ENCODERS, own_data, rows_of, volume, write_table, write_volumes
from doubles.tiny_sweep import save_checkpoint, submitted, sweep_file, uri_of

import octjob
from octjob.cli import run as octjob_command
from octjob.data.cohort import Cohort
from octjob.data.layouts import cohort_of, open_source
from octjob.data.preprocess import preprocess
from octjob.data.quarantine import Quarantine
from octjob.data.stream import Breadth, load_volumes
from octjob.data.volumes import VolumeReader
from octjob.errors import DataError, SpecError
from octjob.records.layout import read_result
from octjob.run.job import run_job
from octjob.spec.experiment import Classes, Data, Experiment
from octjob.storage.base import ObjectStore

SIZE = (4, 6, 5)
MAPPING = {name: index for index, name in enumerate(CLASSES)}


def config(table: Path, **keys: Any) -> Experiment:
    data = Data(layout="table", table=str(table), source=str(table.parent), **keys)
    return Experiment(data=data, classes=Classes(mapping=MAPPING))


def loaded(
    table: Path, num_workers: int = 2, profile: Any = "pretraining", **keys: Any
) -> tuple[Cohort, dict[str, np.ndarray], Quarantine]:
    """By path, what a run would see."""
    experiment = config(table, **keys)
    cohort, quarantine = cohort_of(experiment), Quarantine()
    reader = VolumeReader(open_source(experiment.data), profile, SIZE)
    found = load_volumes(reader, cohort.volumes, Breadth(2, num_workers), quarantine)
    return cohort, {v.record.key: x_DHW for v, x_DHW in found}, quarantine


@pytest.mark.parametrize("num_workers", [0, 2])
def test_all_formats_in_one_table_are_streamed_as_their_voxels_say(tmp_path: Path, num_workers: int) -> None:
    suffixes = list(ENCODERS)
    rows = [
        row | {"path": f"scans/{i}{suffixes[i % len(suffixes)]}"}
        for i, row in enumerate(rows_of(train=2, val=1))
    ]
    write_volumes(tmp_path, rows)
    _, found, quarantine = loaded(write_table(tmp_path / "volumes.csv", rows), num_workers)
    assert len(found) == len(rows)
    assert quarantine.entries == ()
    for number, row in enumerate(rows):
        expected = preprocess(volume(number, CLASSES.index(row["label"])), "pretraining", SIZE)
        np.testing.assert_array_equal(found[row["path"]], expected)


@pytest.mark.parametrize("profile", ["pretraining", "seed_finetune"])
def test_what_cannot_be_used_is_quarantined_with_its_reason(tmp_path: Path, profile: str) -> None:
    rows = rows_of(".npy", train=3, val=1)
    write_volumes(tmp_path, rows)
    nan, cut, flat, _, wrong = (row["path"] for row in rows[:5])
    x_DHW = volume(0, 0).astype("f4")
    x_DHW[7, 11, 9] = np.nan
    (tmp_path / nan).write_bytes(ENCODERS[".npy"](x_DHW))
    (tmp_path / cut).write_bytes((tmp_path / cut).read_bytes()[:-5])
    (tmp_path / flat).write_bytes(ENCODERS[".npy"](np.full((8, 12, 10), 7, "u2")))
    rows[3]["path"], rows[3]["eye"] = "scans/d.dcm", "R"
    (tmp_path / rows[3]["path"]).write_bytes(make_dicom(volume(3, 0), laterality="L"))
    (tmp_path / wrong).write_bytes(b"no volume at all")
    table = write_table(tmp_path / "volumes.csv", rows)
    cohort, found, quarantine = loaded(table, profile=profile)
    reasons = {entry.uri.rpartition("/")[2]: entry.reason for entry in quarantine.entries}
    assert set(reasons) == {Path(path).name for path in (nan, cut, flat, "d.dcm", wrong)}
    assert "holds 1 voxels that are no finite number" in reasons[Path(nan).name]
    assert "is cut off: 955 of the 960 bytes" in reasons[Path(cut).name]
    assert "all voxels have the same value" in reasons[Path(flat).name]
    assert reasons["d.dcm"] == "is of eye L, the table says R"
    assert "is no whole NPY file" in reasons[Path(wrong).name]
    assert len(found) == len(rows) - 5
    with pytest.raises(DataError, match=r"5 of 24 volumes cannot be read, more than data.max_corrupt"):
        quarantine.check(len(cohort.volumes), 0.01)


def test_a_reader_that_is_not_there_ends_the_reading_and_quarantines_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the decoding process, which starts as any Python does."""
    experiment = config(own_data(tmp_path, ".nii", train=1, val=1))
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text("import sys\nsys.modules['nibabel'] = None\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    quarantine = Quarantine()
    reader = VolumeReader(open_source(experiment.data), "pretraining", SIZE)
    with pytest.raises(DataError, match="NIfTI volumes need nibabel, which is not installed") as caught:
        list(load_volumes(reader, cohort_of(experiment).volumes, Breadth(1, 1), quarantine))
    assert caught.value.hint == "Run: pip install 'octjob[formats]'"
    assert quarantine.entries == ()


def test_volumes_in_two_clouds_by_full_uris_and_the_same_bytes_twice(
    tmp_path: Path, gcs_store: ObjectStore, b2_store: ObjectStore
) -> None:
    """Enough of them to be listed, not looked up. The checksums are the stores' own."""
    rows = rows_of(".npy", train=9, val=3)
    write_volumes(tmp_path, rows)
    stores = (gcs_store, b2_store)
    for number, row in enumerate(rows):
        store, below = stores[number % 2], row["path"]
        store.put(f"data/{below}", (tmp_path / below).read_bytes())
        row["path"] = store.uri(f"data/{below}") if store is b2_store else below
    uri = gcs_store.uri("data/volumes.csv")

    def loaded_from_clouds() -> dict[str, np.ndarray]:
        gcs_store.put("data/volumes.csv", write_table(tmp_path / "volumes.csv", rows).read_bytes())
        data = Data(layout="table", table=uri, source=gcs_store.uri("data"))
        experiment, quarantine = Experiment(data=data, classes=Classes(mapping=MAPPING)), Quarantine()
        cohort = cohort_of(experiment)
        reader = VolumeReader(open_source(data), "pretraining", SIZE)
        return {
            v.record.key: x_DHW
            for v, x_DHW in load_volumes(reader, cohort.volumes, Breadth(2, 2), quarantine)
        }

    found = loaded_from_clouds()
    for number, row in enumerate(rows):
        expected = preprocess(volume(number, CLASSES.index(row["label"])), "pretraining", SIZE)
        np.testing.assert_array_equal(found[row["path"]], expected)
    for store, first, second in ((gcs_store, 0, 4), (b2_store, 1, 5)):
        before = store.get(key_of(second))
        store.put(key_of(second), store.get(key_of(first)))
        people = f"{rows[first]['participant']} and {rows[second]['participant']}"
        with pytest.raises(
            DataError, match=f"{uri}:{second + 2}: .* of participants {people} holds the same bytes as"
        ):
            loaded_from_clouds()
        store.put(key_of(second), before)


def key_of(number: int) -> str:
    return f"data/{rows_of('.npy', train=9, val=3)[number]['path']}"


def test_permuted_axes_are_put_right(tmp_path: Path) -> None:
    rows = rows_of(".npy", train=1, val=1)
    for number, row in enumerate(rows):
        (tmp_path / row["path"]).parent.mkdir(exist_ok=True)
        x_DHW = volume(number, CLASSES.index(row["label"]))
        (tmp_path / row["path"]).write_bytes(ENCODERS[".npy"](np.ascontiguousarray(x_DHW.transpose(1, 2, 0))))
    table = write_table(tmp_path / "volumes.csv", rows)
    _, found, _ = loaded(table, axes="HWD")
    expected = preprocess(volume(0, 0), "pretraining", SIZE)
    np.testing.assert_array_equal(found[rows[0]["path"]], expected)


def test_read_volume_of_any_format(tmp_path: Path) -> None:
    x_DHW = volume(0, 1)
    for suffix, encode in ENCODERS.items():
        (tmp_path / f"scan{suffix}").write_bytes(encode(x_DHW))
        np.testing.assert_array_equal(octjob.read_volume(tmp_path / f"scan{suffix}").x_DHW, x_DHW)
    turned = octjob.read_volume(tmp_path / "scan.npy", axes="WHD")
    np.testing.assert_array_equal(turned.x_DHW, x_DHW.transpose(2, 1, 0))
    with pytest.raises(SpecError, match="axes 'XYZ'"):
        octjob.read_volume(tmp_path / "scan.npy", axes="XYZ")
    (tmp_path / "cut.nii").write_bytes(ENCODERS[".nii"](x_DHW)[:-1])
    with pytest.raises(DataError, match="is cut off: 959 of the 960 bytes"):
        octjob.read_volume(tmp_path / "cut.nii")


def test_prepare_makes_what_a_run_then_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_data(tmp_path, ".nii.gz", train=6, val=2)
    save_checkpoint(tmp_path / "a.pt")
    path = sweep_file(
        tmp_path,
        {"logistic": {"train.optimizer": "LBFGS", "classes.mapping": MAPPING}},
        data={"layout": "table", "table": f"{tmp_path}/volumes.csv", "shared_cache": "float16"},
    )
    assert octjob_command(["prepare", "--matrix", str(path), "--target", "local"]) == 0
    assert "48 volumes: 0 there already, 48 made" in capsys.readouterr().out
    store, plan = submitted(path)
    run_job(uri_of(plan.runs[0]), lambda progress: None)
    result = read_result(store, plan.runs[0].run_id)
    assert result is not None
    assert result.data["coverage"]["num_found"] == 24
    assert octjob_command(["prepare", "--matrix", str(path), "--target", "local"]) == 0
    assert "48 volumes: 48 there already, 0 made" in capsys.readouterr().out
    (run_,) = plan.runs
    assert octjob_command(["collect", store.root]) == 0
    assert octjob_command(["card", store.root, run_.run_id]) == 0
    card = capsys.readouterr().out
    assert "AI-READI" not in card
    assert "3 classes apart" in card


def test_check_says_where_a_control_has_nothing_to_tell_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    least = ("path", "label", "participant", "split")
    rows = [{name: row[name] for name in least} for row in rows_of(".npy")]
    write_volumes(tmp_path, rows)
    write_table(tmp_path / "volumes.csv", rows)
    data = {"layout": "table", "table": f"{tmp_path}/volumes.csv"}
    for control, said in (("clinical", "says no age as a number"), ("site_device", "tell nobody apart")):
        path = sweep_file(tmp_path, {"a": {"classes.mapping": MAPPING}}, data=data, controls=[control])
        assert octjob_command(["data", "check", "--matrix", str(path)]) == 3
        assert said in capsys.readouterr().err


def test_check_shows_the_axes_of_every_format_or_why_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suffixes = list(ENCODERS)
    rows = [
        row | {"path": f"scans/{i:02}{suffixes[i % 5]}", "device": f"d{i % 6}"}
        for i, row in enumerate(rows_of(train=5, val=5))
    ]
    write_volumes(tmp_path, rows)
    (tmp_path / rows[0]["path"]).write_bytes(b"?")
    write_table(tmp_path / "volumes.csv", rows)
    data = {"layout": "table", "table": f"{tmp_path}/volumes.csv", "axes": "HDW"}
    path = sweep_file(tmp_path, {"a": {"classes.mapping": MAPPING}}, data=data)
    assert octjob_command(["data", "check", "--matrix", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    said = {
        line.split(":")[0].strip(): line.partition(": ")[2] for line in lines if line.startswith("  scans/")
    }
    assert said["scans/00.nii (d0)"].startswith("cannot be read, it is no NIfTI file")
    assert said["scans/01.nii.gz (d1)"] == "D 12 x H 8 x W 10, nibabel's x[w, d, h]"
    assert said["scans/02.nrrd (d2)"] == "D 12 x H 8 x W 10, pynrrd's x[w, d, h]"
    assert said["scans/03.npy (d3)"] == "D 12 x H 8 x W 10, numpy's x[h, d, w]"
    assert said["scans/04.dcm (d4)"] == "D 8 x H 12 x W 10, as DICOM orders frames, rows and columns"
    assert len(said) == 4 * 6


def test_check_says_which_shapes_a_launcher_cannot_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own_data(tmp_path, ".nrrd")
    data = {"layout": "table", "table": f"{tmp_path}/volumes.csv"}
    path = sweep_file(tmp_path, {"a": {"classes.mapping": MAPPING}}, data=data)
    monkeypatch.setattr("octjob.data.formats.is_installed", lambda name: False)
    assert octjob_command(["data", "check", "--matrix", str(path)]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    why = "NRRD volumes need pynrrd, which is not installed (Run: pip install 'octjob[formats]')"
    assert said == f"  scans/p002_L.nrrd (spectralis): shape not read here: {why}"

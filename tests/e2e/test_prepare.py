"""`octjob prepare`, then a sweep that reads no source file; interrupted, twice at once, in parts, over damage."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doubles.octjobs import Octjobs
from doubles.tiny_sweep import fill_bucket, save_checkpoint, submitted, sweep_file, uri_of

from octjob.cli import run as octjob
from octjob.data.volume_format import VolumeFormat
from octjob.records.layout import PREDICTIONS, read_result, run_key
from octjob.records.preparation import preparation_of, preparation_uri, read_reports, total, write_preparation
from octjob.records.schema import Result
from octjob.spec.expand import plan_sweep
from octjob.storage.base import ObjectStore
from octjob.storage.open import open_store

pytestmark = pytest.mark.slow

SIZE = (8, 16, 16)
PROBE: dict[str, Any] = {"train.epochs": 3}
FINETUNE: dict[str, Any] = {
    "train.epochs": 1,
    "data.batch_size": 4,
    "model": {"freeze_encoder": False, "unfreeze_at_epoch": 0},
}
NUM_VOLUMES = 32


@pytest.fixture(scope="module")
def octjobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Octjobs]:
    with Octjobs(tmp_path_factory.mktemp("log")) as made:
        yield made


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bucket whose last volume is spoilt, and a checkpoint."""
    folder = tmp_path_factory.mktemp("inputs")
    bucket = fill_bucket(folder / "bucket")
    bucket.write()
    spoilt = sorted((folder / "bucket").rglob("*.dcm"))[-1]
    spoilt.write_bytes(b"<html>")
    save_checkpoint(folder / "a.pt")
    return folder


def sweep(inputs: Path, folder: Path, shared: str | None = "float16", **changes: Any) -> Path:
    """A sweep of a probe and a fine-tuning; the data are `folder`'s own copy."""
    folder.mkdir(exist_ok=True)
    if not (folder / "bucket").exists():
        shutil.copytree(inputs / "bucket", folder / "bucket")
        shutil.copy(inputs / "a.pt", folder / "a.pt")
    data = {
        "source": f"{folder}/bucket",
        "shared_cache": shared,
        "max_corrupt": 0.1,
        "min_coverage": 0.9,
        "num_workers": 2,
    }
    configs = {"probe": PROBE, "finetune": FINETUNE}
    return sweep_file(folder, configs, data=data, **changes)


def objects(folder: Path) -> dict[str, tuple[int, int]]:
    """Every prepared volume, with its time of change and inode."""
    files = (folder / "out" / "cache" / "volumes").rglob("*.npy")
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}


def spoil_sources(folder: Path) -> None:
    """Make every source file unreadable for whoever opens it, and the same for whoever only lists."""
    for path in (folder / "bucket").rglob("*.dcm"):
        stat = path.stat()
        path.write_bytes(b"\0" * stat.st_size)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def results(octjobs: Octjobs, path: Path) -> tuple[ObjectStore, dict[str, Result]]:
    store, plan = submitted(path)
    found = {}
    for run in plan.runs:
        ended = octjobs("train", "--run", uri_of(run))
        assert ended.exit == 0, ended.said
        result = read_result(store, run.run_id)
        assert result is not None
        found[run.config_name] = result
    return store, found


def prepare(octjobs: Octjobs, path: Path, *args: object) -> dict[str, Any]:
    ended = octjobs("prepare", "--matrix", path, "--workers", 2, "-o", "json", *args)
    assert ended.exit == 0, ended.said
    document: dict[str, Any] = json.loads(
        ended.said[ended.said.index("\n{" if ended.said[0] != "{" else "{") :]
    )
    return document


def predictions(found: tuple[ObjectStore, dict[str, Result]]) -> dict[str, bytes]:
    store, by_config = found
    return {name: store.get(run_key(one.run_id, PREDICTIONS)) for name, one in by_config.items()}


def ids(found: tuple[ObjectStore, dict[str, Result]]) -> set[str]:
    return {one.run_id for one in found[1].values()}


def test_a_prepared_sweep_reads_no_source_file_and_ends_as_one_that_read_them_all(
    octjobs: Octjobs, inputs: Path, tmp_path: Path
) -> None:
    alone = results(octjobs, sweep(inputs, tmp_path, output=f"{tmp_path}/alone"))
    shared = list((tmp_path / "alone/cache/volumes").rglob("*.npy"))
    assert len(shared) == 31, "runs that nothing was prepared for share what they make"
    path = sweep(inputs, tmp_path)
    found = prepare(octjobs, path)
    assert [found[key] for key in ("num_volumes", "num_there", "num_made")] == [NUM_VOLUMES, 0, 31]
    assert found["bytes_made"] == 31 * VolumeFormat("pretraining", SIZE, "float16").num_bytes
    (refused,) = found["refused"]
    assert "not a DICOM file" in refused["reason"]
    before = objects(tmp_path)
    spoil_sources(tmp_path)
    after = results(octjobs, path)
    assert objects(tmp_path) == before
    assert ids(after) == ids(alone)
    assert predictions(after) == predictions(alone)


def test_float32_changes_neither_a_result_nor_a_runs_id(
    octjobs: Octjobs, inputs: Path, tmp_path: Path
) -> None:
    plain = results(octjobs, sweep(inputs, tmp_path, None, output=f"{tmp_path}/plain"))
    path = sweep(inputs, tmp_path, "float32")
    prepare(octjobs, path)
    spoil_sources(tmp_path)
    shared = results(octjobs, path)
    assert ids(shared) == ids(plain)
    assert predictions(shared) == predictions(plain)


def test_float16_makes_other_runs_and_says_so_where_they_compute_in_float32(
    inputs: Path, tmp_path: Path
) -> None:
    plain = plan_sweep(sweep(inputs, tmp_path, None)).runs
    rounded = plan_sweep(sweep(inputs, tmp_path, "float16")).runs
    assert {run.run_id for run in rounded}.isdisjoint(run.run_id for run in plain)
    assert all("rounded volumes" in " ".join(run.notes) for run in rounded)
    assert not any("rounded volumes" in " ".join(run.notes) for run in plain)


def test_again_it_makes_nothing_and_parts_make_the_whole(
    octjobs: Octjobs, inputs: Path, tmp_path: Path
) -> None:
    path = sweep(inputs, tmp_path)
    counts = Counter[str]()
    for part in ("0/3", "1/3", "2/3"):
        found = prepare(octjobs, path, "--part", part)
        counts.update({key: found[key] for key in ("num_volumes", "num_made")})
        assert 10 <= found["num_volumes"] <= 11
    assert counts == {"num_volumes": NUM_VOLUMES, "num_made": 31}
    before = objects(tmp_path)
    again = prepare(octjobs, path)
    assert (again["num_there"], again["num_made"], len(again["refused"])) == (31, 0, 1)
    assert objects(tmp_path) == before


def test_what_is_cut_off_gone_or_replaced_is_made_again(
    octjobs: Octjobs, inputs: Path, tmp_path: Path
) -> None:
    path = sweep(inputs, tmp_path)
    prepare(octjobs, path)
    before = objects(tmp_path)
    cut, gone, replaced, *_ = sorted((tmp_path / "out/cache/volumes").rglob("*.npy"))
    whole = {one.name: one.read_bytes() for one in (cut, gone)}
    cut.write_bytes(b"half")
    gone.unlink()
    uid = replaced.name.partition("-")[0]
    (source,) = (tmp_path / "bucket").rglob(f"*_{uid}.dcm")
    source.write_bytes(source.read_bytes())
    found = prepare(octjobs, path)
    assert (found["num_there"], found["num_made"]) == (28, 3)
    assert {name: (cut.parent / name).read_bytes() for name in whole} == whole
    assert len(objects(tmp_path)) == len(before) + 1, "whoever still has the old file finds its volume"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_it_keeps_what_it_made_and_the_same_command_makes_the_rest(
    octjobs: Octjobs, inputs: Path, tmp_path: Path, number: signal.Signals
) -> None:
    path = sweep(inputs, tmp_path)
    ended = octjobs("prepare", "-f", path, below=tmp_path / "out", kill_at=40, signal=number)
    assert ended.exit == (-number if number == signal.SIGKILL else 75), ended.said
    assert number == signal.SIGKILL or "what was made is kept" in ended.said
    before = objects(tmp_path)
    assert 0 < len(before) < 31
    found = prepare(octjobs, path)
    assert (found["num_there"], found["num_made"]) == (len(before), 31 - len(before))
    assert before.items() <= objects(tmp_path).items()
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_two_at_once_make_each_volume_and_leave_alone_what_the_other_made(
    octjobs: Octjobs, inputs: Path, tmp_path: Path
) -> None:
    path = sweep(inputs, tmp_path)
    command = ["prepare", "-f", str(path), "--workers", "1"]
    ended = octjobs(*command, beside=command)
    assert (ended.exit, ended.beside) == (0, 0), ended.said
    assert len(objects(tmp_path)) == 31
    before = objects(tmp_path)
    assert prepare(octjobs, path)["num_there"] == 31
    assert objects(tmp_path) == before


def test_a_pod_takes_its_part_of_what_is_stored_and_says_what_became_of_it(
    octjobs: Octjobs, inputs: Path, tmp_path: Path
) -> None:
    plan = plan_sweep(sweep(inputs, tmp_path))
    wanted = preparation_of(plan)
    assert len(wanted.runs) == 1, "probe and fine-tuning read the same volumes"
    store = open_store(plan.cache)
    write_preparation(store, wanted)
    for part in range(2):
        ended = octjobs("prepare", "--preparation", preparation_uri(wanted), "--part", f"{part}/2")
        assert ended.exit == 0, ended.said
    reports = read_reports(store, wanted.digest, 2)
    report = total(one for one in reports if one is not None)
    assert (report.num_volumes, report.num_made, len(report.refused)) == (NUM_VOLUMES, 31, 1)
    assert read_reports(store, wanted.digest, 3) == [None] * 3


def test_a_full_cache_is_an_error_since_nothing_else_is_wanted(
    octjobs: Octjobs, inputs: Path, tmp_path: Path
) -> None:
    path = sweep(inputs, tmp_path)
    ended = octjobs("prepare", "-f", path, below=tmp_path / "out", full_at=20)
    assert ended.exit == 4, ended.said
    assert "No space left on device" in ended.said
    assert prepare(octjobs, path)["num_there"] > 0


@pytest.mark.parametrize(
    ("shared", "args", "words"),
    [
        (None, [], "Write `data: {shared_cache: float16}`"),
        ("float16", ["--wait"], "--wait has no effect with target local"),
        ("float16", ["--part", "3/3"], "'3/3' is no part"),
        ("float16", ["-o", "yaml"], "compute.image: is required"),
    ],
)
def test_what_cannot_be_is_said(
    inputs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    shared: str | None,
    args: list[str],
    words: str,
) -> None:
    path = sweep(inputs, tmp_path, shared)
    assert octjob(["prepare", "--matrix", str(path), *args]) == 2
    assert words in capsys.readouterr().err

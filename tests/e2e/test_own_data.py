"""A group's own volumes, from the page that says how to the leaderboard; in every format the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from doubles.octjobs import Octjobs
from doubles.own_volumes import CLASSES, ENCODERS, own_data, rows_of, write_table, write_volumes
from doubles.tiny_sweep import save_checkpoint, submitted, sweep_file, uri_of

from octjob.cli import run as octjob
from octjob.evaluate import Predictions
from octjob.records.layout import read_result
from octjob.records.predictions import read_predictions
from octjob.run.job import run_job

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs/own-data.md"
MAPPING = {name: index for index, name in enumerate(CLASSES)}
LOGISTIC: dict[str, Any] = {"train.optimizer": "LBFGS", "train.standardize": True, "classes.mapping": MAPPING}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "a.pt"
    save_checkpoint(path)
    return path


def scored(
    folder: Path, checkpoint: Path, configs: dict[str, dict[str, Any]] | None = None, **data: Any
) -> Predictions:
    """What the one run of a sweep on `folder`'s table predicts."""
    path = sweep_file(
        folder,
        configs or {"logistic": LOGISTIC},
        checkpoints={"a": {"uri": str(checkpoint), "num_heads": 2}},
        data={"layout": "table", "table": f"{folder}/volumes.csv", **data},
    )
    store, plan = submitted(path)
    (run,) = plan.runs
    run_job(uri_of(run), lambda progress: None)
    result = read_result(store, run.run_id)
    assert result is not None
    assert result.data["quarantine"]["num_quarantined"] == 0
    return read_predictions(store, run.run_id)


def page_sweep() -> dict[str, Any]:
    (text,) = re.findall(r"<!-- sweep -->\n```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return dict(yaml.safe_load(text))


def test_the_pages_example_from_check_to_leaderboard(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but the checkpoints is other than on the page, whose output is the real one."""
    monkeypatch.chdir(tmp_path)
    rows = rows_of(train=6, val=2)
    write_volumes(tmp_path, rows)
    written = write_table(tmp_path / "volumes.csv", rows, page_sweep()["data"]["columns"]).read_text()
    header = next(line for line in PAGE.read_text().splitlines() if line.startswith("path,"))
    assert written.splitlines()[0] == header
    sweep = page_sweep() | {"checkpoints": {"multi": {"uri": str(checkpoint), "num_heads": 2}}}
    Path("sweep.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))
    assert octjob(["data", "check", "--matrix", "sweep.yaml"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[: len(checked := shown_check())] == checked
    with Octjobs(tmp_path) as octjobs:
        ended = octjobs("submit", "--matrix", "sweep.yaml", "--concurrency", 1)
    assert ended.exit == 0, ended.said
    capsys.readouterr()
    assert octjob(["collect", "results/own-volumes", "-o", "json"]) == 0
    board = json.loads(capsys.readouterr().out)
    assert board["class_names"] == list(CLASSES)
    row = next(row for row in board["rows"] if row["checkpoint"] == "multi")
    assert row["metrics"]["macro_auroc"]["value"] > 0.9
    assert {row["config"] for row in board["rows"]} >= {"logistic", "prior", "clinical", "site_device"}


def shown_check() -> list[str]:
    (text,) = re.findall(r"```text\n(logistic: .*?)```", PAGE.read_text(), re.DOTALL)
    return str(text).splitlines()


def test_every_format_gives_the_same_predictions_bit_for_bit(checkpoint: Path, tmp_path: Path) -> None:
    of = {}
    for suffix in ENCODERS:
        own_data(tmp_path / suffix, suffix)
        of[suffix] = scored(tmp_path / suffix, checkpoint)
    first = of[".dcm"]
    assert len(first.logits_NK) == 3 * 3 * 2
    for suffix, found in of.items():
        assert found.logits_NK.tobytes() == first.logits_NK.tobytes(), suffix
        for name in ("participant", "eye", "device", "site", "label"):
            np.testing.assert_array_equal(getattr(found, name), getattr(first, name))


def test_fine_tuning_with_caches_sees_what_a_plain_one_sees(checkpoint: Path, tmp_path: Path) -> None:
    finetune = {
        "model.freeze_encoder": False,
        "train.epochs": 1,
        "classes.mapping": MAPPING,
        "data.batch_size": 4,
    }
    own_data(tmp_path / "a", ".nrrd", train=2, val=1)
    plain = scored(tmp_path / "a", checkpoint, {"plain": finetune})
    caches = {"cache_dir": f"{tmp_path}/volumes", "shared_cache": "float32"}
    (tmp_path / "a/out").rename(tmp_path / "plain")
    cached = scored(tmp_path / "a", checkpoint, {"plain": finetune}, **caches)
    assert cached.logits_NK.tobytes() == plain.logits_NK.tobytes()
    assert len(list((tmp_path / "volumes").rglob("*.npy"))) == 18


@pytest.mark.parametrize("num_classes", [2, 5])
def test_any_number_of_classes_of_any_name(checkpoint: Path, tmp_path: Path, num_classes: int) -> None:
    names = ["Früh-AMD", 'späte AMD: "feucht"', "no, none", "4", "x" * 60][:num_classes]
    rows = rows_of(".npy", train=10, val=5)
    people = {row["participant"]: None for row in rows}
    label_of = {identity: names[i % num_classes] for i, identity in enumerate(people)}
    write_volumes(tmp_path, rows)
    write_table(tmp_path / "volumes.csv", [row | {"label": label_of[row["participant"]]} for row in rows])
    config = LOGISTIC | {"classes.mapping": {name: i for i, name in enumerate(names)}}
    found = scored(tmp_path, checkpoint, {"logistic": config})
    assert found.logits_NK.shape == (5 * 3 * 2, num_classes)
    assert octjob(["collect", f"{tmp_path}/out/tiny"]) == 0

"""Files of the original pipeline: each key of docs/migration.md is treated as the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from octjob.errors import SpecError
from octjob.spec.compose import experiment, load_experiment
from octjob.spec.effects import unused_keys
from octjob.spec.original import HINTS, PRETRAINING
from octjob.spec.yaml import Document, loads, subdocument

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/migration.md").read_text()
ROWS = re.findall(r"^\| `([\w.]+): ([^`]+)` \| (read|note|refused) \| ", PAGE, re.MULTILINE)


def written(key: str, value: str) -> Document:
    text = yaml.safe_dump({"over": {key: yaml.safe_load(value)}}, sort_keys=False)
    return subdocument(loads(text, "c.yaml"), ("over",))


def test_the_page_has_every_key_that_has_a_hint() -> None:
    assert {*HINTS} == {key for key, _, how in ROWS if how == "refused"}
    assert len(ROWS) == PAGE.count("\n| `")


@pytest.mark.parametrize(("key", "value", "how"), ROWS, ids=[f"{key}: {value}" for key, value, _ in ROWS])
def test_a_key_of_the_original_is_treated_as_the_page_says(key: str, value: str, how: str) -> None:
    document = written(key, value)
    if how == "refused":
        with pytest.raises(SpecError, match=rf"c\.yaml:\d+: {key}: ") as error:
            experiment(document)
        assert error.value.hint == HINTS[key]
        return
    notes = unused_keys(experiment(document), document)
    section = key.rpartition(".")[0]
    noted = any(note.startswith((f"{key} unused", f"{section} unused")) for note in notes)
    assert noted == (how == "note")


def test_null_class_weights_are_none() -> None:
    assert experiment(written("train.class_weights", "null")) == experiment(
        written("train.class_weights", "none")
    )


@pytest.mark.parametrize(
    "text",
    [
        "experiment_name: vjepa2\nimage_size: [64, 384, 384]\nmask_ratio: 0.6\nepochs: 120\n",
        "app: vjepa\nmask: [{}]\nmodel: {pred_depth: 12}\noptimization: {epochs: 3}\nmeta: {seed: 1}\n",
    ],
)
def test_a_pretraining_config_is_told_that_it_is_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(SpecError, match=r"c\.yaml:1: \w+: this is a pretraining config") as error:
        load_experiment(tmp_path / "c.yaml")
    assert "checkpoints" in error.value.hint


@pytest.mark.parametrize("key", sorted(PRETRAINING))
def test_one_key_of_pretraining_alone_is_to_be_deleted(key: str) -> None:
    with pytest.raises(SpecError, match=f"{key}: unknown key") as error:
        experiment(written(key, "1"))
    assert error.value.hint == "It belongs to pretraining. Delete it."

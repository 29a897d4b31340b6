"""Every key of a config, in every way to train: it acts, the plan says that it does not, or it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from octjob.errors import SpecError
from octjob.spec.compose import experiment
from octjob.spec.effects import idle_reason, unused_keys
from octjob.spec.expand import plan_sweep
from octjob.spec.experiment import Experiment
from octjob.spec.validate import all_keys
from octjob.spec.yaml import Document, Mark

# `bare` is a probe by AdamW with everything off that can be off; `full` one with all of it on.
MODES: dict[str, dict[str, Any]] = {
    "bare": {"data.augment.views": 1},
    "full": {
        "data.augment.flip": True,
        "train.early_stopping.enabled": True,
        "train.loss": "focal",
        "log.wandb": True,
    },
    "lbfgs": {"train.optimizer": "LBFGS", "data.source": "/data"},
    "finetune": {"model.freeze_encoder": False, "train.early_stopping.enabled": True},
}
ACTS, NOTE, ERROR = "acts", "note", "error"
EVERYWHERE = (ACTS, ACTS, ACTS, ACTS)
NOWHERE = (NOTE, NOTE, NOTE, NOTE)
LOOP = (ACTS, ACTS, NOTE, ACTS)
STOPPING = (NOTE, ACTS, NOTE, ACTS)
AUGMENTATION = (NOTE, ACTS, ACTS, ACTS)

# key: (a value, what it does in each of the modes)
TABLE: dict[str, tuple[Any, tuple[str, str, str, str]]] = {
    "project_name": ("p", NOWHERE),
    "seed": (1, EVERYWHERE),
    "paths.labels_tsv": ("a/participants.tsv", EVERYWHERE),
    "paths.checkpoint_path": ("c.pt", NOWHERE),
    "paths.s3_bucket": ("b", (ACTS, ACTS, NOTE, ACTS)),
    "paths.s3_prefix": ("a/retinal_oct/", (ACTS, ACTS, NOTE, ACTS)),
    "s3.endpoint_env": ("E", NOWHERE),
    "data.source": ("/other", EVERYWHERE),
    "data.layout": ("table", (ERROR, ERROR, ERROR, ERROR)),
    "data.table": ("volumes.csv", NOWHERE),
    "data.columns": ({"participant": "patient_id"}, NOWHERE),
    "data.axes": ("WHD", NOWHERE),
    "data.num_workers": (1, EVERYWHERE),
    "data.connections": (1, EVERYWHERE),
    "data.cache_dir": ("/cache", EVERYWHERE),
    "data.cache_limit_gib": (20.0, NOWHERE),
    "data.shared_cache": ("float16", EVERYWHERE),
    "data.batch_size": (1, LOOP),
    "data.val_batch_size": (1, LOOP),
    "data.use_distributed": (True, NOWHERE),
    "data.persistent_workers": (True, NOWHERE),
    "data.prefetch_factor": (1, NOWHERE),
    "data.augment.flip": (True, AUGMENTATION),
    "data.augment.intensity_jitter": (True, AUGMENTATION),
    "data.augment.random_crop": (True, AUGMENTATION),
    "data.augment.rotation": (True, AUGMENTATION),
    "data.augment.resize": ([64, 384, 384], EVERYWHERE),
    "data.augment.views": (3, (NOTE, ACTS, NOTE, NOTE)),
    "data.profile": ("seed_finetune", EVERYWHERE),
    "data.devices": (["topcon_triton"], EVERYWHERE),
    "data.regions": (["Macula"], EVERYWHERE),
    "data.sites": (["UW"], EVERYWHERE),
    "data.laterality": ("left", EVERYWHERE),
    "data.volumes": ("one", EVERYWHERE),
    "data.include_radial": (True, EVERYWHERE),
    "data.eval_split": ("test", (ERROR, ERROR, ERROR, ERROR)),
    "data.min_coverage": (0.5, EVERYWHERE),
    "data.max_corrupt": (0.5, EVERYWHERE),
    "data.unit": ("volume", EVERYWHERE),
    "classes.mapping": ({"healthy": 0, "insulin_dependent": 1}, EVERYWHERE),
    "classes.short_names": (["a", "b", "c", "d"], EVERYWHERE),
    "model.emb_dim": (768, EVERYWHERE),
    "model.freeze_encoder": (False, (ACTS, ACTS, ERROR, ACTS)),
    "model.unfreeze_at_epoch": (2, (ACTS, ACTS, ERROR, ACTS)),
    "model.pool_method": ("attentive", (ACTS, ACTS, ERROR, ACTS)),
    "model.encoder": ("context", EVERYWHERE),
    "model.attention": ("blocks", EVERYWHERE),
    "model.head.hidden": (8, (ACTS, ACTS, ERROR, ACTS)),
    "model.head.dropout": (0.5, LOOP),
    "train.epochs": (7, LOOP),
    "train.lr_head": (0.1, LOOP),
    "train.lr_encoder": (0.1, (NOTE, NOTE, NOTE, ACTS)),
    "train.weight_decay": (0.1, LOOP),
    "train.accumulate": (4, LOOP),
    "train.optimizer": ("SGD", EVERYWHERE),
    "train.l2": (1.0, (NOTE, NOTE, ACTS, NOTE)),
    "train.scheduler": ("step", LOOP),
    "train.warmup_epochs": (1, LOOP),
    "train.class_weights": ("auto", EVERYWHERE),
    "train.sampler": ("weighted", (ACTS, ACTS, ERROR, ACTS)),
    "train.loss": ("focal", (ACTS, ACTS, ERROR, ACTS)),
    "train.focal_gamma": (1.0, (NOTE, ACTS, NOTE, NOTE)),
    "train.remat": (True, (NOTE, NOTE, NOTE, ACTS)),
    "train.precision": ("bf16", EVERYWHERE),
    "train.standardize": (True, (ACTS, ACTS, ACTS, NOTE)),
    "train.grad_clip": (1.0, LOOP),
    "train.early_stopping.enabled": (True, LOOP),
    "train.early_stopping.patience": (3, STOPPING),
    "train.early_stopping.min_delta": (0.1, STOPPING),
    "train.early_stopping.metric": ("macro_auroc", STOPPING),
    "train.early_stopping.holdout": (0.3, STOPPING),
    "log.wandb": (True, EVERYWHERE),
    "log.wandb_project": ("p", (NOTE, ACTS, NOTE, NOTE)),
    "log.wandb_entity": ("e", (NOTE, ACTS, NOTE, NOTE)),
    "log.ckpt_dir": ("/ckpt", NOWHERE),
    "log.save_best": (False, EVERYWHERE),
    "log.save_last": (False, EVERYWHERE),
    "log.images": (4, EVERYWHERE),
}


def document(*files: dict[str, Any]) -> Document:
    """Keys of several files, the later ones winning."""
    written = Document({}, {(): Mark("sweep.yaml", 1)})
    for number, keys in enumerate(files):
        for key, value in keys.items():
            *parents, leaf = path = tuple(key.split("."))
            section = written.data
            for parent in parents:
                section = section.setdefault(parent, {})
            section[leaf] = value
            written.marks[path] = Mark(f"{number}.yaml", 1)
    return written


def what_it_does(key: str, value: Any, mode: dict[str, Any]) -> str:
    """In a file of its own: beside its cause a key without effect would be an error, elsewhere it is a note."""
    given = document(mode, {key: value})
    try:
        notes = unused_keys(experiment(given), given)
    except SpecError:
        return ERROR
    section = key.rpartition(".")[0]
    return NOTE if any(note.startswith((f"{key} unused", f"{section} unused")) for note in notes) else ACTS


def test_the_table_has_every_key() -> None:
    keys = {".".join(map(str, key)) for key in all_keys(Experiment)}
    leaves = {key for key in keys if not any(other.startswith(f"{key}.") for other in keys)}
    assert set(TABLE) == leaves


@pytest.mark.parametrize("key", TABLE)
def test_a_key_acts_or_is_named(key: str) -> None:
    value, expected = TABLE[key]
    assert tuple(what_it_does(key, value, mode) for mode in MODES.values()) == expected


USERS_OWN = """\
project_name: oct_cls_single_domain_01
model:
  emb_dim: 768
  freeze_encoder: true
  unfreeze_at_epoch: -1
  pool_method: mean
  head:
    hidden: 0
    dropout: 0.1

train:
  epochs: 50
  lr_head: 0.001
  lr_encoder: 3.0e-05
  optimizer: AdamW
  scheduler: cosine
  class_weights: auto
  early_stopping:
    patience: 10
    min_delta: 0.001
"""


def planned_notes(folder: Path, config: str, **changes: Any) -> tuple[str, ...]:
    (folder / "c.yaml").write_text(config)
    sweep = {"name": "s", "output": "out", "checkpoints": {"a": "a.pt"}, "configs": {"c": "c.yaml"}}
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**sweep, "data": {"source": "/data"}, **changes}))
    return plan_sweep(folder / "sweep.yaml").runs[0].notes


def test_the_original_config_plans_unchanged_and_says_that_early_stopping_is_off(tmp_path: Path) -> None:
    why = "early stopping is off; train.early_stopping.enabled: true turns it on"
    notes = planned_notes(tmp_path, USERS_OWN)
    assert f"train.early_stopping.patience unused: {why}" in notes
    assert f"train.early_stopping.min_delta unused: {why}" in notes
    mended = USERS_OWN.replace("  early_stopping:\n", "  early_stopping:\n    enabled: true\n")
    assert not any("early_stopping" in note for note in planned_notes(tmp_path, mended))


def test_the_configs_seed_is_unused_where_the_sweep_lists_seeds(tmp_path: Path) -> None:
    note = "seed unused: the sweep lists `seeds`"
    assert note in planned_notes(tmp_path, "seed: 7\n", seeds=[1, 2])
    assert note not in planned_notes(tmp_path, "seed: 7\n")
    assert note not in planned_notes(tmp_path, "train: {epochs: 3}\n", seeds=[1, 2])
    with pytest.raises(SpecError, match="grid: seed has no effect under any configuration"):
        planned_notes(tmp_path, "train: {epochs: 3}\n", seeds=[1, 2], grid={"seed": [1, 2]})


def test_a_section_without_effect_takes_its_keys_along(tmp_path: Path) -> None:
    lbfgs = experiment(document(MODES["lbfgs"]))
    assert (
        idle_reason("train.early_stopping.patience", lbfgs)
        == idle_reason("train.early_stopping", lbfgs)
        != ""
    )
    with pytest.raises(SpecError, match=r"grid: train\.early_stopping\.patience has no effect"):
        planned_notes(tmp_path, "train: {epochs: 3}\n", grid={"train.early_stopping.patience": [1, 2]})


TABLE_LAYOUT: dict[str, Any] = {"data.layout": "table", "data.table": "volumes.csv"}


@pytest.mark.parametrize(
    ("key", "value", "does"),
    [
        ("data.columns", {"participant": "patient_id"}, ACTS),
        ("data.axes", "WHD", ACTS),
        ("data.source", "/data", ACTS),
        ("data.sites", ["UW"], ACTS),
        ("data.devices", ["cirrus"], ACTS),
        ("data.laterality", "left", ACTS),
        ("data.volumes", "one", ACTS),
        ("data.min_coverage", 0.5, ACTS),
        ("data.regions", ["Macula"], NOTE),
        ("data.include_radial", True, NOTE),
        ("paths.labels_tsv", "a/participants.tsv", NOTE),
        ("paths.s3_bucket", "b", NOTE),
        ("paths.s3_prefix", "a/retinal_oct/", NOTE),
    ],
)
def test_with_a_table_a_key_acts_or_is_named(key: str, value: Any, does: str) -> None:
    given = document(TABLE_LAYOUT, {key: value})
    assert any(note.startswith(f"{key} unused") for note in unused_keys(experiment(given), given)) == (
        does == NOTE
    )


@pytest.mark.parametrize(("key", "value"), [("data.regions", ["Macula"]), ("data.include_radial", True)])
def test_selections_that_mean_nothing_for_a_table_are_refused_beside_it(key: str, value: Any) -> None:
    given = document(TABLE_LAYOUT | {key: value})
    with pytest.raises(SpecError, match=rf"0\.yaml:1: {key}: has no effect here, a table \(data\.layout\)"):
        experiment(given)


@pytest.mark.parametrize("key", ["table", "columns", "axes"])
def test_keys_of_tables_are_refused_beside_the_other_layout(key: str) -> None:
    value = TABLE[f"data.{key}"][0]
    with pytest.raises(SpecError, match=f"data.{key}: has no effect here, data.layout is aireadi"):
        experiment(document({"data.layout": "aireadi", f"data.{key}": value}))

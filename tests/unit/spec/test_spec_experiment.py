"""Experiment configs: every wrong key and value is one line with file, line, key and mend."""

from __future__ import annotations

import itertools
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from octjob.errors import SpecError
from octjob.spec import compose as compose_module
from octjob.spec.compose import compose, experiment, load_experiment
from octjob.spec.effects import double_correction, unused_keys
from octjob.spec.experiment import Classes, Experiment
from octjob.spec.sweep import Sweep
from octjob.spec.validate import all_keys, validate
from octjob.spec.yaml import Document, Mark, load

CONFIGS = Path(__file__).parents[3] / "configs"


def write(folder: Path, text: str, name: str = "c.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_config_is_valid(path: Path) -> None:
    config = load_experiment(path)
    assert config.classes.num_classes == 4


def test_the_seed_config_means_what_it_says() -> None:
    config = load_experiment(CONFIGS / "cls_single_domain_01.yaml")
    assert config.mode == "probe"
    assert config.train.class_weights == "auto"
    assert config.train.early_stopping.enabled
    assert config.model.head.dropout == 0.1
    assert config.data.augment.resize == (64, 384, 384)
    assert config.data.profile == "pretraining"


def test_the_seeds_fix_2_is_no_longer_without_effect() -> None:
    config = load_experiment(CONFIGS / "fix_finetune.yaml")
    assert (config.mode, config.model.unfreeze_at_epoch) == ("finetune", 1)
    assert (config.model.head.hidden, config.model.head.dropout) == (256, 0.2)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("trian:\n  epochs: 3\n", r":1: trian: unknown key", "Did you mean train?"),
        ("train:\n  epoch: 3\n", r":2: train\.epoch: unknown key", "Did you mean train.epochs?"),
        ("head:\n  hidden: 4\n", r":1: head: unknown key", "Did you mean model.head?"),
        ("early_stopping:\n  enabled: true\n", r":1: early_stopping: unknown key", "train.early_stopping"),
        ("train:\n  lr_head: [1, 2]\n", r":2: train\.lr_head: expected a number, got a list", ""),
        ("train:\n  epochs: 2.5\n", r":2: train\.epochs: expected a whole number, got the number 2\.5", ""),
        ("train:\n  epochs: true\n", r":2: train\.epochs: expected a whole number, got true", ""),
        (
            "train:\n  class_weights: auot\n",
            r":2: train\.class_weights: expected auto or none",
            "Did you mean auto?",
        ),
        ("train:\n  optimizer: adam\n", r":2: train\.optimizer: expected AdamW", ""),
        ("model:\n  pool_method: cls\n", r":2: model\.pool_method: this encoder has no class token", ""),
        ("train:\n  class_weights: [1.0, 2.0]\n", r"has 2 values for 4 classes", ""),
        (
            "train:\n  class_weights: [1, 1, x, 1]\n",
            r":2: train\.class_weights\.2: expected a number, got",
            "",
        ),
        ("data:\n  sites: [UW, [UW]]\n", r":2: data\.sites\.1: expected text, got a list", ""),
        ("data:\n  augment: {resize: [8, 8]}\n", r":2: data\.augment\.resize\.2: value 3 is missing", ""),
        (
            "data:\n  augment: {resize: [8, 8, 8, 8]}\n",
            r":2: data\.augment\.resize: expected at most 3 values, got 4",
            "",
        ),
        ("train:\n  lr_head: .inf\n", r":2: train\.lr_head: input should be a finite number", ""),
        ("data: 3\n", r":1: data: expected a mapping, got the number 3", ""),
        ("classes:\n  mapping: {a: 0, b: 2}\n", r"class indices must be 0\.\.K-1", ""),
        ("classes:\n  short_names: [a, b]\n", r"short_names has 2 names for 4 classes", ""),
        ("classes:\n  short_names: [a, b, c, a]\n", r"short_names must be distinct, got a, b, c, a", ""),
        ("classes:\n  short_names: [a, b, c, '']\n", r"'' cannot be a name: use at most 24", ""),
        (f"classes:\n  short_names: [a, b, c, {'d' * 25}]\n", r"cannot be a name: use at most 24", ""),
        ("train:\n  lr_head: -1\n", r":2: train\.lr_head: .*greater than 0", ""),
        ("train:\n  focal_gamma: 1.0\n", r":2: train\.focal_gamma: has no effect here", "train.loss"),
        (
            "train:\n  optimizer: LBFGS\n  epochs: 3\n",
            r":3: train\.epochs: has no effect here",
            "train.optimizer",
        ),
        ("train:\n  optimizer: LBFGS\nmodel:\n  head: {hidden: 8}\n", "LBFGS fits a linear head only", ""),
        (
            "model:\n  freeze_encoder: false\ntrain:\n  standardize: true\n",
            r"train\.standardize: has no effect",
            "",
        ),
        ("model:\n  unfreeze_at_epoch: 50\n", r"never reached in 50 epochs", ""),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str, hint: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SpecError, match=message) as error:
        load_experiment(path)
    assert error.value.message.startswith(str(path))
    assert "\n" not in error.value.message
    assert hint in error.value.hint
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("mapping", "shown"),
    [
        (None, ("healthy", "pre-diabetes", "oral/injectable", "insulin")),
        ({"healthy": 0, "insulin_dependent": 1, "oral": 1}, ("healthy", "insulin")),
        ({"glaucoma": 0, "healthy": 1}, ("glaucoma", "healthy")),
        # Two would be called the same.
        ({"insulin": 0, "insulin_dependent": 1}, ("insulin", "insulin_dependent")),
    ],
)
def test_classes_without_short_names_have_some_that_differ(
    mapping: dict[str, int] | None, shown: tuple[str, ...]
) -> None:
    classes = Classes() if mapping is None else Classes(mapping=mapping)
    assert classes.short == shown


def test_every_key_of_the_model_is_refused_when_misspelt(tmp_path: Path) -> None:
    for key in all_keys(Experiment):
        *parents, leaf = (str(part) for part in key)
        nested: object = {f"{leaf}x": 1}
        for parent in reversed(parents):
            nested = {parent: nested}
        with pytest.raises(SpecError, match="unknown key"):
            load_experiment(write(tmp_path, repr(nested)))


def test_inherited_keys_without_effect_are_notes_not_errors() -> None:
    document = compose(CONFIGS / "logistic.yaml")
    notes = unused_keys(experiment(document), document)
    assert any(note.startswith("train.epochs unused") for note in notes)
    assert any(note.startswith("train.lr_encoder unused: the encoder is frozen") for note in notes)


def test_lr_encoder_with_a_frozen_encoder_is_allowed_and_named(tmp_path: Path) -> None:
    document = compose(write(tmp_path, "model: {freeze_encoder: true}\ntrain: {lr_encoder: 1.0e-5}\n"))
    assert unused_keys(experiment(document), document) == ("train.lr_encoder unused: the encoder is frozen",)


def test_double_correction_is_flagged(tmp_path: Path) -> None:
    config = load_experiment(write(tmp_path, "train: {sampler: weighted, class_weights: auto}\n"))
    assert "double correction" in double_correction(config)
    config = load_experiment(write(tmp_path, "train: {sampler: weighted}\n"))
    assert double_correction(config) == ""


def test_defaults_compose_in_order_and_circles_are_named(tmp_path: Path) -> None:
    write(tmp_path, "train: {epochs: 1, lr_head: 0.5}\n", "a.yaml")
    write(tmp_path, "defaults: [a]\ntrain: {epochs: 2}\n", "b.yaml")
    config = load_experiment(write(tmp_path, "defaults: [b]\nseed: 7\n"))
    assert (config.train.epochs, config.train.lr_head, config.seed) == (2, 0.5, 7)
    write(tmp_path, "defaults: [b]\n", "a.yaml")
    with pytest.raises(SpecError, match="go in a circle"):
        load_experiment(tmp_path / "b.yaml")


def test_a_diamond_of_defaults_is_read_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "train: {epochs: 3}\n", "c0.yaml")
    for n in range(1, 30):
        write(tmp_path, f"defaults: [c{n - 1}, c{n - 1}]\n", f"c{n}.yaml")
    read: list[Path] = []
    monkeypatch.setattr(compose_module, "load", lambda path: read.append(path) or load(path))
    assert load_experiment(tmp_path / "c29.yaml").train.epochs == 3
    assert len(read) == 30
    for n in range(30, 60):
        write(tmp_path, f"defaults: [c{n - 1}]\n", f"c{n}.yaml")
    with pytest.raises(SpecError, match="name more than 50 files"):
        load_experiment(tmp_path / "c59.yaml")


def numbers(annotation: Any, value: float) -> Iterator[tuple[str, Any]]:
    """Every way to write `value` where a type takes a number, with the last key on the way."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (int, float):
        yield "", value
    elif origin is typing.Annotated:
        yield from numbers(args[0], value)
    elif origin in (typing.Union, types.UnionType):
        for arg in args:
            yield from numbers(arg, value)
    elif origin is tuple:
        for key, one in numbers(args[0], value):
            yield key, [one] * (1 if Ellipsis in args else len(args))
    elif origin is dict:
        for key, one in numbers(args[1], value):
            yield key, {"k": one}
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        required = {name: "x" for name, field in annotation.model_fields.items() if field.is_required()}
        for name, field in annotation.model_fields.items():
            for key, one in numbers(field.annotation, value):
                yield key or name, {**required, name: one}


SWEEP = {"name": "s", "output": "o", "checkpoints": {"a": "a"}, "configs": {"x": "x"}}
NUMERIC = [key for model in (Experiment, Sweep) for key, _ in numbers(model, 1)]


def test_the_walk_finds_the_numbers() -> None:
    assert {"lr_head", "min_delta", "class_weights", "mapping", "resize", "seeds", "fold_seed", "folds"} <= {
        *NUMERIC
    }
    assert {"num_heads", "volume_size", "max_runtime_hours", "max_restarts", "concurrency"} <= {*NUMERIC}
    assert len(NUMERIC) > 35


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 1e18, -1e18, 10**18, -(10**18)])
@pytest.mark.parametrize("model", [Experiment, Sweep])
def test_every_number_of_the_schema_has_an_end(model: type[BaseModel], value: float) -> None:
    for key, data in numbers(model, value):
        written = {**SWEEP, **{k: v for k, v in data.items() if v != "x"}} if model is Sweep else data
        with pytest.raises(SpecError, match=key):
            validate(model, Document(written, {(): Mark("f.yaml", 1)}), "f.yaml")


WRONG: tuple[Any, ...] = (
    *([], [[]], [[1]], [{}], ["x", ["y"]], [1, [2]], [None]),
    *({}, {"a": []}, {"a": {}}, {"a": None}, {"a": [[1]]}, {"uri": 1}),
    *("x", 1.5, True, None),
)


@pytest.mark.parametrize("model", [Experiment, Sweep])
def test_no_complaint_expects_what_it_got(model: type[BaseModel]) -> None:
    messages = []
    for key, value in itertools.product(all_keys(model), WRONG):
        written: dict[str, Any] = dict(SWEEP) if model is Sweep else {}
        section = written
        for part in key[:-1]:
            section[str(part)] = section = {}
        section[str(key[-1])] = value
        try:
            validate(model, Document(written, {(): Mark("f.yaml", 1)}), "f.yaml")
        except SpecError as error:
            messages.append(error.message)
    assert len(messages) > 300
    for message in messages:
        said = re.search(r"expected (.+), got (.+)$", message)
        assert said is None or said[2] not in re.split(" or |, ", said[1]), message
        assert message.isprintable()


def test_json_round_trip_is_exact() -> None:
    config = load_experiment(CONFIGS / "cls_finetune.yaml")
    assert Experiment.model_validate_json(config.model_dump_json()) == config

"""From a sweep to its runs. Pure but for reading the config files the sweep names."""

from __future__ import annotations

import fnmatch
import itertools
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from octjob.errors import SpecError
from octjob.spec.compose import compose, experiment
from octjob.spec.effects import double_correction, idle_reason, unused_keys
from octjob.spec.experiment import Experiment
from octjob.spec.run import Run, make_run_id
from octjob.spec.seeding import seeding, seeding_notes
from octjob.spec.sweep import Checkpoint, Compute, Pair, Sweep
from octjob.spec.uri import join_uri, parse_uri
from octjob.spec.validate import validate
from octjob.spec.yaml import Document, KeyPath, Mark, load, merge, subdocument


@dataclass(frozen=True)
class Plan:
    """A sweep, resolved."""

    name: str
    output: str
    cache: str
    baseline: str | None
    compute: Compute
    runs: tuple[Run, ...]
    baseline_config: str | None = None


@dataclass(frozen=True)
class _Config:
    name: str
    config: Experiment
    notes: tuple[str, ...]
    idle_axes: frozenset[str] = frozenset()


def locate_sweep(path: Path, base: Path | None = None) -> tuple[Sweep, str]:
    """A sweep file, and the URI of the sweep's results; its configs are not read.

    Raises `SpecError`.
    """
    sweep = validate(Sweep, load(path), str(path))
    return sweep, _output(sweep, base or Path.cwd())


def _output(sweep: Sweep, base: Path) -> str:
    return join_uri(absolute_uri(sweep.output, base), sweep.name)


def plan_sweep(path: Path, base: Path | None = None) -> Plan:
    """Load, validate and expand a sweep file.

    Relative directories in it are taken from `base` (default: the current directory), config files from the
    sweep file's own directory.

    Raises `SpecError`.
    """
    document = load(path)
    sweep = validate(Sweep, document, str(path))
    base = base or Path.cwd()
    _check_baseline(sweep, document)
    output = _output(sweep, base)
    cache = (
        absolute_uri(sweep.cache, base)
        if sweep.cache
        else join_uri(absolute_uri(sweep.output, base), "cache")
    )
    checkpoints = {
        name: checkpoint.model_copy(update={"uri": absolute_uri(checkpoint.uri, base)})
        for name, checkpoint in sweep.checkpoints.items()
    }
    runs = tuple(
        _run(sweep, config, name, checkpoints[name], output, cache)
        for config, name in _pairs(sweep, document, path, base)
    )
    if not runs:
        raise SpecError(f"{path}: every pair is excluded", "Loosen `exclude`.")
    _check_baseline_config(sweep, document, runs)
    return Plan(sweep.name, output, cache, sweep.baseline, sweep.compute, runs, sweep.baseline_config)


def _run(sweep: Sweep, config: _Config, name: str, checkpoint: Checkpoint, output: str, cache: str) -> Run:
    evaluate = sweep.resampling
    folds = evaluate if evaluate.protocol == "folds" else None
    seeds = seeding(config.config, sweep.seeds, evaluate)
    run = Run(
        sweep=sweep.name,
        run_id="",
        checkpoint_name=name,
        checkpoint=checkpoint,
        config_name=config.name,
        config=config.config,
        seeds=seeds.seeds,
        folds=folds.folds if folds else 0,
        repeats=folds.repeats if folds else 1,
        fold_seed=folds.fold_seed if folds else 0,
        seed_per_repeat=seeds.per_repeat,
        output=output,
        cache=cache,
    )
    notes = (*config.notes, *seeding_notes(run))
    return run.model_copy(update={"run_id": make_run_id(run), "notes": notes})


def absolute_uri(uri: str, base: Path) -> str:
    """`uri` normalised; a relative path is taken from `base`."""
    return str(parse_uri(uri if "://" in uri else str(base / Path(uri).expanduser())))


def _check_baseline(sweep: Sweep, document: Document) -> None:
    if sweep.baseline is not None and sweep.baseline not in sweep.checkpoints:
        raise SpecError(
            f"{document.mark(('baseline',))}: baseline: no checkpoint named {sweep.baseline!r}",
            f"The checkpoints are {', '.join(sweep.checkpoints)}.",
        )


def _check_baseline_config(sweep: Sweep, document: Document, runs: tuple[Run, ...]) -> None:
    names = dict.fromkeys(run.config_name for run in runs)
    if sweep.baseline_config is not None and sweep.baseline_config not in names:
        raise SpecError(
            f"{document.mark(('baseline_config',))}: baseline_config: no configuration named"
            f" {sweep.baseline_config!r}",
            f"The configurations are {', '.join(names)}.",
        )


def _pairs(sweep: Sweep, document: Document, path: Path, base: Path) -> list[tuple[_Config, str]]:
    """Every wanted pair, configuration by configuration, so that neighbours differ in the checkpoint."""
    configs = [
        config
        for name in sweep.configs
        for config in _grid(name, _config_document(name, sweep, document, path), sweep, document, base)
    ]
    _check_axes(configs, sweep, document)
    pairs = [(config, checkpoint) for config in configs for checkpoint in sweep.checkpoints]
    for index, pattern in enumerate(sweep.exclude):
        _check_pattern(pattern, pairs, document, index)
    pairs = [pair for pair in pairs if not any(_matches(pattern, *pair) for pattern in sweep.exclude)]
    for index, pair in enumerate(sweep.include):
        config = _included(index, pair, sweep, document, path, base)
        names = [name for name in sweep.checkpoints if fnmatch.fnmatchcase(name, pair.checkpoint)]
        if not names:
            raise SpecError(
                f"{document.mark(('include', index))}: include: no checkpoint matches {pair.checkpoint!r}",
                f"The checkpoints are {', '.join(sweep.checkpoints)}.",
            )
        pairs += [(config, name) for name in names]
    return pairs


def _config_document(name: str, sweep: Sweep, document: Document, path: Path) -> Document:
    entry = sweep.configs[name]
    base = compose(path.parent / entry.file) if entry.file else Document({}, {(): document.marks[()]})
    if sweep.data:
        data = subdocument(document, ("data",))
        marks = {("data", *key): mark for key, mark in data.marks.items()}
        base = merge(base, Document({"data": data.data}, marks))
    if entry.overrides:
        base = merge(base, subdocument(document, ("configs", name, "overrides")))
    return base


def _grid(name: str, document: Document, sweep: Sweep, source: Document, base: Path) -> list[_Config]:
    """One configuration per point of the grid, named `<config>.<key>-<value>...`.

    An axis without effect on this configuration is left out of its product and noted.
    """
    points = {key: _overlay({key: values[0]}, source) for key, values in sweep.grid.items()}
    idle = {key: reason for key, point in points.items() if (reason := _idle(key, merge(document, point)))}
    axes = {key: values for key, values in sweep.grid.items() if key not in idle}
    notes = tuple(f"grid axis {key} left out: {reason}" for key, reason in idle.items())
    configs = []
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        suffix = "".join(f".{key.split('.')[-1]}-{_slug(value)}" for key, value in point.items())
        config = _resolve(name + suffix, merge(document, _overlay(point, source)), base)
        configs.append(replace(config, notes=(*config.notes, *notes), idle_axes=frozenset(idle)))
    return configs


def _overlay(point: dict[str, Any], source: Document) -> Document:
    marks: dict[KeyPath, Mark] = {tuple(key.split(".")): source.marks[("grid", key)] for key in point}
    return Document(_nest(point), {**marks, (): source.marks[()]})


def _idle(key: str, document: Document) -> str:
    """Why `key` does nothing in the config `document` describes; empty where it does something."""
    return idle_reason(key, validate(Experiment, document, "grid"))


def _check_axes(configs: list[_Config], sweep: Sweep, source: Document) -> None:
    """Raise `SpecError` for an axis that does nothing under any configuration."""
    for key in sweep.grid:
        if configs and all(key in config.idle_axes for config in configs):
            raise SpecError(
                f"{source.mark(('grid', key))}: grid: {key} has no effect under any configuration",
                "Remove the axis.",
            )


def _nest(point: dict[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in point.items():
        *parents, leaf = key.split(".")
        section = nested
        for parent in parents:
            section = section.setdefault(parent, {})
        section[leaf] = value
    return nested


def _slug(value: Any) -> str:
    return re.sub(r"[^a-z0-9]+", "-", str(value).lower()).strip("-") or "empty"


def _included(index: int, pair: Pair, sweep: Sweep, document: Document, path: Path, base: Path) -> _Config:
    if pair.config not in sweep.configs:
        raise SpecError(
            f"{document.mark(('include', index))}: include: no config named {pair.config!r}",
            f"The configs are {', '.join(sweep.configs)}.",
        )
    config = _config_document(pair.config, sweep, document, path)
    if pair.overrides:
        config = merge(config, subdocument(document, ("include", index, "overrides")))
    return _resolve(pair.name or pair.config, config, base)


def _resolve(name: str, document: Document, base: Path) -> _Config:
    config = experiment(document, f"config {name}")
    notes = (*unused_keys(config, document), *filter(None, [double_correction(config)]))
    source = dataset_root(config, document)
    places = {"source": absolute_uri(source, base)}
    if config.data.cache_dir:
        places["cache_dir"] = str(base / Path(config.data.cache_dir).expanduser())
    data = config.data.model_copy(update=places)
    return _Config(name, config.model_copy(update={"data": data}), notes)


def dataset_root(config: Experiment, document: Document) -> str:
    """`data.source`, or what the original `paths` say: bucket and folder of participants.tsv."""
    if config.data.source:
        return config.data.source
    if config.paths.s3_bucket is None:
        raise SpecError(
            f"{document.mark(())}: neither data.source nor paths.s3_bucket says where the volumes are",
            "Set data.source to the data set's root URI, e.g. b2://eye-dataset/ai-readi/dataset.",
        )
    folder = config.paths.labels_tsv.rpartition("/")[0]
    expected = f"{folder}/retinal_oct".lstrip("/")
    if config.paths.s3_prefix is not None and config.paths.s3_prefix.strip("/") != expected:
        raise SpecError(
            f"{document.mark(('paths', 's3_prefix'))}: paths.s3_prefix: expected {expected}/, beside"
            f" {config.paths.labels_tsv}, got {config.paths.s3_prefix}",
            "Set data.source to the root that holds participants.tsv and retinal_oct/.",
        )
    return join_uri(f"b2://{config.paths.s3_bucket}", folder) if folder else f"b2://{config.paths.s3_bucket}"


def _matches(pattern: Pair, config: _Config, checkpoint: str) -> bool:
    return fnmatch.fnmatchcase(checkpoint, pattern.checkpoint) and fnmatch.fnmatchcase(
        config.name, pattern.config
    )


def _check_pattern(pattern: Pair, pairs: list[tuple[_Config, str]], document: Document, index: int) -> None:
    if not any(_matches(pattern, *pair) for pair in pairs):
        raise SpecError(
            f"{document.mark(('exclude', index))}: exclude: matches no pair"
            f" (checkpoint {pattern.checkpoint!r}, config {pattern.config!r})",
            "Correct the pattern, or remove it.",
        )

"""From a sweep to its runs. Pure but for reading the config files the sweep names."""

from __future__ import annotations

import fnmatch
import itertools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from octjob.errors import SpecError
from octjob.plan.places import absolute_uri, dataset_root, local_path, located
from octjob.plan.seeding import seeding, seeding_notes
from octjob.plan.unique import MAX_RUN_ID, PlannedRun, check_unique
from octjob.spec.accelerator import parse_accelerator
from octjob.spec.compose import Composer, experiment
from octjob.spec.effects import double_correction, idle_reason, unused_keys
from octjob.spec.experiment import Experiment
from octjob.spec.names import value_labels
from octjob.spec.run import Run, make_run_id
from octjob.spec.show import elided, shown
from octjob.spec.sweep import Checkpoint, Compute, Pair, Sweep
from octjob.spec.validate import validate
from octjob.spec.yaml import Document, KeyPath, Mark, load, merge, nested, subdocument
from octjob.storage.uri import join_uri

MAX_RUNS = 2000
MAX_UNITS = 10_000
_SPLIT = "Make several sweeps of it; with one `cache` they share features."
# A run's longest object below its folder, by far.
_LONGEST_OBJECT = 100


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
    """origin: what it is a variant of, a name in `configs`. place: where it was written, for messages."""

    name: str
    config: Experiment
    notes: tuple[str, ...]
    origin: str
    place: str
    idle_axes: frozenset[str] = frozenset()


def locate_sweep(path: Path, base: Path | None = None) -> tuple[Sweep, str]:
    """A sweep file, and the URI of the sweep's results; its configs are not read.

    Raises `SpecError`.
    """
    document = load(path)
    sweep = validate(Sweep, document, str(path))
    return sweep, _output(sweep, document, base or Path.cwd())


def _output(sweep: Sweep, document: Document, base: Path) -> str:
    with located(document, ("output",)):
        output = join_uri(absolute_uri(sweep.output, base), sweep.name)
        # Whatever a run writes has a name that the store can hold: known now, not after half of it is there.
        join_uri(output, "x" * (MAX_RUN_ID + _LONGEST_OBJECT))
    return output


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
    _check_accelerator(sweep.compute, document)
    output = _output(sweep, document, base)
    with located(document, ("cache",)):
        cache = absolute_uri(sweep.cache or join_uri(absolute_uri(sweep.output, base), "cache"), base)
    checkpoints = {}
    for name, checkpoint in sweep.checkpoints.items():
        with located(document, ("checkpoints", name, "uri")):
            uri = absolute_uri(checkpoint.uri, base)
        checkpoints[name] = checkpoint.model_copy(update={"uri": uri})
    planned = tuple(
        PlannedRun(_run(sweep, config, name, checkpoints[name], output, cache), config.origin, config.place)
        for config, name in _pairs(sweep, document, path, base)
    )
    if not planned:
        raise SpecError(f"{path}: every pair is excluded", "Loosen `exclude`.")
    check_unique(planned)
    runs = tuple(one.run for one in planned)
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
    num_units = len(seeds.seeds) * max(1, run.folds) * (1 if seeds.per_repeat else run.repeats)
    if num_units > MAX_UNITS:
        raise SpecError(
            f"{config.place}: seeds x repeats x folds is {num_units} trainings in one run, more than {MAX_UNITS}"
        )
    notes = (*config.notes, *seeding_notes(run))
    return run.model_copy(update={"run_id": make_run_id(run), "notes": notes})


def _check_accelerator(compute: Compute, document: Document) -> None:
    if compute.accelerator is None:
        return
    try:
        parse_accelerator(compute.accelerator, compute.machine_type)
    except SpecError as error:
        raise SpecError(f"{document.mark(('compute', 'accelerator'))}: {error.message}", error.hint) from None


def _check_baseline(sweep: Sweep, document: Document) -> None:
    if sweep.baseline is not None and sweep.baseline not in sweep.checkpoints:
        raise SpecError(
            f"{document.mark(('baseline',))}: baseline: no checkpoint named {shown(sweep.baseline)}",
            f"The checkpoints are {', '.join(sweep.checkpoints)}.",
        )


def _check_baseline_config(sweep: Sweep, document: Document, runs: tuple[Run, ...]) -> None:
    names = dict.fromkeys(run.config_name for run in runs)
    if sweep.baseline_config is not None and sweep.baseline_config not in names:
        raise SpecError(
            f"{document.mark(('baseline_config',))}: baseline_config: no configuration named"
            f" {shown(sweep.baseline_config)}",
            f"The configurations are {', '.join(names)}.",
        )


def _pairs(sweep: Sweep, document: Document, path: Path, base: Path) -> list[tuple[_Config, str]]:
    """Every wanted pair, configuration by configuration, so that neighbours differ in the checkpoint."""
    composer = Composer()
    configs: list[_Config] = []
    for name in sweep.configs:
        config_document = _config_document(name, sweep, document, path, composer)
        room = MAX_RUNS // len(sweep.checkpoints) - len(configs)
        configs += _grid(name, config_document, sweep, document, base, room)
    _check_axes(configs, sweep, document)
    pairs = [(config, checkpoint) for config in configs for checkpoint in sweep.checkpoints]
    everything = pairs
    for index, pattern in enumerate(sweep.exclude):
        _check_pattern(pattern, everything, document, index)
        pairs = [pair for pair in pairs if not _matches(pattern, *pair)]
    for index, pair in enumerate(sweep.include):
        config = _included(index, pair, sweep, document, path, base, composer)
        names = [name for name in sweep.checkpoints if fnmatch.fnmatchcase(name, pair.checkpoint)]
        if not names:
            raise SpecError(
                f"{document.mark(('include', index))}: include: no checkpoint matches {shown(pair.checkpoint)}",
                f"The checkpoints are {', '.join(sweep.checkpoints)}.",
            )
        pairs += [(config, name) for name in names]
        if len(pairs) > MAX_RUNS:
            raise SpecError(
                f"{document.mark(('include', index))}: include: more than {MAX_RUNS} runs", _SPLIT
            )
    return pairs


def _config_document(name: str, sweep: Sweep, document: Document, path: Path, composer: Composer) -> Document:
    entry = sweep.configs[name]
    base = Document({}, {(): document.marks[()]})
    if entry.file is not None:
        base = composer.compose(path.parent / entry.file, f"{_place(document, name)}: ")
    if sweep.data:
        data = subdocument(document, ("data",))
        marks = {("data", *key): mark for key, mark in data.marks.items()}
        base = merge(base, Document({"data": data.data}, marks))
    if entry.overrides:
        base = merge(base, subdocument(document, ("configs", name, "overrides")))
    return base


def _grid(
    name: str, document: Document, sweep: Sweep, source: Document, base: Path, room: int
) -> list[_Config]:
    """One configuration per point of the grid, named `<config>.<key>-<value>...`; at most `room`.

    An axis without effect on this configuration is left out of its product and noted.
    """
    points = {key: _overlay({key: values[0]}, source) for key, values in sweep.grid.items()}
    idle = {key: reason for key, point in points.items() if (reason := _idle(key, merge(document, point)))}
    axes = {key: values for key, values in sweep.grid.items() if key not in idle}
    if math.prod(map(len, axes.values())) > room:
        where, key = (_place(source, name), "configs") if not axes else (f"{source.mark(('grid',))}", "grid")
        raise SpecError(f"{where}: {key}: checkpoints x configs x grid is more than {MAX_RUNS} runs", _SPLIT)
    notes = tuple(f"grid axis {key} left out: {reason}" for key, reason in idle.items())
    labels = [
        [f".{key.rpartition('.')[2]}-{label}" for label in value_labels(values)]
        for key, values in axes.items()
    ]
    configs = []
    for values, suffix in zip(itertools.product(*axes.values()), itertools.product(*labels), strict=True):
        point = dict(zip(axes, values, strict=True))
        place = f"{source.mark(('grid',))}: grid: {_point(point)}" if point else _place(source, name)
        merged = merge(document, _overlay(point, source))
        config = _resolve(name + "".join(suffix), merged, base, origin=name, place=place)
        configs.append(replace(config, notes=(*config.notes, *notes), idle_axes=frozenset(idle)))
    return configs


def _point(point: dict[str, Any]) -> str:
    return elided(", ".join(f"{key} {value!r}" for key, value in point.items()), 120)


def _place(source: Document, name: str) -> str:
    return f"{source.mark(('configs', name))}: configs.{name}"


def _overlay(point: dict[str, Any], source: Document) -> Document:
    marks: dict[KeyPath, Mark] = {tuple(key.split(".")): source.marks[("grid", key)] for key in point}
    if not point:
        return Document({}, {(): source.marks[()]})
    return Document(nested(point, source.marks[("grid",)]), {**marks, (): source.marks[()]})


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


def _included(
    index: int,
    pair: Pair,
    sweep: Sweep,
    document: Document,
    path: Path,
    base: Path,
    composer: Composer,
) -> _Config:
    if pair.config not in sweep.configs:
        raise SpecError(
            f"{document.mark(('include', index))}: include: no config named {shown(pair.config)}",
            f"The configs are {', '.join(sweep.configs)}.",
        )
    config = _config_document(pair.config, sweep, document, path, composer)
    if pair.overrides:
        config = merge(config, subdocument(document, ("include", index, "overrides")))
    name = pair.name or pair.config
    place = f"{document.mark(('include', index))}: include: {name}"
    return _resolve(name, config, base, origin=pair.config, place=place)


def _resolve(name: str, document: Document, base: Path, *, origin: str, place: str) -> _Config:
    config = experiment(document, f"config {name}")
    notes = (*unused_keys(config, document), *filter(None, [double_correction(config)]))
    source = dataset_root(config, document)
    with located(document, ("data", "source")):
        places = {"source": absolute_uri(source, base)}
    if config.data.cache_dir:
        with located(document, ("data", "cache_dir")):
            places["cache_dir"] = local_path(config.data.cache_dir, base)
    data = config.data.model_copy(update=places)
    return _Config(name, config.model_copy(update={"data": data}), notes, origin, place)


def _matches(pattern: Pair, config: _Config, checkpoint: str) -> bool:
    return fnmatch.fnmatchcase(checkpoint, pattern.checkpoint) and fnmatch.fnmatchcase(
        config.name, pattern.config
    )


def _check_pattern(pattern: Pair, pairs: list[tuple[_Config, str]], document: Document, index: int) -> None:
    if not any(_matches(pattern, *pair) for pair in pairs):
        raise SpecError(
            f"{document.mark(('exclude', index))}: exclude: matches no pair"
            f" (checkpoint {shown(pattern.checkpoint)}, config {shown(pattern.config)})",
            "Correct the pattern, or remove it.",
        )

"""The pairs of a sweep: its configurations, each at every point of the grid, under its checkpoints."""

from __future__ import annotations

import fnmatch
import itertools
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from octjob.errors import SpecError
from octjob.spec.compose import Composer, experiment
from octjob.spec.effects import double_correction, idle_reason, rounded_volumes, unused_keys
from octjob.spec.experiment import Experiment
from octjob.spec.names import value_labels
from octjob.spec.places import absolute_uri, dataset_root, local_path, located
from octjob.spec.show import elided, shown
from octjob.spec.sweep import Pair, Sweep
from octjob.spec.validate import validate
from octjob.spec.yaml import Document, KeyPath, Mark, merge, nested, subdocument

MAX_RUNS = 10_000
SPLIT = "Make several sweeps of it; with one `cache` they share features."


@dataclass(frozen=True)
class NamedConfig:
    """One configuration, resolved.

    origin: what it is a variant of, a name in `configs`. place: where it was written, for messages.
    idle_axes: keys of the grid that do nothing under it.
    """

    name: str
    config: Experiment
    notes: tuple[str, ...]
    origin: str
    place: str
    idle_axes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Expansion:
    """A sweep file while it is expanded: what it says, as written, and the directory its paths are taken from."""

    sweep: Sweep
    document: Document
    path: Path
    base: Path
    composer: Composer = field(default_factory=Composer)

    def pairs(self) -> list[tuple[NamedConfig, str]]:
        """Every wanted pair, configuration by configuration, so that neighbours differ in the checkpoint.

        Raises `SpecError`.
        """
        configs: list[NamedConfig] = []
        for name in self.sweep.configs:
            room = MAX_RUNS // len(self.sweep.checkpoints) - len(configs)
            configs += self._points(name, self._config_document(name), room)
        self._check_axes(configs)
        everything = [(config, checkpoint) for config in configs for checkpoint in self.sweep.checkpoints]
        pairs = everything
        for index, pattern in enumerate(self.sweep.exclude):
            self._check_pattern(pattern, everything, index)
            pairs = [pair for pair in pairs if not _matches(pattern, *pair)]
        for index, pair in enumerate(self.sweep.include):
            pairs = pairs + self._included(index, pair)
            if len(pairs) > MAX_RUNS:
                raise SpecError(
                    f"{self.document.mark(('include', index))}: include: more than {MAX_RUNS} runs", SPLIT
                )
        return pairs

    @cached_property
    def _data(self) -> Document:
        """What the sweep says of the data, as every configuration takes it."""
        data = subdocument(self.document, ("data",))
        marks = {("data", *key): mark for key, mark in data.marks.items()}
        return Document({"data": data.data}, marks)

    def _place(self, name: str) -> str:
        return f"{self.document.mark(('configs', name))}: configs.{name}"

    def _config_document(self, name: str) -> Document:
        entry = self.sweep.configs[name]
        base = Document({}, {(): self.document.marks[()]})
        if entry.file is not None:
            base = self.composer.compose(self.path.parent / entry.file, f"{self._place(name)}: ")
        if self.sweep.data:
            base = merge(base, self._data)
        if entry.overrides:
            base = merge(base, subdocument(self.document, ("configs", name, "overrides")))
        return base

    def _points(self, name: str, document: Document, room: int) -> list[NamedConfig]:
        """One configuration per point of the grid, named `<config>.<key>-<value>...`; at most `room`.

        An axis without effect on this configuration is left out of its product and noted.
        """
        grid = self.sweep.grid
        first = {key: merge(document, self._overlay({key: values[0]})) for key, values in grid.items()}
        idle = {key: reason for key, at in first.items() if (reason := self._idle(key, at))}
        axes = {key: values for key, values in grid.items() if key not in idle}
        if math.prod(map(len, axes.values())) > room:
            where = f"{self.document.mark(('grid',))}: grid" if axes else self._place(name)
            raise SpecError(f"{where}: checkpoints x configs x grid is more than {MAX_RUNS} runs", SPLIT)
        notes = tuple(f"grid axis {key} left out: {reason}" for key, reason in idle.items())
        labels = [
            [f".{key.rpartition('.')[2]}-{label}" for label in value_labels(values)]
            for key, values in axes.items()
        ]
        configs = []
        for values, suffix in zip(itertools.product(*axes.values()), itertools.product(*labels), strict=True):
            point = dict(zip(axes, values, strict=True))
            place = self._point_place(point) if point else self._place(name)
            merged = merge(document, self._overlay(point)) if point else document
            config = self._resolve(name + "".join(suffix), merged, origin=name, place=place)
            configs.append(replace(config, notes=(*config.notes, *notes), idle_axes=frozenset(idle)))
        return configs

    def _overlay(self, point: dict[str, Any]) -> Document:
        marks: dict[KeyPath, Mark] = {
            tuple(key.split(".")): self.document.marks[("grid", key)] for key in point
        }
        data = nested(point, self.document.marks[("grid",)])
        return Document(data, {**marks, (): self.document.marks[()]})

    def _point_place(self, point: dict[str, Any]) -> str:
        values = ", ".join(f"{key} {value!r}" for key, value in point.items())
        return f"{self.document.mark(('grid',))}: grid: {elided(values, 120)}"

    def _idle(self, key: str, document: Document) -> str:
        """Why `key` does nothing in the config `document` describes; empty where it does something."""
        config = validate(Experiment, document, "grid")
        return idle_reason(key, config, seeds_listed=bool(self.sweep.seeds))

    def _check_axes(self, configs: list[NamedConfig]) -> None:
        """Raise `SpecError` for an axis that does nothing under any configuration."""
        for key in self.sweep.grid:
            if all(key in config.idle_axes for config in configs):
                raise SpecError(
                    f"{self.document.mark(('grid', key))}: grid: {key} has no effect under any configuration",
                    "Remove the axis.",
                )

    def _included(self, index: int, pair: Pair) -> list[tuple[NamedConfig, str]]:
        mark = self.document.mark(("include", index))
        if pair.config not in self.sweep.configs:
            raise SpecError(
                f"{mark}: include: no config named {shown(pair.config)}",
                f"The configs are {elided(', '.join(self.sweep.configs), 300)}.",
            )
        document = self._config_document(pair.config)
        if pair.overrides:
            document = merge(document, subdocument(self.document, ("include", index, "overrides")))
        name = pair.name or pair.config
        config = self._resolve(name, document, origin=pair.config, place=f"{mark}: include: {name}")
        names = [name for name in self.sweep.checkpoints if fnmatch.fnmatchcase(name, pair.checkpoint)]
        if not names:
            raise SpecError(
                f"{mark}: include: no checkpoint matches {shown(pair.checkpoint)}",
                f"The checkpoints are {elided(', '.join(self.sweep.checkpoints), 300)}.",
            )
        return [(config, name) for name in names]

    def _resolve(self, name: str, document: Document, *, origin: str, place: str) -> NamedConfig:
        config = experiment(document, f"config {name}")
        unused = unused_keys(config, document, seeds_listed=bool(self.sweep.seeds))
        notes = (*unused, *filter(None, [double_correction(config), rounded_volumes(config)]))
        places = {}
        if config.data.table:
            with located(document, ("data", "table")):
                places["table"] = absolute_uri(config.data.table, self.base)
        source = dataset_root(config, document)
        with located(document, ("data", "source")):
            places["source"] = absolute_uri(source, self.base)
        if config.data.cache_dir:
            with located(document, ("data", "cache_dir")):
                places["cache_dir"] = local_path(config.data.cache_dir, self.base)
        data = config.data.model_copy(update=places)
        return NamedConfig(name, config.model_copy(update={"data": data}), notes, origin, place)

    def _check_pattern(self, pattern: Pair, pairs: list[tuple[NamedConfig, str]], index: int) -> None:
        if not any(_matches(pattern, *pair) for pair in pairs):
            raise SpecError(
                f"{self.document.mark(('exclude', index))}: exclude: matches no pair"
                f" (checkpoint {shown(pattern.checkpoint)}, config {shown(pattern.config)})",
                "Correct the pattern, or remove it.",
            )


def _matches(pattern: Pair, config: NamedConfig, checkpoint: str) -> bool:
    return fnmatch.fnmatchcase(checkpoint, pattern.checkpoint) and fnmatch.fnmatchcase(
        config.name, pattern.config
    )

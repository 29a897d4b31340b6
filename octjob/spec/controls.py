"""From a sweep's controls to their runs: for what a checkpoint must be better than."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from octjob.errors import SpecError
from octjob.spec.configs import MAX_RUNS, SPLIT, NamedConfig
from octjob.spec.control_options import ENOUGH_SEEDS, ControlName
from octjob.spec.experiment import Data, Experiment, Paths, Train
from octjob.spec.section import Size3
from octjob.spec.selection import SELECTION
from octjob.spec.show import elided, shown
from octjob.spec.sweep import Checkpoint, Sweep
from octjob.spec.yaml import Document

# What the run of a control without an encoder has in place of a checkpoint's name.
CONTROL = "control"
# What run and record have in a checkpoint's place; there is no file behind it.
NO_CHECKPOINT = Checkpoint(uri="")
# What volumes (D, H, W) are resized to where neither a configuration nor the sweep says it: a few voxels for each
# that PCA takes. The sizes that files say are not known here.
_SIZE: Size3 = (32, 96, 96)
# Of `data`, what decides who takes part with which volumes, and what one scored sample is.
_SELECTION = (*SELECTION, "min_coverage", "unit")
# How volumes are made that no encoder sees; and what of that cannot change a number.
_VOLUMES = ("profile", "shared_cache", "max_corrupt")
_READING = ("num_workers", "connections", "cache_dir", "cache_limit_gib")


@dataclass(frozen=True)
class ControlRun:
    """One run of a control. name: its checkpoint's. num_shuffles: of labels, in place of training seeds."""

    control: ControlName
    name: str
    checkpoint: Checkpoint
    config: NamedConfig
    num_shuffles: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ControlExpansion:
    """A sweep's controls while they are expanded. pairs: of its other runs. checkpoints: by name, located."""

    sweep: Sweep
    document: Document
    pairs: Sequence[tuple[NamedConfig, str]]
    checkpoints: Mapping[str, Checkpoint]

    def runs(self) -> list[ControlRun]:
        """Control after control.

        Raises `SpecError`, with its line, for a name that there is none of or that a checkpoint has.
        """
        of = {
            "random_init": self._random_init,
            "target_encoder": self._target_encoder,
            "shuffled_labels": self._shuffled_labels,
        }
        runs: list[ControlRun] = []
        for name in self.sweep.control_names:
            runs += of[name]() if name in of else self._without_encoder(name)
        self._check(runs)
        return runs

    @property
    def _configs(self) -> list[NamedConfig]:
        """Each once, in the order of the runs."""
        return list({config.name: config for config, _ in self.pairs}.values())

    def _without_encoder(self, control: ControlName) -> Iterator[ControlRun]:
        """One for each selection of data among the configurations.

        Its configuration is named after the control; those after the first also after the first configuration that
        has the selection.
        """
        place = f"{self.document.mark(('controls',))}: controls"
        made: dict[str, tuple[NamedConfig, Checkpoint, Experiment]] = {}
        for config in self._configs:
            checkpoint, experiment = NO_CHECKPOINT, _selected(config.config)
            if control == "pixel_pca":
                checkpoint, experiment = self._sized(config.config), _with_volumes(config.config, experiment)
            identity = {
                "data": {name: getattr(experiment.data, name) for name in (*_SELECTION, *_VOLUMES)},
                "labels": experiment.paths.labels_tsv,
                "classes": experiment.classes.mapping,
                "size": checkpoint.volume_size,
            }
            made.setdefault(json.dumps(identity, sort_keys=True), (config, checkpoint, experiment))
        for index, (config, checkpoint, experiment) in enumerate(made.values()):
            name = f"{control}.{config.name}" if index else control
            named = NamedConfig(name, experiment, (), f"{CONTROL}.{name}", place)
            yield ControlRun(control, CONTROL, checkpoint, named)

    def _sized(self, config: Experiment) -> Checkpoint:
        """No checkpoint, but the size of the volumes that the encoders get, so that caches of volumes serve both."""
        first = next(iter(self.checkpoints.values()))
        size = config.data.augment.resize or first.volume_size or _SIZE
        return NO_CHECKPOINT.model_copy(update={"volume_size": size})

    def _random_init(self) -> Iterator[ControlRun]:
        options = self.sweep.control_options.random_init
        assert options is not None
        own = self._own("random_init")
        like = options.like or own[0]
        if like not in own:
            where = f"{self.document.mark(('controls', 'random_init', 'like'))}: controls.random_init.like"
            there = self.checkpoints.get(like)
            what = (
                f"no checkpoint named {shown(like)}"
                if there is None
                else f"{like} has backbone: {there.backbone}"
            )
            which = "" if len(own) == len(self.checkpoints) else " without a backbone"
            raise SpecError(f"{where}: {what}", f"The checkpoints{which} are {elided(', '.join(own), 300)}.")
        few = f"random_init: {options.seeds} initialisations; an interval over them needs {ENOUGH_SEEDS}"
        notes = (few,) if options.seeds < ENOUGH_SEEDS else ()
        for config in self._configs:
            for seed in range(options.seeds):
                fresh = {"untrained_seed": seed, "pretraining_participants": None}
                checkpoint = self.checkpoints[like].model_copy(update=fresh)
                yield ControlRun("random_init", f"random_init-{seed}", checkpoint, config, notes=notes)

    def _target_encoder(self) -> Iterator[ControlRun]:
        options = self.sweep.control_options.target_encoder
        assert options is not None
        own = self._own("target_encoder")
        wanted = self._matching(options.checkpoints, own, "target_encoder", "checkpoints", "checkpoint")
        for config, name in self.pairs:
            if name in wanted:
                checkpoint = self.checkpoints[name].model_copy(update={"other_encoder": True})
                yield ControlRun("target_encoder", f"target_encoder-{name}", checkpoint, config)

    def _own(self, control: ControlName) -> list[str]:
        """The checkpoints of octjob's own architecture, whose initialisation and files are known."""
        own = [name for name, one in self.checkpoints.items() if one.backbone is None]
        if not own:
            raise SpecError(
                f"{self.document.mark(('controls',))}: controls: {control} is of checkpoints without a backbone, and"
                " there is none",
                "Leave it out, or add a checkpoint of octjob's own architecture.",
            )
        return own

    def _shuffled_labels(self) -> Iterator[ControlRun]:
        options = self.sweep.control_options.shuffled_labels
        assert options is not None
        probes = [config.name for config in self._configs if config.config.mode == "probe"]
        if not probes:
            raise SpecError(
                f"{self.document.mark(('controls',))}: controls: shuffled_labels trains probes, and no configuration"
                " is one",
                "Leave it out, or add a configuration with model.freeze_encoder: true.",
            )
        configs = self._matching(
            options.configs or probes[:1], probes, "shuffled_labels", "configs", "probe config"
        )
        names = self._matching(
            options.checkpoints, list(self.checkpoints), "shuffled_labels", "checkpoints", "checkpoint"
        )
        for config, name in self.pairs:
            if name in names and config.name in configs:
                yield ControlRun(
                    "shuffled_labels",
                    f"shuffled_labels-{name}",
                    self.checkpoints[name],
                    config,
                    options.shuffles,
                )

    def _matching(
        self, patterns: Sequence[str], names: Sequence[str], control: ControlName, key: str, what: str
    ) -> set[str]:
        """The names that some pattern matches. Raises `SpecError` for a pattern that matches none."""
        found: set[str] = set()
        for index, pattern in enumerate(patterns):
            matched = fnmatch.filter(names, pattern)
            if not matched:
                where = self.document.mark(("controls", control, key, index))
                raise SpecError(
                    f"{where}: controls.{control}.{key}: no {what} matches {shown(pattern)}",
                    f"There are {elided(', '.join(names), 300)}.",
                )
            found.update(matched)
        return found

    def _check(self, runs: Sequence[ControlRun]) -> None:
        if len(self.pairs) + len(runs) > MAX_RUNS:
            raise SpecError(
                f"{self.document.mark(('controls',))}: controls: more than {MAX_RUNS} runs with them", SPLIT
            )
        taken = next((one.name for one in runs if one.name in self.sweep.checkpoints), None)
        if taken is not None:
            raise SpecError(
                f"{self.document.mark(('checkpoints', taken))}: checkpoints.{taken}: so are the runs of `controls`"
                " called",
                "Give the checkpoint another name.",
            )


def _selected(config: Experiment) -> Experiment:
    """The same people and volumes, under logistic regression to its optimum; all else by default."""
    return Experiment(
        project_name=config.project_name,
        seed=config.seed,
        paths=Paths(labels_tsv=config.paths.labels_tsv),
        data=Data(**{name: getattr(config.data, name) for name in _SELECTION}),
        classes=config.classes,
        train=Train(optimizer="LBFGS", standardize=True),
        log=config.log.model_copy(update={"images": 0}),
    )


def _with_volumes(config: Experiment, selected: Experiment) -> Experiment:
    """With volumes made and read as the configuration says."""
    same = {name: getattr(config.data, name) for name in (*_VOLUMES, *_READING)}
    return selected.model_copy(update={"data": selected.data.model_copy(update=same)})

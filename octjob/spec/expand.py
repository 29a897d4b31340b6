"""From a sweep to its runs. Pure but for reading the config files the sweep names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from octjob.errors import SpecError
from octjob.spec.accelerator import accelerator_of
from octjob.spec.backbone import backbone_notes, check_backbones, checkpoint_uri
from octjob.spec.capacity import check_capacity
from octjob.spec.compute import Compute
from octjob.spec.configs import Expansion, NamedConfig
from octjob.spec.controls import ControlExpansion, ControlRun
from octjob.spec.encoding import encodings, needs_chips
from octjob.spec.mounts import check_mounts
from octjob.spec.places import absolute_uri, located
from octjob.spec.pod import check_pod
from octjob.spec.protocol import Evaluate
from octjob.spec.run import Run, make_run_id
from octjob.spec.seeding import Seeding, seeding, seeding_notes
from octjob.spec.show import elided, shown
from octjob.spec.sweep import Checkpoint, Sweep
from octjob.spec.unique import MAX_RUN_ID, PlannedRun, check_unique
from octjob.spec.uri import join_uri
from octjob.spec.validate import validate
from octjob.spec.yaml import Document, load

MAX_UNITS = 10_000
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

    @cached_property
    def features_of(self) -> dict[str, Run]:
        """The encoding that makes a run's features, by the run's id; empty where each run encodes itself."""
        apart = self.compute.target == "kubernetes" and self.compute.probe is not None
        return encodings(self.runs) if apart else {}

    @property
    def encodings(self) -> tuple[Run, ...]:
        """What is carried out besides the runs: each encoding once."""
        return tuple({one.run_id: one for one in self.features_of.values()}.values())

    @property
    def on_chips(self) -> tuple[Run, ...]:
        """What takes an accelerator on a cluster: encodings, and the runs that have no place without chips."""
        if self.compute.probe is None:
            return self.runs
        return (*self.encodings, *(run for run in self.runs if needs_chips(run)))


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
    check_backbones(sweep.checkpoints, document)
    if sweep.compute.accelerator is not None:
        check_capacity(sweep.compute, accelerator_of(sweep.compute, document), document)
    check_pod(sweep.compute, document)
    output = _output(sweep, document, base)
    with located(document, ("cache",)):
        cache = absolute_uri(sweep.cache or join_uri(absolute_uri(sweep.output, base), "cache"), base)
    check_mounts(sweep.compute, cache, document)
    checkpoints = {}
    for name, checkpoint in sweep.checkpoints.items():
        with located(document, ("checkpoints", name, "uri")):
            uri = checkpoint_uri(checkpoint, base)
        update = {"uri": uri}
        if (ids := checkpoint.pretraining_participants) is not None:
            with located(document, ("checkpoints", name, "pretraining_participants")):
                update["pretraining_participants"] = absolute_uri(ids, base)
        checkpoints[name] = Checkpoint(**{**checkpoint.model_dump(), **update})
    pairs = Expansion(sweep, document, path, base).pairs()
    if not pairs:
        raise SpecError(f"{path}: every pair is excluded", "Loosen `exclude`.")
    controls = ControlExpansion(sweep, document, pairs, checkpoints).runs()
    planned = [
        PlannedRun(_run(sweep, config, name, checkpoints[name], output, cache), config.origin, config.place)
        for config, name in pairs
    ] + [
        PlannedRun(
            _run(sweep, one.config, one.name, one.checkpoint, output, cache, one),
            one.config.origin,
            one.config.place,
        )
        for one in controls
    ]
    check_unique(planned)
    runs = tuple(one.run for one in planned)
    _check_baseline_config(sweep, document, runs)
    return Plan(sweep.name, output, cache, sweep.baseline, sweep.compute, runs, sweep.baseline_config)


def _run(
    sweep: Sweep,
    config: NamedConfig,
    name: str,
    checkpoint: Checkpoint,
    output: str,
    cache: str,
    control: ControlRun | None = None,
) -> Run:
    evaluate = sweep.resampling
    folds = evaluate if evaluate.protocol == "folds" else None
    seeds = seeding(config.config, sweep.seeds, evaluate)
    shuffles = control.num_shuffles if control else 0
    people = dealt(evaluate)
    if shuffles:
        # Each deals the labels anew, and scores everyone once.
        seeds, people = Seeding(tuple(range(shuffles))), people | {"shares": (), "draws": 0}
    run = Run(
        sweep=sweep.name,
        run_id="",
        checkpoint_name=name,
        checkpoint=checkpoint,
        control=control.control if control else None,
        config_name=config.name,
        config=config.config,
        seeds=seeds.seeds,
        repeats=folds.repeats if folds and not shuffles else 1,
        **people,
        seed_per_repeat=seeds.per_repeat,
        output=output,
        cache=cache,
    )
    if (num_units := run.num_units) > MAX_UNITS:
        what = "seeds x (1 + shares x draws)" if run.shares else "seeds x repeats x folds"
        raise SpecError(f"{config.place}: {what} is {num_units} trainings in one run, more than {MAX_UNITS}")
    notes = (
        *config.notes,
        *seeding_notes(run),
        *backbone_notes(config.config, checkpoint.backbone),
        *(control.notes if control else ()),
    )
    return run.model_copy(update={"run_id": make_run_id(run), "notes": notes})


def dealt(evaluate: Evaluate) -> dict[str, Any]:
    """The fields of a run that say how people are dealt."""
    has_folds = evaluate.protocol == "folds" or evaluate.by == "device"
    has_shares = evaluate.protocol == "label_efficiency"
    left_out = evaluate.by is not None
    return {
        "folds": evaluate.folds if has_folds else 0,
        "fold_seed": evaluate.fold_seed if has_folds or has_shares else 0,
        "leave_out": evaluate.by,
        "min_participants": evaluate.min_participants if left_out else 1,
        "shares": tuple(share for share in evaluate.shares if share < 1) if has_shares else (),
        "draws": evaluate.draws if has_shares else 0,
    }


def _check_baseline(sweep: Sweep, document: Document) -> None:
    if sweep.baseline is not None and sweep.baseline not in sweep.checkpoints:
        raise SpecError(
            f"{document.mark(('baseline',))}: baseline: no checkpoint named {shown(sweep.baseline)}",
            f"The checkpoints are {elided(', '.join(sweep.checkpoints), 300)}.",
        )


def _check_baseline_config(sweep: Sweep, document: Document, runs: tuple[Run, ...]) -> None:
    names = dict.fromkeys(run.config_name for run in runs if run.control is None)
    if sweep.baseline_config is not None and sweep.baseline_config not in names:
        raise SpecError(
            f"{document.mark(('baseline_config',))}: baseline_config: no configuration named"
            f" {shown(sweep.baseline_config)}",
            f"The configurations are {elided(', '.join(names), 300)}.",
        )

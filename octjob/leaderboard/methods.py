"""What a paper's methods section needs of a sweep, taken from its records and computed from nothing else.

The report turns it into words. What a record does not say is None or empty here, never guessed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from octjob.evaluate.signal import num_permutations
from octjob.leaderboard.comparison import Family
from octjob.leaderboard.outcome import Outcome, Scored
from octjob.leaderboard.rows import Row
from octjob.records.openings import Opening
from octjob.spec.experiment import Log
from octjob.spec.run import Run

# Of `Result.environment`, in the order to be read.
_ENVIRONMENT = (
    "octjob", "revision", "image", "python", "torch", "torch_xla", "numpy", "scipy", "runtime", "device",
    "num_devices", "num_hosts",
)  # fmt: skip


@dataclass(frozen=True)
class Split:
    """One of the data set's splits after selection: participants and volumes by class."""

    name: str
    participants: tuple[int, ...]
    volumes: tuple[int, ...]


@dataclass(frozen=True)
class Site:
    """Participants of one site in one split: in the data set's manifest, and found with a volume."""

    name: str
    split: str
    expected: int
    found: int


@dataclass(frozen=True)
class DataUsed:
    """What one selection of the data came to. runs: how many finished runs used it.

    scored: the split that was scored; `cv` where all of train and val was, in folds.
    """

    runs: int
    scored: str
    unit: str
    source: str
    splits: tuple[Split, ...]
    sites: tuple[Site, ...]
    num_expected: int | None
    num_found: int | None
    num_quarantined: int | None


@dataclass(frozen=True)
class CheckpointUsed:
    """Pretrained weights as a run loaded them. geometry: volume and patch size, width, depth, heads.

    sha256: of the file. weights_digest: of the loaded encoder's weights, whatever file they came in. epoch: of the
    pretraining, where the file says it. weights: what they say of their training.
    """

    name: str
    uri: str
    sha256: str
    weights_digest: str
    encoder_taken: str
    geometry: Mapping[str, int | float | tuple[int, ...]]
    num_parameters: int | None
    epoch: int | None
    weights: str


@dataclass(frozen=True)
class ConfigurationUsed:
    """A configuration as it was resolved, and what its training came to over all its finished runs.

    sha256: of `config` as JSON with sorted keys and no spaces. class_weights: those of the first unit. epochs, l2:
    least and most over the units. seeds: those of the runs. selection: which epoch was scored.
    leave_out, shares, draws: see `octjob.spec.run.Run`.
    """

    name: str
    sha256: str
    config: Mapping[str, Any]
    mode: str
    seeds: tuple[int, ...]
    folds: int
    repeats: int
    fold_seed: int
    selection: str
    leave_out: str | None = None
    shares: tuple[float, ...] = ()
    draws: int = 0
    class_weights: tuple[float, ...] = ()
    epochs: tuple[int, ...] = ()
    l2: tuple[float, ...] = ()


@dataclass(frozen=True)
class RunUsed:
    """One run. spec_sha256: of the bytes of its `spec.json`; None where that cannot be read.

    environment: versions, image and device of the process that wrote the result. finished_at: seconds, UTC.
    """

    run_id: str
    spec_sha256: str | None
    config_sha256: str | None
    environment: Mapping[str, str | int] = field(default_factory=dict)
    finished_at: float | None = None
    attempts: int | None = None


@dataclass(frozen=True)
class Methods:
    """output: the sweep's URI, as the runs' specs name it. num_draws: of each bootstrap. num_permutations: of each
    run's labels. num_compared: comparisons by family. num_openings: of the test split.
    """

    output: str | None
    data: tuple[DataUsed, ...]
    checkpoints: tuple[CheckpointUsed, ...]
    configurations: tuple[ConfigurationUsed, ...]
    runs: tuple[RunUsed, ...]
    num_draws: int
    num_permutations: int
    num_compared: Mapping[Family, int]
    num_openings: int

    @property
    def wandb(self) -> Log | None:
        """Where the report is to be logged: as the first configuration says that has W&B on."""
        logs = (Log.model_validate(one.config["log"]) for one in self.configurations)
        return next((log for log in logs if log.wandb), None)


def methods(
    outcomes: Sequence[Outcome],
    rows: Sequence[Row],
    num_draws: int,
    openings: Sequence[Opening] = (),
    controls: Sequence[Outcome] = (),
) -> Methods:
    """outcomes: in the order of the sweep. rows: with their comparisons. controls: only `runs` speaks of them."""
    finished = [(one, one.scored) for one in outcomes if one.scored is not None]
    specs = [one.spec.run for one in outcomes if one.spec is not None]
    return Methods(
        output=specs[0].output if specs else None,
        data=_data(finished),
        checkpoints=_checkpoints(scored for _, scored in finished),
        configurations=_configurations(outcomes),
        runs=tuple(map(_run, (*outcomes, *controls))),
        num_draws=num_draws,
        num_permutations=num_permutations(len(finished)),
        num_compared={
            "checkpoint": sum(row.vs_checkpoint is not None for row in rows),
            "config": sum(row.vs_config is not None for row in rows),
        },
        num_openings=len(openings),
    )


def config_digest(config: Mapping[str, Any]) -> str:
    """SHA-256 of a resolved configuration, the same wherever it is written."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _config_of(run: Run) -> dict[str, Any]:
    return run.config.model_dump(mode="json")


def _run(outcome: Outcome) -> RunUsed:
    spec, scored = outcome.spec, outcome.scored
    environment: dict[str, str | int] = {}
    if scored is not None:
        said = scored.result.environment
        environment = {key: said[key] for key in _ENVIRONMENT if isinstance(said.get(key), str | int)}
    return RunUsed(
        run_id=outcome.entry.run_id,
        spec_sha256=spec.sha256 if spec else None,
        config_sha256=config_digest(_config_of(spec.run)) if spec else None,
        environment=environment,
        finished_at=scored.result.finished_at if scored else None,
        attempts=scored.result.attempts if scored else None,
    )


def _data(finished: Iterable[tuple[Outcome, Scored]]) -> tuple[DataUsed, ...]:
    """One for each thing that was selected, the most used first."""
    found = Counter(_data_of(outcome, scored) for outcome, scored in finished)
    return tuple(replace(one, runs=count) for one, count in found.most_common())


def _data_of(outcome: Outcome, scored: Scored) -> DataUsed:
    facts = scored.result.data
    coverage, quarantine = _mapping(facts, "coverage"), _mapping(facts, "quarantine")
    participants, volumes = _mapping(facts, "participants"), _mapping(facts, "volumes")
    cells = coverage.get("cells")
    return DataUsed(
        runs=0,
        scored=scored.evaluation.split,
        unit=scored.evaluation.unit,
        source=(outcome.spec.run.config.data.source or "") if outcome.spec else "",
        splits=tuple(
            Split(name, tuple(counts), tuple(volumes.get(name, ()))) for name, counts in participants.items()
        ),
        sites=tuple(
            Site(str(cell["site"]), str(cell["split"]), int(cell["expected"]), int(cell["found"]))
            for cell in (cells if isinstance(cells, list) else ())
        ),
        num_expected=_whole(coverage, "num_expected"),
        num_found=_whole(coverage, "num_found"),
        num_quarantined=_whole(quarantine, "num_quarantined"),
    )


def _checkpoints(finished: Iterable[Scored]) -> tuple[CheckpointUsed, ...]:
    """One for each name and weights, in the order of the sweep."""
    found: dict[tuple[str, str], CheckpointUsed] = {}
    for one in finished:
        said = one.result.checkpoint_report
        used = CheckpointUsed(
            name=one.result.checkpoint,
            uri=str(said.get("uri", "")),
            sha256=str(said.get("sha256", "")),
            weights_digest=str(said.get("weights_digest", "")),
            encoder_taken=str(said.get("encoder_taken", "")),
            geometry=_geometry(_mapping(said, "geometry")),
            num_parameters=_whole(said, "num_parameters"),
            epoch=_whole(said, "epoch"),
            weights=one.weights_verdict,
        )
        found.setdefault((used.name, used.weights_digest), used)
    return tuple(found.values())


def _geometry(said: Mapping[str, Any]) -> dict[str, int | float | tuple[int, ...]]:
    """Its numbers and sizes; what is neither is left out."""
    found: dict[str, int | float | tuple[int, ...]] = {}
    for key, value in said.items():
        if isinstance(value, int | float):
            found[key] = value
        elif isinstance(value, list) and all(isinstance(size, int) for size in value):
            found[key] = tuple(value)
    return found


def _configurations(outcomes: Sequence[Outcome]) -> tuple[ConfigurationUsed, ...]:
    """One for each name and content, in the order of the sweep."""
    members: dict[tuple[str, str], list[Outcome]] = {}
    for one in outcomes:
        if one.spec is not None:
            key = (one.entry.config, config_digest(_config_of(one.spec.run)))
            members.setdefault(key, []).append(one)
    return tuple(_configuration(*key, found) for key, found in members.items())


def _configuration(name: str, digest: str, outcomes: Sequence[Outcome]) -> ConfigurationUsed:
    runs = [one.spec.run for one in outcomes if one.spec is not None]
    trainings = [one.scored.result.training for one in outcomes if one.scored is not None]
    units = [unit for said in trainings for unit in said.get("units", ()) if isinstance(unit, dict)]
    weights = next((unit["class_weights"] for unit in units if unit.get("class_weights")), ())
    run = runs[0]
    return ConfigurationUsed(
        name=name,
        sha256=digest,
        config=_config_of(run),
        mode=run.config.mode,
        seeds=run.seeds,
        folds=run.folds,
        repeats=run.repeats,
        fold_seed=run.fold_seed,
        leave_out=run.leave_out,
        shares=run.shares,
        draws=run.draws,
        selection=str(trainings[0].get("selection", "")) if trainings else "",
        class_weights=tuple(map(float, weights)),
        epochs=_range(int(unit["epochs_run"]) for unit in units if _whole(unit, "epochs_run")),
        l2=_range(float(unit["l2"]) for unit in units if isinstance(unit.get("l2"), int | float)),
    )


def _range(values: Iterable[Any]) -> tuple[Any, ...]:
    """Least and most; empty without any."""
    known = sorted(values)
    return (known[0], known[-1]) if known else ()


def _mapping(said: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = said.get(key)
    return value if isinstance(value, dict) else {}


def _whole(said: Mapping[str, Any], key: str) -> int | None:
    value = said.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None

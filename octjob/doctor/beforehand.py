"""A visit before anything has been run: what tables, checkpoints and cached features say of a sweep's plan."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from octjob.doctor import cohorts, encoders, heads
from octjob.doctor.case import Planned
from octjob.doctor.examine import Findings, cached, known_labels, places_of, tables_of
from octjob.doctor.finding import Diagnosis, Finding, diagnosis
from octjob.doctor.gates.control import control
from octjob.doctor.gates.coverage import coverage
from octjob.doctor.gates.eight import eight
from octjob.doctor.gates.features import ahead
from octjob.doctor.gates.keys import keys
from octjob.doctor.gates.labels import labels
from octjob.doctor.gates.preprocessing import preprocessing
from octjob.doctor.gates.runs import runs
from octjob.doctor.gates.weights import weights
from octjob.doctor.likeness import likeness
from octjob.doctor.scans import readings
from octjob.doctor.tables import Tables
from octjob.doctor.trials import NUM_STEPS, trials
from octjob.errors import AccessError, DataError, SpecError
from octjob.evaluate.threads import plain_linear_algebra
from octjob.extras import is_installed
from octjob.spec.compose import Composer
from octjob.spec.expand import Plan, plan_sweep
from octjob.spec.run import Run
from octjob.spec.uri import HUB, parse_uri
from octjob.storage.base import ObjectNotFoundError

if TYPE_CHECKING:
    from octjob.doctor.encode import Missing

_UNTIL = "cannot be judged until run"
_UNTIL_KEYS = f"{_UNTIL}, or needs cached features of two probes that are trained by steps"


@dataclass(frozen=True)
class Intended:
    """A plan, with what its files say. reports: of checkpoints, by the run's name. refused: of those that cannot be
    loaded, the error with its hint. note: why checkpoints are not known, empty where they are."""

    file: str
    runs: Sequence[Planned]
    baseline: str | None
    tables: Sequence[Tables]
    refused: tuple[tuple[str, str], ...] = ()
    note: str = ""
    missing: Missing | None = field(default=None)


def intended(path: Path) -> Intended:
    """Read what a sweep file, or a config that names its checkpoint, is about to use; no volume is read.

    Raises:
        SpecError: a file that is neither, or invalid.
    """
    plan = _plan(path)
    wanted = [run for run in plan.runs if run.control is None]
    reports, refused, note = _reports(wanted)
    planned = [
        Planned(_name(run), run.checkpoint_name, run, reports.get(_encoder_of(run), {})) for run in wanted
    ]
    tables = tables_of(planned)
    missing = None
    if reports:
        from octjob.doctor.encode import missing_features

        missing = missing_features(planned, tables)
    return Intended(str(path), planned, plan.baseline, tables, refused, note, missing)


def examine_plan(one: Intended) -> Diagnosis:
    """Diagnose what has not been run: nothing is encoded or written; heads are trained for a moment on features that
    the cache has already."""
    with plain_linear_algebra():
        return diagnosis(one.file, 0, _findings(one))


def _findings(one: Intended) -> Findings:
    loaded = [run for run in one.runs if run.report]
    kept, note = cached(loaded) if loaded else ([], "")
    baseline = encoders.untrained_baseline(loaded, one.baseline)
    untrained = [] if baseline is None else [baseline]
    near = likeness(kept, untrained, one.tables)
    trained = [held for held in kept if held.place.checkpoint not in untrained]
    tried = trials(places_of(loaded), kept, one.tables)
    alone = [
        coverage(cohorts.listed(one.tables), one.file, cohorts.refused(one.tables)),
        labels([], known_labels(one.tables, kept, note, one.runs)),
        weights(
            encoders.loaded(loaded, one.baseline),
            encoders.apart_of(loaded),
            refused=one.refused,
            note=one.note,
        ),
        preprocessing(cohorts.prepared(one.runs)),
        runs(0, []),
        ahead([encoders.spread_of(held) for held in kept], near.of, near.between, note or near.note),
        control([], _UNTIL, readings(trained, one.tables)),
        keys(0, [], _unused(one), tried.tried, NUM_STEPS, _UNTIL_KEYS),
        Finding("training", "not judged", _UNTIL),
        Finding("optimum", "not judged", _UNTIL),
        eight(tried.learned, tried.note),
        Finding("prior", "not judged", _UNTIL),
    ]
    rests = {"features", "positive control", "eight samples"}
    return [(finding, finding.gate not in rests) for finding in alone]


def _unused(one: Intended) -> list[str]:
    """Without the key by which a config names its checkpoint: that is what it is read for here."""
    return [note for note in heads.unused(one.runs) if not note.startswith("paths.checkpoint_path ")]


def _plan(path: Path) -> Plan:
    """A config is a sweep of one run, of the checkpoint that it names."""
    content = Composer().compose(path).data
    if "checkpoints" in content or "configs" in content:
        return plan_sweep(path)
    uri = (content.get("paths") or {}).get("checkpoint_path")
    if not uri:
        raise SpecError(
            f"{path}: neither a sweep nor a config that names its checkpoint",
            "Give a sweep file, or set `paths.checkpoint_path` in the config.",
        )
    with tempfile.TemporaryDirectory() as folder:
        sweep = Path(folder) / "sweep.yaml"
        alone = {
            "name": "alone",
            "output": str(Path(folder) / "out"),
            "checkpoints": {"checkpoint": str(uri)},
            "configs": {"config": str(path.resolve())},
        }
        sweep.write_text(yaml.safe_dump(alone))
        return plan_sweep(sweep, Path.cwd())


def _name(run: Run) -> str:
    return f"{run.checkpoint_name}.{run.config_name}"


def _encoder_of(run: Run) -> str:
    """Of equal ones the same is loaded."""
    return f"{run.checkpoint.model_dump_json()} {run.config.model.encoder}"


def _is_gone(uri: str) -> bool:
    """Whether nothing is at a path of this machine: no run finds it. A bucket may be closed to this machine alone."""
    if uri.startswith(HUB):
        return False
    place = parse_uri(uri)
    return place.scheme == "file" and not os.path.exists(place.path)


def _reports(
    wanted: Sequence[Run],
) -> tuple[Mapping[str, Mapping[str, Any]], tuple[tuple[str, str], ...], str]:
    if not is_installed("torch"):
        return {}, (), "checkpoints: not read, octjob[train] is not installed"
    from octjob.doctor.encode import load

    found: dict[str, Mapping[str, Any]] = {}
    refused: dict[str, str] = {}
    notes: list[str] = []
    for run in {_encoder_of(run): run for run in wanted}.values():
        try:
            found[_encoder_of(run)] = load(run).report.to_dict()
        except DataError as error:
            refused[error.message] = error.hint
        except AccessError as error:
            if isinstance(error, ObjectNotFoundError) or _is_gone(run.checkpoint.uri):
                refused[error.message] = error.hint
                continue
            notes.append(f"checkpoints: {error.message}")
    return found, tuple(refused.items()), "; ".join(notes)

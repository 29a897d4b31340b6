"""Who was used and scored, and how their volumes were made: from results to what gates look at."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from octjob.data.flow import OTHER_SITE
from octjob.data.groups import SEEN
from octjob.doctor.case import Finished, Told
from octjob.doctor.gates.coverage import Cell, Population
from octjob.doctor.gates.labels import Scoring, passes
from octjob.doctor.gates.preprocessing import Prepared
from octjob.doctor.tables import Tables
from octjob.records.schema import Record


class _CellRecord(Record):
    site: str
    split: str
    expected: int
    found: int


class _CoverageRecord(Record):
    cells: tuple[_CellRecord, ...] = ()


class _StepRecord(Record):
    reason: str
    lost: dict[str, tuple[int, int, int]]


class _FlowRecord(Record):
    listed: dict[str, tuple[int, int, int]]
    steps: tuple[_StepRecord, ...] = ()


class _DataRecord(Record):
    coverage: _CoverageRecord = _CoverageRecord()
    flow: _FlowRecord | None = None


def populations(runs: Sequence[Finished]) -> list[Population]:
    """Distinct ones, each with the runs that share it."""
    found: dict[str, tuple[_DataRecord, list[str]]] = {}
    for run in runs:
        try:
            record = _DataRecord.model_validate(run.scored.result.data)
        except ValidationError:
            record = _DataRecord()
        found.setdefault(record.model_dump_json(), (record, []))[1].append(run.name)
    return [_population(record, names) for record, names in found.values()]


def listed(tables: Sequence[Tables]) -> list[Population]:
    """Of what the data set's tables say, before anything is read."""
    found = []
    for one in tables:
        if one.cohort is not None:
            cohort = one.cohort
            data = {"coverage": cohort.coverage.to_dict(), "flow": cohort.flow.to_dict(cohort.sizes())}
            found.append(_population(_DataRecord.model_validate(data), one.runs))
    return found


def refused(tables: Sequence[Tables]) -> tuple[tuple[str, str], ...]:
    """Errors of the lists of volumes that no run takes, each with its hint."""
    found = [one.refused for one in tables if one.refused is not None and not one.refused.is_labels]
    return tuple((one.message, one.hint) for one in found)


def _population(record: _DataRecord, names: Sequence[str]) -> Population:
    cells = tuple(Cell(c.site, c.split, c.expected, c.found) for c in record.coverage.cells)
    if record.flow is None:
        return Population(tuple(names), cells)
    listed = sum(size[0] for size in record.flow.listed.values())
    steps = [step for step in record.flow.steps if step.reason == OTHER_SITE]
    unselected = sum(size[0] for step in steps for size in step.lost.values())
    return Population(tuple(names), cells, listed, unselected)


def scorings(runs: Sequence[Finished]) -> list[Scoring]:
    """Of every run, its predictions."""
    return [_scoring(run) for run in runs]


def _scoring(run: Finished) -> Scoring:
    table = run.scored.predictions
    groups = run.scored.result.data.get("groups")
    seen = groups.get("pretraining") if isinstance(groups, dict) else None
    return Scoring(
        name=run.name,
        participant_N=table.participant,
        pass_N=passes(table.seed, table.repeat),
        fold_N=table.fold,
        label_N=table.label,
        logits_NK=table.logits_NK,
        coding="" if run.spec is None else str(sorted(run.spec.config.classes.mapping.items())),
        pretrained_on=sum(group == SEEN for group in seen.values()) if isinstance(seen, dict) else None,
    )


def merged(runs: Sequence[Told]) -> tuple[tuple[str, ...], ...]:
    """Study groups that some run takes for one class; those of one class together."""
    found: dict[tuple[str, ...], None] = {}
    for run in runs:
        groups: dict[int, list[str]] = {}
        for name, label in (run.spec.config.classes.mapping if run.spec else {}).items():
            groups.setdefault(label, []).append(name)
        found.update(dict.fromkeys(tuple(names) for names in groups.values() if len(names) > 1))
    return tuple(found)


def prepared(runs: Sequence[Told]) -> list[Prepared]:
    """How each run makes its volumes. Backbones of others have no pretraining on profiles that one could miss."""
    found = []
    for run in runs:
        if run.spec is not None and run.spec.checkpoint.backbone is not None:
            continue
        data = None if run.spec is None else run.spec.config.data
        geometry = run.report.get("geometry") or {}
        size = tuple(geometry.get("volume_size") or ())
        profile, dtype = ("", "") if data is None else (data.profile, data.volume_dtype)
        found.append(Prepared(run.name, run.checkpoint, profile, size, dtype))
    return found

"""What is to be prepared for a sweep, and what became of it: preprocessed volumes in its cache, part by part.

<cache>/preparations/<digest>.json                    runs that stand for all that read the same volumes
                     <digest>/<part>-of-<parts>.json  what became of a part
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from typing import Any

from octjob.errors import SpecError
from octjob.records.layout import encode, read_record
from octjob.records.schema import SCHEMA_VERSION, Record
from octjob.spec.expand import Plan
from octjob.spec.run import Run
from octjob.spec.selection import SELECTION
from octjob.spec.uri import join_uri
from octjob.storage.base import AlreadyExistsError, ObjectNotFoundError, ObjectStore

_FOLDER = "preparations"
# The keys of a config's `data` that decide which volumes are read, and as what.
_SELECTION = {*SELECTION, "profile", "shared_cache"}


class Preparation(Record):
    """runs: one for each selection of volumes and checkpoint, with shared volumes all of them. cache: URI."""

    schema_version: int = SCHEMA_VERSION
    sweep: str
    cache: str
    runs: tuple[Run, ...]

    @property
    def digest(self) -> str:
        """16 hex digits of its content."""
        return hashlib.sha256(encode(self)).hexdigest()[:16]


class Refused(Record):
    """A volume that cannot be used, and why."""

    participant: str
    sop_instance_uid: str
    uri: str
    reason: str


class PartReport(Record):
    """What became of one part: how many volumes it has, were there before, were made now, and cannot be used.

    bytes_made: of the objects that were written.
    """

    schema_version: int = SCHEMA_VERSION
    num_volumes: int
    num_there: int
    num_made: int
    bytes_made: int
    refused: tuple[Refused, ...] = ()


def preparation_of(plan: Plan) -> Preparation:
    """What a sweep's runs need of the shared cache.

    Raises `SpecError` where none of them shares volumes.
    """
    chosen: dict[str, Run] = {}
    for run in plan.runs:
        if run.config.data.shared_cache:
            chosen.setdefault(json.dumps(_selection(run), sort_keys=True), run)
    if not chosen:
        raise SpecError(
            f"{plan.name}: no run shares preprocessed volumes, so there is nothing to prepare",
            "Write `data: {shared_cache: float16}` into the sweep, or float32 to keep all bits.",
        )
    return Preparation(sweep=plan.name, cache=plan.cache, runs=tuple(chosen.values()))


def _selection(run: Run) -> dict[str, Any]:
    return {
        # Which of the file's weights are taken, or none of them, is nothing to the volumes.
        "checkpoint": run.checkpoint.model_dump(mode="json", exclude={"untrained_seed", "other_encoder"}),
        "encoder": run.config.model.encoder,
        "data": run.config.data.model_dump(mode="json", include=_SELECTION),
        "labels": run.config.paths.labels_tsv,
        "classes": run.config.classes.model_dump(mode="json"),
        "folds": run.is_pooled,
    }


def preparation_uri(preparation: Preparation) -> str:
    """Where it is stored; the inverse of `split_preparation_uri`."""
    return join_uri(preparation.cache, _key(preparation))


def write_preparation(store: ObjectStore, preparation: Preparation) -> None:
    """Store it in the sweep's cache, where it may be already."""
    with contextlib.suppress(AlreadyExistsError):
        store.put(_key(preparation), encode(preparation), if_absent=True)


def read_preparation(store: ObjectStore, name: str) -> Preparation:
    """The preparation `<digest>.json` in a sweep's cache."""
    return read_record(store, f"{_FOLDER}/{name}", Preparation)


def split_preparation_uri(uri: str) -> tuple[str, str]:
    """`<cache>/preparations/<digest>.json` as (cache, `<digest>.json`).

    Raises `SpecError` for anything else.
    """
    head, _, name = uri.rpartition("/")
    cache, _, folder = head.rpartition("/")
    if folder != _FOLDER or not cache or not name.endswith(".json"):
        raise SpecError(
            f"{uri}: not a preparation", "`octjob prepare --matrix FILE --target kubernetes` writes one."
        )
    return cache, name


def write_report(store: ObjectStore, digest: str, part: int, parts: int, report: PartReport) -> None:
    """Store what became of part `part` of `parts`, in place of an earlier report."""
    store.put(_report_key(digest, part, parts), encode(report))


def read_reports(store: ObjectStore, digest: str, parts: int) -> list[PartReport | None]:
    """The reports of all parts in order; None for a part that has not ended."""

    def report(part: int) -> PartReport | None:
        try:
            return read_record(store, _report_key(digest, part, parts), PartReport)
        except ObjectNotFoundError:
            return None

    return [report(part) for part in range(parts)]


def total(reports: Iterable[PartReport]) -> PartReport:
    """Several parts as one."""
    found = list(reports)
    refused = {one.sop_instance_uid: one for report in found for one in report.refused}
    return PartReport(
        num_volumes=sum(report.num_volumes for report in found),
        num_there=sum(report.num_there for report in found),
        num_made=sum(report.num_made for report in found),
        bytes_made=sum(report.bytes_made for report in found),
        refused=tuple(refused.values()),
    )


def _key(preparation: Preparation) -> str:
    return f"{_FOLDER}/{preparation.digest}.json"


def _report_key(digest: str, part: int, parts: int) -> str:
    return f"{_FOLDER}/{digest}/{part}-of-{parts}.json"

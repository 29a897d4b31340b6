"""The leaderboard that `octjob collect` stored, for what is drawn from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from octjob.errors import AccessError, DataError
from octjob.leaderboard.board import Leaderboard
from octjob.leaderboard.export import LEADERBOARD_SCHEMA
from octjob.records.examples import read_examples
from octjob.records.layout import LEADERBOARD, finished_runs, read_sweep
from octjob.spec.experiment import Experiment
from octjob.storage.base import ObjectNotFoundError, ObjectStore

KEY = f"{LEADERBOARD}/leaderboard.json"

# Keys that came within the schema's version; a document of before lacks them.
_NEEDED = {
    "headline", "details", "class_short_names", "checkpoints", "examples", "feature_maps", "flows", "methods",
    "label_efficiency", "next_steps", "secondary",
}  # fmt: skip


def read_leaderboard(store: ObjectStore) -> dict[str, Any]:
    """The document of the sweep at the store's root.

    Raises:
        AccessError: no sweep here, none collected yet, or runs have finished since.
        DataError: damaged, or of another version.
    """
    sweep = read_sweep(store)
    again = _again(store)
    try:
        data = store.get(KEY)
    except ObjectNotFoundError:
        raise AccessError(f"{store.uri(KEY)}: not there: the sweep was not collected yet", again) from None
    document = _parsed(data)
    if document is None:
        raise DataError(f"{store.uri(KEY)}: damaged: it is no JSON object", again)
    if document.get("schema") != LEADERBOARD_SCHEMA or not document.keys() >= _NEEDED:
        raise DataError(
            f"{store.uri(KEY)}: written by another version of octjob ({document.get('schema')})", again
        )
    if _knows_no_lift(document):
        raise DataError(f"{store.uri(KEY)}: written by an earlier octjob, which knew no lift", again)
    if fault := _fault(document):
        raise DataError(f"{store.uri(KEY)}: damaged: {fault}", again)
    known = _run_ids(row for row in document["rows"] if row["state"] == "Succeeded")
    unread = {row["run_id"] for row in document["rows"] if row["state"] == "Unreadable"}
    planned = {entry.run_id for entry in sweep.runs}
    new = (finished_runs(store) & planned) - known - unread
    if new or _run_ids(document["rows"]) != planned:
        finished = "1 run has finished" if len(new) == 1 else f"{len(new)} runs have finished"
        what = finished if new else "the sweep was submitted with other runs"
        raise AccessError(f"{store.uri(KEY)}: {what} since it was collected", again)
    return document


def _knows_no_lift(document: Mapping[str, Any]) -> bool:
    """Rows got their lift within the schema's version."""
    rows = document.get("rows")
    there = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return bool(there) and not any("lift" in row for row in there)


def _run_ids(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    """Of the rows, and of the initialisations that they fold."""
    return {run_id for row in rows for run_id in (row["run_id"], *row["members"])}


def read_beside(store: ObjectStore, document: Mapping[str, Any], ending: str) -> bytes:
    """The leaderboard's file of another form, `md` or `csv`, of the same collection as the document.

    Raises:
        AccessError: not there.
        DataError: of another collection, or damaged.
    """
    key = f"{LEADERBOARD}/leaderboard.{ending}"
    try:
        data = store.get(key)
    except ObjectNotFoundError:
        raise AccessError(f"{store.uri(key)}: not there", _again(store)) from None
    if hashlib.sha256(data).hexdigest() != document["sha256"][ending]:
        raise DataError(
            f"{store.uri(key)}: not the file that {store.uri(KEY)} was stored with", _again(store)
        )
    return data


def read_images(store: ObjectStore, document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The examples that the document names, by run id, as `examples.json` has them. Raises as `read_examples`."""
    return {
        one["run_id"]: read_examples(store, one["run_id"], one["sha256"]).model_dump(
            mode="json", by_alias=True
        )
        for one in document["examples"]
    }


def sentence(document: Mapping[str, Any]) -> str:
    """The headline as one text."""
    return "".join(part["text"] for part in document["headline"]["parts"])


def _again(store: ObjectStore) -> str:
    return f"`octjob collect {store.root}` makes it anew."


def _fault(document: Mapping[str, Any]) -> str:
    """What is not as the schema has it, where anything is: everything that draws the document relies on it."""
    if not isinstance(document.get("sha256"), dict) or not document["sha256"].keys() >= {"md", "csv"}:
        return "sha256 lacks the other files"
    schema = TypeAdapter(Leaderboard)
    where: tuple[str, ...] = ()
    try:
        whole = schema.dump_python(schema.validate_python(document), mode="json")
        for number, one in enumerate(document["methods"]["configurations"]):
            where = ("methods", "configurations", str(number), "config")
            Experiment.model_validate(one["config"])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, (*where, *first['loc'])))}: {first['msg']}"
    # A key that has a default is written all the same, and relied on.
    return _lacking(document, whole) or _dangling(document)


def _lacking(there: Any, wanted: Any, where: str = "") -> str:
    """The first key that a document lacks."""
    if isinstance(wanted, dict):
        if missing := [key for key in wanted if key not in there]:
            return f"{where}{missing[0]} is missing"
        inside = ((str(key), there[key], value) for key, value in wanted.items())
    elif isinstance(wanted, list):
        inside = ((str(k), there[k], value) for k, value in enumerate(wanted))
    else:
        return ""
    return next(
        (found for key, one, value in inside if (found := _lacking(one, value, f"{where}{key}."))), ""
    )


def _dangling(document: Mapping[str, Any]) -> str:
    """A run that is spoken of without a row, or without what the methods say of each."""
    rows = {row["run_id"] for row in document["rows"]}
    told = {one["run_id"] for one in document["methods"]["runs"]}
    named = {one["run_id"] for one in document["details"]}
    named |= {document["headline"][key] for key in ("leader", "rival")} - {None}
    if stray := sorted(named - rows):
        return f"{stray[0]} is named, and has no row"
    return f"methods.runs lacks {min(rows - told)}" if rows - told else ""


def _parsed(data: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(data)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None

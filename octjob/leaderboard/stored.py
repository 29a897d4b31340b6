"""The leaderboard that `octjob collect` stored, for what is drawn from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from octjob.errors import AccessError, DataError
from octjob.leaderboard.export import LEADERBOARD_SCHEMA
from octjob.records.layout import LEADERBOARD, finished_runs, read_sweep
from octjob.storage.base import ObjectNotFoundError, ObjectStore

KEY = f"{LEADERBOARD}/leaderboard.json"

# Keys that came within the schema's version; a document of before lacks them.
_NEEDED = {"headline", "details", "class_short_names", "checkpoints", "feature_maps", "flows"}


def read_leaderboard(store: ObjectStore) -> dict[str, Any]:
    """The document of the sweep at the store's root.

    Raises:
        AccessError: no sweep here, none collected yet, or runs have finished since.
        DataError: damaged, or of another version.
    """
    sweep = read_sweep(store)
    again = f"`octjob collect {store.root}` makes it anew."
    try:
        data = store.get(KEY)
    except ObjectNotFoundError:
        raise AccessError(f"{store.uri(KEY)}: not there: the sweep was not collected yet", again) from None
    document = _parsed(data)
    if document is None:
        raise DataError(f"{store.uri(KEY)}: damaged", again)
    if document.get("schema") != LEADERBOARD_SCHEMA or not document.keys() >= _NEEDED:
        raise DataError(
            f"{store.uri(KEY)}: written by another version of octjob ({document.get('schema')})", again
        )
    known = {row["run_id"] for row in document["rows"] if row["state"] == "Succeeded"}
    unread = {row["run_id"] for row in document["rows"] if row["state"] == "Unreadable"}
    planned = {entry.run_id for entry in sweep.runs}
    new = (finished_runs(store) & planned) - known - unread
    if new or {row["run_id"] for row in document["rows"]} != planned:
        what = f"{len(new)} runs have finished" if new else "the sweep was submitted with other runs"
        raise AccessError(f"{store.uri(KEY)}: {what} since it was collected", again)
    return document


def sentence(document: Mapping[str, Any]) -> str:
    """The headline as one text."""
    return "".join(part["text"] for part in document["headline"]["parts"])


def _parsed(data: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(data)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None

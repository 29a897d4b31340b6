"""Encodings that are begun again: what is said of their last attempt is no longer the end of them."""

from __future__ import annotations

from collections.abc import Iterable

from octjob.records.layout import PROGRESS, encode, read_progress, run_key
from octjob.storage.base import ObjectStore


def begin_again(store: ObjectStore, encodings: Iterable[str]) -> None:
    """Mark these as interrupted where their last attempt failed, before their JobSets are created.

    Runs that wait for their features read it, and begin to wait perhaps long before the encoding has its slice.
    """
    for run_id in encodings:
        progress = read_progress(store, run_id)
        if progress is not None and progress.stage == "failed":
            again = progress.model_copy(update={"stage": "interrupted", "failure": None})
            store.put(run_key(run_id, PROGRESS), encode(again))

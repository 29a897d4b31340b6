"""From a person's words to a sweep in a store and to runs: the one rule, for stores and clusters alike."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from octjob.errors import AccessError, SpecError
from octjob.records.layout import read_sweep
from octjob.records.schema import RunEntry
from octjob.spec.file import is_sweep_file
from octjob.storage.base import ObjectStore
from octjob.storage.open import open_store

T = TypeVar("T")

_NUM_SHOWN = 5


def matching_runs(text: str, runs: Iterable[T], entry: Callable[[T], RunEntry]) -> list[T]:
    """Those of the runs that `text` names: by id, else by CHECKPOINT.CONFIG, else by the beginning of the id.

    entry: gives a run's names. Several are ambiguous unless they are of one run.
    """
    named = [(one, entry(one)) for one in runs]
    tests: tuple[Callable[[RunEntry], bool], ...] = (
        lambda names: names.run_id == text,
        lambda names: f"{names.checkpoint}.{names.config}" == text,
        lambda names: names.run_id.startswith(text),
    )
    for test in tests:
        found = [one for one, names in named if test(names)]
        if found:
            return found
    return []


def open_sweep(text: str) -> ObjectStore:
    """The store at a submitted sweep: `text` is its URI or directory, or the sweep file it was made from.

    Raises:
        SpecError: a sweep file that is missing or invalid, or not a URI.
    """
    if is_sweep_file(text):
        from octjob.spec.expand import plan_sweep

        return open_store(plan_sweep(Path(text)).output)
    return open_store(text)


def find_run(store: ObjectStore, name: str) -> str:
    """The id of the run of a submitted sweep that `name` means: an id, CHECKPOINT.CONFIG or a unique prefix.

    Raises:
        AccessError: none of them; names the nearest.
        SpecError: several.
    """
    sweep = read_sweep(store)
    runs = (*sweep.runs, *sweep.encodings)
    found = [one.run_id for one in matching_runs(name, runs, lambda one: one)]
    if len(found) == 1:
        return found[0]
    if found:
        raise SpecError(
            f"{name}: {len(found)} runs begin so: {', '.join(found[:_NUM_SHOWN])}", "Give more of the id."
        )
    near = difflib.get_close_matches(name, [one.run_id for one in runs], n=3, cutoff=0.5)
    hint = f"There is {', '.join(near)}." if near else f"`octjob status {store.root}` shows its runs."
    raise AccessError(f"no run {name} in {store.root}", hint)

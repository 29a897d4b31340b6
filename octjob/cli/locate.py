"""From what a user types for a sweep to the store that holds it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from octjob.storage.base import ObjectStore

_SWEEP_FILES = (".yaml", ".yml")


def open_sweep(text: str) -> ObjectStore:
    """The store at a submitted sweep: `text` is its URI or directory, or the sweep file it was made from.

    Raises:
        SpecError: a sweep file that is missing or invalid, or not a URI.
    """
    from octjob.storage import open_store

    if text.endswith(_SWEEP_FILES):
        from octjob.plan.expand import plan_sweep

        return open_store(plan_sweep(Path(text)).output)
    return open_store(text)

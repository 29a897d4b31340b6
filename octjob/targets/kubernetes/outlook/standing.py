"""Where a sweep's runs stand for one who waits for results, by the same look that `octjob status` takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from octjob.records.wait import Standing, Standings

if TYPE_CHECKING:
    from octjob.records.status import RunStatus


def standings(runs: Iterable[RunStatus]) -> Standings:
    """From a look at a cluster. What nothing more will come of is not waited for, nor what is superseded."""
    return Standings({one.run_id: _standing(one) for one in runs if not one.superseded})


def _standing(one: RunStatus) -> Standing:
    if one.has_result:
        return "result"
    if one.phase in ("not submitted", "ending"):
        return "gone"
    return "failed" if one.final else "open"

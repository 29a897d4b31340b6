"""Where a sweep's runs stand for one who waits for results, by the same look that `octjob status` takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from octjob.records.wait import Standings, standings

if TYPE_CHECKING:
    from octjob.records.status import RunStatus


def on_cluster(runs: Iterable[RunStatus]) -> Standings:
    """From a look at a cluster. What nothing more will come of is not waited for, nor what is superseded."""
    return standings((one for one in runs if not one.superseded), gone=_gone)


def _gone(one: RunStatus) -> bool:
    return not one.jobset or one.state == "Ending"

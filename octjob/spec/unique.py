"""No run is planned twice, under whatever name, and no name means two things."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from octjob.errors import SpecError
from octjob.spec.experiment import Experiment
from octjob.spec.run import Run

# With what stores put behind it (a temporary's suffix) it stays one name of a file system, which has 255.
MAX_RUN_ID = 200


@dataclass(frozen=True)
class PlannedRun:
    """A run, the name in `configs` it is a variant of, and where it was written: file, line and key."""

    run: Run
    origin: str
    place: str


def check_unique(planned: Iterable[PlannedRun]) -> None:
    """Raise `SpecError`, naming both places, for the first run that is planned twice or whose name is taken."""
    configs: dict[str, tuple[Experiment, str]] = {}
    pairs: dict[tuple[str, str], str] = {}
    digests: dict[tuple[str, str, str], str] = {}
    for one in planned:
        run = one.run
        if len(run.run_id) > MAX_RUN_ID:
            raise SpecError(
                f"{one.place}: its run id has {len(run.run_id)} characters, more than {MAX_RUN_ID}",
                "Shorten the names, or write the points of the grid as `configs`.",
            )
        config, place = configs.setdefault(run.config_name, (run.config, one.place))
        if config != run.config:
            raise SpecError(
                f"{one.place}: {run.config_name} means another configuration already, that of {place}",
                "Give it a `name` of its own.",
            )
        pair = (run.checkpoint_name, run.config_name)
        if pair in pairs:
            raise SpecError(
                f"{one.place}: {' under '.join(pair)} is planned already by {pairs[pair]}",
                "Remove one of the two.",
            )
        pairs[pair] = one.place
        same = (run.checkpoint_name, one.origin, run.run_id.rpartition("-")[2])
        if same in digests:
            raise SpecError(
                f"{one.place}: would train the same as {digests[same]}: nothing that differs can change a result",
                "Remove one of the two.",
            )
        digests[same] = one.place

"""What the doctor sees in the records that a table is made of, without reading anything more.

The gates that come first, in their order; features, heads and the data set's tables are left to `octjob doctor`.
"""

from __future__ import annotations

from collections.abc import Sequence

from octjob.doctor import cohorts, encoders
from octjob.doctor.case import Finished
from octjob.doctor.failures import failed_runs
from octjob.doctor.gates.coverage import coverage
from octjob.doctor.gates.labels import labels
from octjob.doctor.gates.preprocessing import preprocessing
from octjob.doctor.gates.runs import runs
from octjob.doctor.gates.weights import weights
from octjob.leaderboard.board import Leaderboard
from octjob.leaderboard.gates import Gate
from octjob.leaderboard.outcome import Outcome

# For the command that a cure names: which file the sweep was submitted from is not recorded.
_MATRIX = "sweep.yaml"


def glance(board: Leaderboard, outcomes: Sequence[Outcome]) -> tuple[Gate, ...]:
    """What the gates say of the runs; nothing where none has ended."""
    own = [
        Finished(
            f"{one.entry.checkpoint}.{one.entry.config}",
            one.scored,
            None if one.spec is None else one.spec.run,
        )
        for one in outcomes
        if one.scored is not None and one.entry.control is None
    ]
    failed = [one for _, one in failed_runs(outcomes)]
    if not own and not failed:
        return ()
    found = (
        coverage(cohorts.populations(own), _MATRIX),
        labels(cohorts.scorings(own)),
        weights(encoders.loaded(own, board.baseline), encoders.apart(board)),
        preprocessing(cohorts.prepared(own)),
        runs(len(own), failed),
    )
    return tuple(Gate(one.gate, one.verdict, one.said, one.cure) for one in found)

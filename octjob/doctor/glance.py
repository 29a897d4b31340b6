"""What the doctor sees in the records that a table is made of, without reading anything more.

What takes histories, cached features or the data set's tables is left to `octjob doctor`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from octjob.doctor import cohorts, encoders, heads
from octjob.doctor.case import Finished
from octjob.doctor.failures import failed_runs
from octjob.doctor.finding import Finding, diagnosis
from octjob.doctor.gates.coverage import coverage
from octjob.doctor.gates.features import features
from octjob.doctor.gates.labels import labels
from octjob.doctor.gates.preprocessing import preprocessing
from octjob.doctor.gates.prior import prior
from octjob.doctor.gates.runs import runs
from octjob.doctor.gates.weights import weights
from octjob.leaderboard.board import Leaderboard
from octjob.leaderboard.gates import Gate
from octjob.leaderboard.lifts import RANDOM_INIT
from octjob.leaderboard.outcome import Outcome

# For the command that a cure names: which file the sweep was submitted from is not recorded.
_MATRIX = "sweep.yaml"


def glance(board: Leaderboard, outcomes: Sequence[Outcome]) -> tuple[Gate, ...]:
    """What the gates say of the runs; nothing where none has ended."""
    own, references = _finished(outcomes, None), _finished(outcomes, RANDOM_INIT)
    failed = [one for _, one in failed_runs(outcomes)]
    if not own and not failed:
        return ()
    pretrained = [run for run in own if run.checkpoint != board.baseline]
    findings = (
        (coverage(cohorts.populations(own), _MATRIX), True),
        (labels(cohorts.scorings(own)), True),
        (weights(encoders.loaded(own, board.baseline), encoders.apart(board)), True),
        (preprocessing(cohorts.prepared(own)), True),
        (runs(len(own), failed), True),
        (_as_it_stands(_features(board, own, references), "the data set's tables are"), False),
        (_as_it_stands(prior(heads.gains(pretrained or own)), "training is"), False),
    )
    said = diagnosis("", len(own), findings).findings
    return tuple(Gate(one.gate, one.verdict, one.said, one.cure) for one in said)


def _finished(outcomes: Sequence[Outcome], control: str | None) -> list[Finished]:
    return [
        Finished(
            f"{one.entry.checkpoint}.{one.entry.config}",
            one.scored,
            None if one.spec is None else one.spec.run,
        )
        for one in outcomes
        if one.scored is not None and one.entry.control == control
    ]


def _features(board: Leaderboard, own: Sequence[Finished], references: Sequence[Finished]) -> Finding:
    untrained = encoders.untrained_names(own, references, board.baseline)
    lifts = encoders.lifts(board, own, untrained)
    return features(untrained, lifts, encoders.spreads(board, {run.checkpoint for run in own}))


def _as_it_stands(finding: Finding, first: str) -> Finding:
    """Told, and never a cause here: what may hide behind it takes more than records."""
    if finding.verdict != "failed":
        return finding
    said = f"cannot be judged until {first} (`octjob doctor`); as it stands: {finding.said}"
    return replace(finding, verdict="not judged", said=said, cure="")

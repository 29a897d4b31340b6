"""Encoders and their features: from results and the leaderboard to what gates look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from octjob.doctor.case import Finished
from octjob.doctor.gates.control import Plane
from octjob.doctor.gates.features import Lift, Spread
from octjob.doctor.gates.weights import Apart, Loaded
from octjob.leaderboard.board import Leaderboard
from octjob.leaderboard.checkpoints import checkpoint_record
from octjob.leaderboard.feature_maps import Explained


def loaded(runs: Sequence[Finished], baseline: str | None) -> list[Loaded]:
    """Distinct encoders, in the order of the runs."""
    found: dict[tuple[str, str, str], Loaded] = {}
    for run in runs:
        record = checkpoint_record(run.scored)
        one = Loaded(
            checkpoint=run.checkpoint,
            run=run.name,
            uri=str(run.report.get("uri", "")),
            encoder_taken=record.encoder_taken,
            verdict=run.scored.weights_verdict,
            epoch=record.epoch,
            distance=record.from_initialisation,
            digest=record.weights_digest,
            reference=run.checkpoint == baseline or run.scored.result.control == "random_init",
        )
        found.setdefault((one.checkpoint, one.encoder_taken, one.digest), one)
    return list(found.values())


def apart(board: Leaderboard) -> list[Apart]:
    """The pairs of checkpoints."""
    return [Apart(pair.first, pair.second, pair.distance) for pair in board.checkpoints.pairs]


def untrained_baseline(runs: Sequence[Finished], baseline: str | None) -> str | None:
    """The sweep's baseline, where its weights say that they are untrained, or barely trained."""
    verdicts = {run.scored.weights_verdict for run in runs if run.checkpoint == baseline}
    return baseline if verdicts and verdicts <= {"untrained", "barely trained"} else None


def lifts(board: Leaderboard, runs: Sequence[Finished]) -> list[Lift]:
    """Of the probes that the leaderboard compares with the baseline checkpoint."""
    probes = {run.scored.result.run_id for run in runs if run.scored.result.mode == "probe"}
    found = []
    for row in board.rows:
        one, value = row.vs_checkpoint, row.value(board.metric)
        if one is None or value is None or row.run_id not in probes:
            continue
        if one.difference is not None and one.low is not None and one.high is not None:
            numbers = (value - one.difference, one.difference, one.low, one.high, one.p_holm)
            found.append(Lift(row.name, row.checkpoint, board.metric, *numbers))
    return found


def spreads(board: Leaderboard, names: Iterable[str]) -> list[Spread]:
    """Of the checkpoints `names` that recorded where their features lie."""
    wanted = set(names)
    maps = [one for one in board.feature_maps if not one.missing and one.checkpoint in wanted]
    return [Spread(one.checkpoint, varies=any(one.axes)) for one in maps]


def planes(board: Leaderboard, names: Iterable[str]) -> list[Plane]:
    """Of the checkpoints `names` that recorded where their features lie."""
    wanted = set(names)
    return [
        Plane(
            one.checkpoint,
            np.stack([np.array(one.x), np.array(one.y)], axis=1),
            np.array(one.label, np.int64),
            np.array(one.device, np.int64),
            _times(one.explained.get("device")),
            _times(one.explained.get("class")),
        )
        for one in board.feature_maps
        if not one.missing and one.checkpoint in wanted and one.x
    ]


def _times(one: Explained | None) -> float:
    return one.share / one.expected if one is not None and one.expected > 0 else 0.0

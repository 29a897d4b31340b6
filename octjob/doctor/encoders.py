"""Encoders and their features: from results and the leaderboard to what gates look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from octjob.doctor.cached import Held
from octjob.doctor.case import Finished, Told
from octjob.doctor.gates.control import Plane
from octjob.doctor.gates.features import Lift, Spread
from octjob.doctor.gates.weights import Apart, Loaded
from octjob.errors import DataError
from octjob.evaluate import paired_difference
from octjob.leaderboard.board import Leaderboard
from octjob.leaderboard.checkpoints import report_distance, report_record
from octjob.leaderboard.feature_maps import Explained
from octjob.leaderboard.lifts import architectures_differ

# Of more checkpoints, pairs are many.
_MAX_PAIRS = 66


def loaded(runs: Sequence[Told], baseline: str | None) -> list[Loaded]:
    """Distinct encoders, in the order of the runs."""
    found: dict[tuple[str, str, str], Loaded] = {}
    for run in runs:
        record = report_record(run.report)
        one = Loaded(
            checkpoint=run.checkpoint,
            run=run.name,
            uri=str(run.report.get("uri", "")),
            encoder_taken=record.encoder_taken,
            verdict=record.fingerprint.verdict,
            epoch=record.epoch,
            distance=record.from_initialisation,
            digest=record.weights_digest,
            reference=run.checkpoint == baseline,
            options=_options(run.report),
        )
        found.setdefault((one.checkpoint, one.encoder_taken, one.digest), one)
    return list(found.values())


def _options(report: Mapping[str, Any]) -> str:
    backbone = report.get("backbone")
    return "" if not isinstance(backbone, Mapping) else str(sorted((backbone.get("options") or {}).items()))


def apart_of(runs: Sequence[Told]) -> list[Apart]:
    """The pairs of checkpoints, before there is a table of them."""
    first = {run.checkpoint: run.report for run in reversed(runs) if run.report}
    pairs = list(combinations(sorted(first), 2))[:_MAX_PAIRS]
    return [Apart(a, b, report_distance(first[a], first[b])) for a, b in pairs]


def apart(board: Leaderboard) -> list[Apart]:
    """The pairs of checkpoints."""
    return [Apart(pair.first, pair.second, pair.distance) for pair in board.checkpoints.pairs]


def untrained_baseline(runs: Sequence[Told], baseline: str | None) -> str | None:
    """The sweep's baseline, where its weights say that they are untrained, or barely trained."""
    verdicts = {report_record(run.report).fingerprint.verdict for run in runs if run.checkpoint == baseline}
    return baseline if verdicts and verdicts <= {"untrained", "barely trained"} else None


def untrained_names(
    runs: Sequence[Finished], references: Sequence[Finished], baseline: str | None
) -> list[str]:
    """The baseline, where it is untrained, and the random initialisations, which `references` are runs of."""
    first = untrained_baseline(runs, baseline)
    return [*([] if first is None else [first]), *dict.fromkeys(run.checkpoint for run in references)]


def lifts_over_untrained(
    board: Leaderboard, runs: Sequence[Finished], references: Sequence[Finished], untrained: Sequence[str]
) -> list[Lift]:
    """Of the probes among the runs, over each of the untrained encoders."""
    pretrained = [run for run in runs if run.checkpoint != board.baseline]
    return [
        *(_lifts_over_baseline(board, runs) if board.baseline in untrained else []),
        *_lifts_over(references, pretrained, board.metric),
    ]


def _lifts_over_baseline(board: Leaderboard, runs: Sequence[Finished]) -> list[Lift]:
    """Those that the leaderboard compares with the baseline checkpoint."""
    probes = {run.scored.result.run_id for run in runs if run.scored.result.mode == "probe"}
    found = []
    for row in board.rows:
        one, value = row.vs_checkpoint, row.value(board.metric)
        if one is None or value is None or row.run_id not in probes:
            continue
        if one.difference is not None and one.low is not None and one.high is not None:
            numbers = (value - one.difference, one.difference, one.low, one.high, one.p_holm)
            found.append(Lift(row.name, row.checkpoint, board.metric, *numbers, str(board.baseline)))
    return found


def _lifts_over(references: Sequence[Finished], runs: Sequence[Finished], metric: str) -> list[Lift]:
    """Over random initialisations of their architecture under their configuration; no baseline, they have no row's
    comparison."""
    found = []
    for run in runs:
        for other in references:
            ours, theirs = run.scored.result, other.scored.result
            alike = ours.mode == theirs.mode == "probe" and ours.config == theirs.config
            if alike and not architectures_differ(run.scored, other.scored):
                found.append(_lift(run, other, metric))
    return [one for one in found if one is not None]


def _lift(run: Finished, other: Finished, metric: str) -> Lift | None:
    try:
        one = paired_difference(run.scored.scores, other.scored.scores, metric, num_permutations=1)
    except DataError:
        return None
    numbers = (one.b, one.difference, one.interval.low, one.interval.high)
    if not all(map(np.isfinite, numbers)):
        return None
    return Lift(run.name, run.checkpoint, metric, *numbers, None, other.checkpoint)


def spreads(board: Leaderboard, names: Iterable[str]) -> list[Spread]:
    """Of the checkpoints `names` that recorded where their features lie."""
    wanted = set(names)
    maps = [one for one in board.feature_maps if not one.missing and one.checkpoint in wanted]
    return [Spread(one.checkpoint, varies=any(one.axes)) for one in maps]


def spread_of(one: Held) -> Spread:
    """Of cached features."""
    x_NE = np.stack(list(one.features.values()))
    return Spread(one.place.checkpoint, varies=bool((x_NE != x_NE[0]).any()))


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

"""The doctor's visit: what finished runs left, past every gate."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from octjob.doctor import cohorts, encoders, heads
from octjob.doctor.cached import Likeness, likeness
from octjob.doctor.case import Finished, History
from octjob.doctor.finding import Diagnosis, Finding, diagnosis
from octjob.doctor.gates.control import control
from octjob.doctor.gates.coverage import coverage
from octjob.doctor.gates.features import features
from octjob.doctor.gates.keys import keys
from octjob.doctor.gates.labels import labels
from octjob.doctor.gates.optimum import optimum
from octjob.doctor.gates.preprocessing import preprocessing
from octjob.doctor.gates.prior import prior
from octjob.doctor.gates.training import moves, training
from octjob.doctor.gates.weights import weights
from octjob.errors import AccessError, DataError
from octjob.evaluate.threads import plain_linear_algebra
from octjob.leaderboard.board import Leaderboard, build_leaderboard
from octjob.leaderboard.collect import NUM_THREADS, read_outcomes
from octjob.leaderboard.outcome import Outcome
from octjob.records.feature_map import FeatureMap, read_feature_map
from octjob.records.find import find_run
from octjob.records.history import read_history
from octjob.records.layout import read_sweep
from octjob.storage.base import ObjectNotFoundError, ObjectStore


def examine(store: ObjectStore, run: str | None = None, matrix: str = "sweep.yaml") -> Diagnosis:
    """Diagnose the sweep at the store's root, or one run of it beside the baseline's under the same configuration.

    run: an id, CHECKPOINT.CONFIG or the beginning of an id. matrix: the sweep's file, for
    the commands that are named.
    Nothing is encoded, trained or written.

    Raises:
        AccessError: no sweep here, no such run, or none that has finished.
        DataError: naming the URI of a sweep record or history that is damaged.
    """
    sweep = read_sweep(store)
    chosen = None if run is None else find_run(store, run)
    finished = [one for one in read_outcomes(store, sweep) if one.scored is not None]
    # A control is there to be compared with: there is nothing to find about it.
    outcomes = [one for one in finished if not one.entry.control]
    target = store.root if chosen is None else f"{store.root}/runs/{chosen}"
    if chosen is not None:
        outcomes = _beside_baseline(outcomes, chosen, sweep.baseline)
    if not outcomes:
        is_control = any(one.entry.control and one.entry.run_id == chosen for one in finished)
        raise AccessError(
            f"{target}: {'a control, with nothing' if is_control else 'no finished run'} to diagnose",
            f"`octjob status {store.root}` shows where runs stand.",
        )
    with plain_linear_algebra():
        board = build_leaderboard(sweep, outcomes, read_map=lambda run_id: _map(store, run_id))
        runs = _finished(store, outcomes)
        return diagnosis(target, len(runs), _findings(board, runs, chosen, matrix))


def _findings(
    board: Leaderboard, runs: Sequence[Finished], chosen: str | None, matrix: str
) -> list[tuple[Finding, bool]]:
    """Every gate's, in the order in which causes hide each other, with whether its evidence stands by itself."""
    own = [run for run in runs if chosen is None or run.scored.result.run_id == chosen]
    names = {run.checkpoint for run in own}
    trained = heads.trained(own)
    # A run that never moved predicts what its initial weights do, whatever its keys say.
    stuck = {one.name for one in trained if not moves(one)}
    moved = [run for run in own if run.name not in stuck]
    pretrained = [run for run in own if run.checkpoint != board.baseline]
    untrained = encoders.untrained_baseline(runs, board.baseline)
    near = Likeness() if untrained is None else likeness(runs, untrained)
    return [
        (coverage(cohorts.populations(own), matrix), True),
        (labels(cohorts.scorings(own)), True),
        (weights(encoders.loaded(own, board.baseline), encoders.apart(board)), True),
        (preprocessing(cohorts.prepared(own)), True),
        (
            features(
                untrained, encoders.lifts(board, own), encoders.spreads(board, names), near.found, near.note
            ),
            False,
        ),
        (control(encoders.planes(board, names - {untrained})), False),
        (keys(heads.num_comparable(own), heads.same(moved), heads.unused(own)), True),
        (training(trained), True),
        (optimum(heads.pairs(own, board.metric)), False),
        (prior(heads.gains(pretrained or own)), False),
    ]


def _beside_baseline(outcomes: Sequence[Outcome], chosen: str, baseline: str | None) -> list[Outcome]:
    """The chosen run, and what it is compared with; nothing where it has no result."""
    own = next((one for one in outcomes if one.entry.run_id == chosen), None)
    if own is None:
        return []
    beside = [
        one
        for one in outcomes
        if one is not own and one.entry.checkpoint == baseline and one.entry.config == own.entry.config
    ]
    return [own, *beside]


def _finished(store: ObjectStore, outcomes: Sequence[Outcome]) -> list[Finished]:
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        histories: list[History] = list(pool.map(lambda one: read_history(store, one.entry.run_id), outcomes))
    return [
        Finished(
            f"{one.entry.checkpoint}.{one.entry.config}",
            one.scored,
            None if one.spec is None else one.spec.run,
            history,
        )
        for one, history in zip(outcomes, histories, strict=True)
        if one.scored is not None
    ]


def _map(store: ObjectStore, run_id: str) -> FeatureMap | None:
    """None where it is gone or damaged; the gate then says that it is not recorded."""
    try:
        return read_feature_map(store, run_id)
    except (DataError, ObjectNotFoundError):
        return None

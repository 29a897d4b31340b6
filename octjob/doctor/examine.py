"""The doctor's visit: what finished runs left, past every gate."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from octjob.doctor import cohorts, encoders, heads
from octjob.doctor.cached import Held, Place, held, place_of
from octjob.doctor.case import Finished, History, Planned, Told
from octjob.doctor.failures import failed_runs
from octjob.doctor.finding import Diagnosis, Finding, diagnosis
from octjob.doctor.gates.control import control
from octjob.doctor.gates.coverage import coverage
from octjob.doctor.gates.eight import eight
from octjob.doctor.gates.features import features
from octjob.doctor.gates.keys import keys
from octjob.doctor.gates.labels import Known, labels
from octjob.doctor.gates.optimum import optimum
from octjob.doctor.gates.preprocessing import preprocessing
from octjob.doctor.gates.prior import prior
from octjob.doctor.gates.runs import Failed, runs
from octjob.doctor.gates.training import moves, training
from octjob.doctor.gates.weights import weights
from octjob.doctor.likeness import likeness
from octjob.doctor.people import moved_tables, twins
from octjob.doctor.scans import readings
from octjob.doctor.tables import Tables, of_same_data, read_tables
from octjob.doctor.trials import NUM_STEPS, fits, trials
from octjob.errors import AccessError, DataError
from octjob.evaluate.threads import plain_linear_algebra
from octjob.leaderboard.board import Leaderboard, build_leaderboard
from octjob.leaderboard.collect import NUM_THREADS, read_outcomes
from octjob.leaderboard.lifts import RANDOM_INIT
from octjob.leaderboard.outcome import Outcome
from octjob.records.feature_map import FeatureMap, read_feature_map
from octjob.records.find import find_run
from octjob.records.history import read_history
from octjob.records.layout import read_sweep
from octjob.storage.base import ObjectNotFoundError, ObjectStore

# Each finding, with whether its evidence stands by itself.
Findings = list[tuple[Finding, bool]]


@dataclass(frozen=True)
class Visit:
    """What one visit looks at. own: the runs that are judged. references: runs of encoders that were never trained.

    failed: runs without a result for an error. matrix: the sweep's file, for commands.
    """

    own: Sequence[Finished]
    references: Sequence[Finished]
    failed: Sequence[tuple[Planned, Failed]]
    matrix: str


def examine(store: ObjectStore, run: str | None = None, matrix: str = "sweep.yaml") -> Diagnosis:
    """Diagnose the sweep at the store's root, or one run of it beside the baseline's under the same configuration.

    run: an id, CHECKPOINT.CONFIG or the beginning of an id. matrix: the sweep's file, for
    the commands that are named.
    Nothing is encoded or written; heads are trained for a moment on cached features.

    Raises:
        AccessError: no sweep here, no such run, or none that has ended.
        DataError: naming the URI of a sweep record or history that is damaged.
    """
    sweep = read_sweep(store)
    chosen = None if run is None else find_run(store, run)
    everything = read_outcomes(store, sweep)
    scored = [one for one in everything if one.scored is not None]
    # A control is there to be compared with: there is nothing to find about it.
    outcomes = [one for one in scored if not one.entry.control]
    references = [one for one in scored if one.entry.control == RANDOM_INIT]
    failed = failed_runs(everything)
    target = store.root if chosen is None else f"{store.root}/runs/{chosen}"
    if chosen is not None:
        outcomes = _beside_baseline(outcomes, chosen, sweep.baseline)
        failed = [(planned, one) for planned, one in failed if planned.run_id == chosen]
    if not outcomes and not failed:
        is_control = any(one.entry.control and one.entry.run_id == chosen for one in everything)
        raise AccessError(
            f"{target}: {'a control, with nothing' if is_control else 'no finished run'} to diagnose",
            f"`octjob status {store.root}` shows where runs stand.",
        )
    with plain_linear_algebra():
        own = finished(store, outcomes)
        visit = Visit(own, finished(store, references), failed, matrix)
        if not own:
            return diagnosis(target, 0, _without_results(visit))
        board = build_leaderboard(
            sweep, [*outcomes, *references], read_map=lambda run_id: _map(store, run_id)
        )
        return diagnosis(target, len(own), _findings(visit, board, chosen))


def _without_results(visit: Visit) -> Findings:
    """What can be judged where no run has a result."""
    planned = [one for one, _ in visit.failed]
    tables = tables_of(planned)
    until = "cannot be judged until a run has finished"
    rest = (weights([], []), preprocessing(cohorts.prepared(planned)))
    gates = ("features", "positive control", "keys", "training", "optimum", "eight samples", "prior")
    return [
        (coverage(cohorts.listed(tables), visit.matrix, cohorts.refused(tables)), True),
        (labels([], known_labels(tables, [], "", planned)), True),
        *((finding, True) for finding in rest),
        (runs(0, [one for _, one in visit.failed]), True),
        *((Finding(gate, "not judged", until), True) for gate in gates),
    ]


def _findings(visit: Visit, board: Leaderboard, chosen: str | None) -> Findings:
    """Every gate's, in the order in which causes hide each other."""
    everyone = visit.own
    own = [run for run in everyone if chosen is None or run.scored.result.run_id == chosen]
    names = {run.checkpoint for run in own}
    trained = heads.trained(own)
    # A run that never moved predicts what its initial weights do, whatever its keys say.
    stuck = {one.name for one in trained if not moves(one)}
    moved = [run for run in own if run.name not in stuck]
    pretrained = [run for run in own if run.checkpoint != board.baseline]
    linear, recorded = heads.linear(pretrained or own), heads.recorded_fits(pretrained or own)
    alone = {shared: runs for shared, runs in linear.items() if shared not in recorded}
    untrained = encoders.untrained_names(everyone, visit.references, board.baseline)
    scored = {name for run in own for name in run.scored.predictions.participant.tolist()}
    tables = [of_same_data(one, scored) for one in tables_of(own)]
    kept, note = cached([*everyone, *visit.references])
    near = likeness(kept, untrained, tables)
    lifts = encoders.lifts(board, own, untrained)
    looked_at = names - set(untrained)
    read = readings([one for one in kept if one.place.checkpoint in looked_at], tables)
    fitted, unfitted = fits(alone, places_of(own), kept, tables)
    pairs = heads.pairs(linear, recorded | fitted, board.metric)
    undone = stuck | {pair.head for pair in pairs if pair.stopped_short}
    tried = trials(places_of(own), kept, tables)
    return [
        (coverage(cohorts.populations(own), visit.matrix), True),
        (labels(cohorts.scorings(own), known_labels(tables, kept, note, own)), True),
        (weights(encoders.loaded(own, board.baseline), encoders.apart(board)), True),
        (preprocessing(cohorts.prepared(own)), True),
        (runs(len(own), [one for _, one in visit.failed]), True),
        (
            features(
                untrained,
                lifts,
                encoders.spreads(board, names),
                near.of,
                near.between,
                note or near.note,
                undone,
            ),
            False,
        ),
        (control(encoders.planes(board, looked_at), readings=read), False),
        (
            keys(heads.num_comparable(own), heads.same(moved), heads.unused(own), tried.tried, NUM_STEPS),
            True,
        ),
        (training(trained), True),
        (optimum(pairs, unfitted), False),
        (eight(tried.learned, tried.note), False),
        (prior(heads.gains(pretrained or own)), False),
    ]


def known_labels(tables: Sequence[Tables], kept: Sequence[Held], note: str, told: Sequence[Told]) -> Known:
    """What tables, cached features and configurations say of labels. note: why features are missing."""
    refused = [one.refused for one in tables if one.refused is not None and one.refused.is_labels]
    return Known(
        refused=tuple((one.message, one.hint) for one in refused),
        moved=tuple(moved_tables(tables, kept)),
        twins=tuple(twins(tables, kept)),
        notes=(*(one.note for one in tables if one.note), *((note,) if note else ())),
        num_listed=max((len(one.person_of) for one in tables), default=0),
        merged=cohorts.merged(told),
    )


def cached(told: Sequence[Told]) -> tuple[list[Held], str]:
    """What the cache holds of these runs' encoders, and why something is missing."""
    return held(places_of(told))


def places_of(told: Sequence[Told]) -> list[Place]:
    """Where features of these runs lie, of those that keep some."""
    places = [place_of(run.name, run.checkpoint, run.report, run.spec) for run in told]
    return [place for place in places if place is not None]


def tables_of(told: Sequence[Told]) -> list[Tables]:
    """The data set's tables as these runs read them."""
    return read_tables([(run.name, run.spec) for run in told if run.spec is not None])


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


def finished(store: ObjectStore, outcomes: Sequence[Outcome]) -> list[Finished]:
    """Those of the outcomes that have a result, with their histories."""
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

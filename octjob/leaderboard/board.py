"""The leaderboard: one row per run of the sweep, ranked only where the numbers can carry a rank. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from octjob.catalog import DEFAULT, RANKING
from octjob.errors import SpecError
from octjob.evaluate import IdenticalGroup, SelectionCorrected, identical_predictions
from octjob.evaluate.arrays import to_plain
from octjob.evaluate.resampled import fold_values
from octjob.leaderboard.caption import caption
from octjob.leaderboard.caveats import caveats
from octjob.leaderboard.checkpoints import NO_CHECKPOINTS, Checkpoints, checkpoints
from octjob.leaderboard.comparison import Compared, Family, Material, compare, pairs_of
from octjob.leaderboard.controls import beside_leader, control_rows, footnotes_of, scored_with, with_controls
from octjob.leaderboard.details import Detail, detailed, details
from octjob.leaderboard.examples import CheckpointExamples, examples
from octjob.leaderboard.feature_maps import CheckpointMap, ReadMap, feature_maps
from octjob.leaderboard.flat import Scalar, class_labels, flat_fields, flat_row
from octjob.leaderboard.flow import ParticipantFlow, flows
from octjob.leaderboard.footnotes import footnotes
from octjob.leaderboard.gates import Gate
from octjob.leaderboard.headline import Headline, headline
from octjob.leaderboard.label_efficiency import LearningCurve, learning_curves
from octjob.leaderboard.lifts import RANDOM_INIT, by_config, initialisation_rows, with_lifts
from octjob.leaderboard.methods import Methods, methods
from octjob.leaderboard.next_steps import Known, NextStep, next_steps
from octjob.leaderboard.outcome import Outcome, Scored
from octjob.leaderboard.ranking import Ranking, draw_all, main_group, signals, standing
from octjob.leaderboard.rows import ORDER, Row, make_row
from octjob.leaderboard.secondary import NONE_ASKED, Secondary, secondary
from octjob.leaderboard.shuffles import SHUFFLED, beside_shuffles, shuffled_rows
from octjob.records.feature_map import FeatureMap
from octjob.records.openings import Opening
from octjob.records.schema import SweepRecord
from octjob.records.state import RunState

if TYPE_CHECKING:
    import pandas as pd

# 2: ranks are ranges, two families of comparisons, a caption. 3: the verdict is apart from the state.
SCHEMA_VERSION = 3
NUM_DRAWS = 2000
# By run id, a record an epoch.
Histories = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Leaderboard:
    """Rows in the order of the table, and what must be read with it.

    baseline, baseline_config: what the two families of comparisons refer to; None where there is nothing to compare.
    caption: which run is best, or that none is, in one sentence. headline: which checkpoint is. next_steps: what
        would help to know it better.
    class_names, class_short_names: by index; the short ones are what is shown.
    selection_corrected: what picking the best of the comparable runs is worth, without the luck of the pick.
    detectable: the difference between two runs found with 80 % power, median over the ranked pairs.
    details: of the first rows with a result, in their order. methods: how all of it was made, from the records.
    checkpoints: what they say of themselves, and how far they are from each other.
    feature_maps: the held-out volumes on two axes, for the best run of each checkpoint that recorded it.
    examples: which runs left B-scans for `octjob report --with-images`.
    flows: from what the data set lists to who was scored; none where no run recorded it.
    secondary: other questions to the same predictions, of the best run of each checkpoint.
    label_efficiency: how the metric grows with the participants trained on; of runs of that protocol.
    gates: what `octjob doctor` sees in the records at a glance.
    """

    sweep: str
    metric: str
    baseline: str | None
    baseline_config: str | None
    class_names: tuple[str, ...]
    class_short_names: tuple[str, ...]
    rows: tuple[Row, ...]
    caption: str
    headline: Headline
    next_steps: tuple[NextStep, ...]
    methods: Methods
    warnings: tuple[str, ...]
    footnotes: tuple[str, ...]
    selection_corrected: SelectionCorrected | None = None
    detectable: float | None = None
    details: tuple[Detail, ...] = ()
    checkpoints: Checkpoints = NO_CHECKPOINTS
    feature_maps: tuple[CheckpointMap, ...] = ()
    examples: tuple[CheckpointExamples, ...] = ()
    flows: tuple[ParticipantFlow, ...] = ()
    secondary: Secondary = NONE_ASKED
    label_efficiency: tuple[LearningCurve, ...] = ()
    gates: tuple[Gate, ...] = ()
    schema_version: int = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe, undefined numbers as None."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    def to_frame(self) -> pd.DataFrame:
        """One row per run, the columns of the CSV."""
        import pandas as pd

        labels = class_labels(self.class_names, self.rows)
        names = [name for name, _ in flat_fields(labels)]
        return pd.DataFrame(self.flat_rows(labels), columns=names)

    def flat_rows(self, labels: Sequence[str]) -> list[dict[str, Scalar]]:
        """The rows as the CSV has them. labels: `class_labels`."""
        answers = {one.run_id: one for one in self.secondary.runs}
        return [flat_row(row, labels, answers.get(row.run_id)) for row in self.rows]

    def in_state(self, *states: RunState) -> tuple[Row, ...]:
        """The rows of runs that stand in one of these."""
        return tuple(row for row in self.rows if row.state in states)


def _no_histories(run_ids: Sequence[str]) -> Histories:
    return {}


def _no_map(run_id: str) -> FeatureMap | None:
    return None


def build_leaderboard(
    sweep: SweepRecord,
    outcomes: Sequence[Outcome],
    metric: str = DEFAULT,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
    openings: Sequence[Opening] = (),
    read_histories: Callable[[Sequence[str]], Histories] = _no_histories,
    read_map: ReadMap = _no_map,
) -> Leaderboard:
    """Rank the outcomes by `metric`, one of `catalog.RANKING`. openings: those of the sweep's test split.

    read_histories: gives the epochs of the runs whose ids it gets, those that have details. read_map: the feature map
    of a run whose result names one.

    Raises:
        SpecError: a metric that is not one of them.
    """
    if metric not in RANKING:
        raise SpecError(
            f"{metric!r} is not a metric of the leaderboard", f"Choose one of {', '.join(RANKING)}."
        )
    controls = [one for one in outcomes if one.entry.control is not None]
    outcomes = [one for one in outcomes if one.entry.control is None]
    finished = _finished(outcomes)
    main = _main(outcomes, sweep.baseline)
    shown = sweep.shown_classes
    controls = [scored_with(one, finished[main[0]], shown) if main else one for one in controls]
    shuffled, untrained = _of_kind(controls, SHUFFLED), _of_kind(controls, RANDOM_INIT)
    plain = [one for one in controls if one.entry.control not in (SHUFFLED, RANDOM_INIT)]
    # Runs first: their draws are those that they have without controls.
    of_all = _material(finished | _finished([*plain, *untrained]), metric, num_draws, seed)
    material = replace(of_all, scores={run_id: of_all.scores[run_id] for run_id in finished})
    has_signal = signals(material.scores, {run: one.site_P for run, one in finished.items()}, metric, seed)
    identical = identical_predictions(material.scores)
    rows = [make_row(one, metric, has_signal.get(one.entry.run_id)) for one in outcomes]
    rows = _mark_suspicious(rows, identical, finished)
    references: dict[Family, str | None] = {
        "checkpoint": sweep.baseline,
        "config": _reference_config(sweep, rows),
    }
    asked = {family: reference for family, reference in references.items() if reference is not None}
    for family, reference in asked.items():
        rows = _compared(rows, family, reference, material, seed, len(asked))
    rows, stands = _ranked(rows, material, metric, main)
    rows = with_lifts(rows, finished, by_config(untrained), of_all)
    shuffles = shuffled_rows(shuffled, metric)
    rows = sorted(beside_shuffles(rows, shuffles, metric), key=lambda row: _order(row, metric))
    draws = {run_id: drawn.in_bag_B for run_id, drawn in material.draws.items()}
    said = headline(rows, metric, stands.leads, draws)
    of_controls = [
        *beside_leader(control_rows(plain, metric), rows, of_all),
        *initialisation_rows(untrained, metric),
        *shuffles,
    ]
    table = sorted([*rows, *of_controls], key=lambda row: _order(row, metric))
    said = with_controls(said, table, metric)
    made = methods(outcomes, rows, num_draws, openings, controls)
    found = details(rows, finished, metric, read_histories([row.run_id for row in detailed(rows)]))
    return Leaderboard(
        sweep=sweep.name,
        metric=metric,
        baseline=sweep.baseline,
        baseline_config=references["config"],
        class_names=sweep.class_names,
        class_short_names=shown,
        rows=tuple(table),
        caption=caption(rows, metric, stands.winner),
        headline=said,
        next_steps=next_steps(Known(rows, said, made, stands.leads, draws, found, sweep.baseline)),
        methods=made,
        warnings=tuple(caveats(sweep, rows, finished, identical, metric, stands)),
        footnotes=(
            *footnotes(rows, finished, metric, references, num_draws, openings),
            *footnotes_of(of_controls, metric),
        ),
        selection_corrected=stands.winner,
        detectable=stands.detectable,
        details=found,
        checkpoints=checkpoints(rows, finished),
        feature_maps=feature_maps(rows, finished, read_map),
        examples=examples(rows, finished),
        flows=flows(rows, finished),
        label_efficiency=learning_curves(rows, finished, metric),
        secondary=secondary(rows, finished, metric, sweep, num_draws),
    )


def _finished(outcomes: Sequence[Outcome]) -> dict[str, Scored]:
    return {one.entry.run_id: one.scored for one in outcomes if one.scored is not None}


def _of_kind(controls: Sequence[Outcome], kind: str) -> list[Outcome]:
    return [one for one in controls if one.entry.control == kind]


def _main(outcomes: Sequence[Outcome], baseline: str | None) -> list[str]:
    of_baseline = {one.entry.run_id for one in outcomes if one.entry.checkpoint == baseline}
    return main_group({run_id: one.scores for run_id, one in _finished(outcomes).items()}, of_baseline)


def _material(finished: Mapping[str, Scored], metric: str, num_draws: int, seed: int) -> Material:
    scores = {run_id: one.scores for run_id, one in finished.items()}
    return Material(
        metric=metric,
        scores=scores,
        observed={run_id: one.values[metric] for run_id, one in finished.items()},
        draws=draw_all(scores, metric, num_draws, seed),
        folds={
            run_id: fold_values(one.predictions, metric, one.how)
            for run_id, one in finished.items()
            if one.has_folds
        },
    )


def _reference_config(sweep: SweepRecord, rows: Sequence[Row]) -> str | None:
    """The configuration that others are compared with: the sweep's, else its first; None where there is one."""
    configs = list(dict.fromkeys(row.config for row in rows))
    return (sweep.baseline_config or configs[0]) if len(configs) > 1 else None


def _mark_suspicious(
    rows: list[Row], identical: Sequence[IdenticalGroup], finished: Mapping[str, Scored]
) -> list[Row]:
    """Flag the rows that predict what other weights predict."""
    weights = {run_id: one.weights for run_id, one in finished.items()}
    reasons: dict[str, str] = {}
    for group in identical:
        among = Counter(weights[name] for name in group.names)
        same_output = {
            name
            for cluster in group.same_probabilities
            if len({weights[member] for member in cluster}) > 1
            for name in cluster
        }
        # Up to three of other weights, the same for all runs of a weight.
        named = {one: _first_others(group.names, weights, one) for one in among} if len(among) > 1 else {}
        for name in group.names if named else ():
            num_others = len(group.names) - among[weights[name]]
            reasons[name] = _suspicion(named[weights[name]], num_others, name in same_output)
    return [
        replace(row, flags=(*row.flags, "suspicious"), reasons=(*row.reasons, reasons[row.run_id]))
        if row.run_id in reasons
        else row
        for row in rows
    ]


def _first_others(names: Sequence[str], weights: Mapping[str, str], own: str) -> list[str]:
    return list(islice((name for name in names if weights[name] != own), 3))


def _suspicion(named: Sequence[str], num_others: int, same_output: bool) -> str:
    what = "same probabilities" if same_output else "same classes"
    more = f" and {num_others - 3} more" if num_others > 3 else ""
    return f"the {what} for everyone as {', '.join(named)}{more}, from different weights"


def _compared(
    rows: list[Row], family: Family, reference: str, material: Material, seed: int, num_families: int
) -> list[Row]:
    names = {row.run_id: (row.checkpoint, row.config) for row in rows}
    pairs, unpaired = pairs_of(names, set(material.scores), family, reference)
    compared = compare(pairs, material, seed, num_families)
    refused = {**unpaired, **compared.refused}
    return [_with_comparison(row, family, compared, refused) for row in rows]


def _with_comparison(row: Row, family: Family, compared: Compared, refused: Mapping[str, str]) -> Row:
    one = compared.found.get(row.run_id)
    reasons = row.reasons + ((refused[row.run_id],) if row.run_id in refused else ())
    if family == "checkpoint":
        return replace(row, vs_checkpoint=one, reasons=reasons)
    return replace(row, vs_config=one, reasons=reasons)


def _ranked(
    rows: list[Row], material: Material, metric: str, main: Sequence[str]
) -> tuple[list[Row], Ranking]:
    """Ranks for the `ok` rows of the main group."""
    members = set(main)
    fit = [
        row.run_id
        for row in rows
        if row.verdict == "ok" and row.value(metric) is not None and row.run_id in members
    ]
    stands = standing(main, fit, material.scores, material.observed, material.draws)
    return [_with_rank(row, stands, members, metric) for row in rows], stands


def _with_rank(row: Row, stands: Ranking, main: set[str], metric: str) -> Row:
    if row.metrics is not None and row.run_id not in main:
        reason = f"scored other participants, labels or classes than the {len(main)} runs that are compared"
        return replace(row, flags=(*row.flags, "unpaired"), reasons=(*row.reasons, reason))
    if row.verdict == "ok" and row.value(metric) is None:
        return replace(row, reasons=(*row.reasons, f"{metric} is not defined on what it scored"))
    behind = stands.leads.behind.get(row.run_id) if stands.leads else None
    return replace(row, rank=stands.ranks.get(row.run_id), vs_leader=behind)


def _order(row: Row, metric: str) -> tuple[int, int, float, str]:
    """Ranked rows by value, so that the table reads from best to worst; then as `ORDER` says."""
    value = row.value(metric)
    return (
        row.rank is None,
        ORDER.index(row.shown),
        0.0 if value is None else -value,
        row.run_id,
    )

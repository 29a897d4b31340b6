"""Controls on the table: what they reach beside the runs, and where the leader is not ahead of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from octjob.catalog import METRICS
from octjob.evaluate import by_participant, evaluate
from octjob.evaluate.intervals import participant_groups, smallest_class
from octjob.evaluate.lead import Lead, leads
from octjob.evaluate.lift import Lift
from octjob.evaluate.simultaneous import PairErrors
from octjob.leaderboard.comparison import Material
from octjob.leaderboard.headline import Headline, Part, told, told_lift, value_text
from octjob.leaderboard.outcome import EvaluationRecord, Outcome, Scored
from octjob.leaderboard.ranking import comparable_groups
from octjob.leaderboard.rows import SIGNIFICANT, Row, make_row
from octjob.spec.control_options import BLIND

# What a checkpoint must be better than, and why. The others speak of the runs, not against them.
IS_WHAT: dict[str, str] = {**dict.fromkeys(BLIND, "sees no image"), "pixel_pca": "has no encoder"}
# What each is made of.
_MADE = {
    "prior": "the class shares of the training participants (in folds a class that one has more of is rarer among the"
    " others, so that it scores below chance)",
    "clinical": "logistic regression on age",
    "site_device": "logistic regression on site, device, region and age",
    "pixel_pca": "logistic regression on principal components of downsampled volumes",
    "random_init": "the architecture with fresh weights; mean and, in brackets, range over initialisations",
    "target_encoder": "the other encoder of the checkpoint's file",
    "shuffled_labels": "trained on labels dealt anew among each site's participants; mean and, in brackets, 2.5 to"
    " 97.5 % of the shuffles",
}
_WORDS = dict(enumerate(("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), 2))


def scored_with(control: Outcome, run: Scored, class_names: Sequence[str]) -> Outcome:
    """The control, scored on the participants that `run` scored; as it is where that would leave nobody.

    A run leaves out whose volumes are all unreadable, which a control, that reads none, cannot know.
    """
    one = control.scored
    if one is None or control.entry.control not in BLIND:
        return control
    shared_N = np.isin(one.predictions.participant, run.predictions.participant)
    if shared_N.all() or not shared_N.any():
        return control
    rows = one.predictions.rows(shared_N)
    again = evaluate(
        rows, rows.num_classes, one.evaluation.unit, class_names=class_names, train_prior=one.prior
    ).to_dict()
    result = one.result.model_copy(update={"evaluation": again})
    scores = by_participant(rows, one.how)
    return replace(control, scored=Scored(result, EvaluationRecord.model_validate(again), rows, scores))


def control_rows(outcomes: Sequence[Outcome], metric: str) -> list[Row]:
    """The rows of controls by themselves. A finished one is `control`, even a constant."""
    return [_as_control(make_row(one, metric, None), one.entry.control) for one in outcomes]


def _as_control(row: Row, control: str | None) -> Row:
    if row.metrics is None:
        return replace(row, control=control)
    flags = tuple(flag for flag in row.flags if flag in ("inconsistent", "reevaluated"))
    reasons = row.reasons if flags else ()
    return replace(row, verdict="control", control=control, weights="", flags=flags, reasons=reasons)


def beside_leader(controls: Sequence[Row], rows: Sequence[Row], material: Material) -> list[Row]:
    """The rows of controls with the leader's lead over them, or why there is none; unchanged where no run leads.

    rows: of the runs. material: of the runs and of the controls. Intervals are at the level of all pairs of the
    ranked runs and the controls together, from the draws that the runs share.
    """
    observed = material.observed
    ranked = sorted(
        (row.run_id for row in rows if row.rank is not None), key=lambda run_id: -observed[run_id]
    )
    if not ranked:
        return list(controls)
    leader, there = ranked[0], [row.run_id for row in controls if row.metrics is not None]
    members = comparable_groups({run_id: material.scores[run_id] for run_id in (leader, *there)})[0]
    compared = {
        run_id: observed[run_id] for run_id in (*ranked, *members[1:]) if np.isfinite(observed[run_id])
    }
    errors = PairErrors(np.stack([material.draws[run_id].in_bag_B for run_id in compared]))
    label_G, _ = participant_groups(material.scores[leader])
    found = leads(compared, errors, smallest_class(label_G), leader).behind
    return [_with_lead(row, found, members) for row in controls]


def _with_lead(row: Row, found: Mapping[str, Lead], members: Sequence[str]) -> Row:
    if row.metrics is not None and row.run_id not in members:
        reason = "not compared: it did not score all whom the leader scored, or with other labels"
        return replace(row, flags=(*row.flags, "unpaired"), reasons=(*row.reasons, reason))
    lead = found.get(row.run_id)
    if lead is not None and lead.low > 0:
        # Two that are the same in every draw, say 1 and 0.5, have no error and yet a difference.
        lead = replace(lead, tied=False)
    return replace(row, vs_leader=lead)


def with_controls(said: Headline, rows: Sequence[Row], metric: str) -> Headline:
    """The headline: before it, what the leader is not better than; after it, its lift. Where no run has a signal, the
    best control that is above chance.

    rows: of all, those of controls with the leader's lead over them, the leader's with its lift.
    """
    if said.certainty == "no result":
        return said
    compared = [row for row in rows if row.verdict == "control" and row.control in IS_WHAT]
    leader = next((row for row in rows if row.run_id == said.leader), None)
    near = [
        row
        for row in compared
        if (_above_chance(row, metric) if leader is None else row.vs_leader and row.vs_leader.tied)
    ]
    best = max(near, key=lambda row: row.value(metric) or 0.0, default=None)
    if leader is not None:
        before, after = _shortfall(leader, best), _lift_told(leader)
        return replace(said, parts=(*before, *said.parts, *after), control=best.run_id if best else None)
    if best is None:
        return said
    more = (
        Part(f"; {best.config}, which {IS_WHAT[best.control or '']}, is", True),
        Part(f": {value_text(best, metric)}."),
    )
    last = said.parts[-1]
    open_end = replace(last, text=last.text.removesuffix("."))
    return replace(said, parts=(*said.parts[:-1], open_end, *more), control=best.run_id)


def _shortfall(leader: Row, best: Row | None) -> tuple[Part, ...]:
    """The sentence on what the leader is not better than, as far as these data tell; none where it is."""
    short = []
    if leader.lift is not None and not is_above(leader.lift):
        lift = leader.lift
        among = f", p = {lift.p_holm:.2g} among all lifts" if lift.low > 0 else ""
        short.append(f"{_not('above', lift.high)} {_untrained(lift)} (lift {told_lift(lift)}{among})")
    if best is not None:
        is_what, lead = IS_WHAT[best.control or ""], best.vs_leader
        how = _not("ahead of", 0.0 if lead is None else lead.high)
        short.append(f"{how} {best.config}, which {is_what} (lead {told(lead)})")
    if not short:
        return ()
    return (Part(f"{leader.checkpoint}, which leads, is {' and '.join(short)}.", True), Part(" "))


def _not(above: str, high: float) -> str:
    """That it is not where the interval says so, else that it is not shown to be."""
    return f"not {above}" if high < 0 else f"not shown to be {above}"


def _lift_told(leader: Row) -> tuple[Part, ...]:
    if leader.lift is None or not is_above(leader.lift):
        return ()
    return (Part(f" {leader.checkpoint} is {told_lift(leader.lift)} above {_untrained(leader.lift)}."),)


def is_above(lift: Lift) -> bool:
    """Whether a lift holds among all of the table."""
    return lift.value > 0 and lift.p_holm is not None and lift.p_holm < SIGNIFICANT


def _untrained(lift: Lift) -> str:
    number = lift.num_initialisations
    return f"{_WORDS.get(number, str(number))} untrained encoders"


def _above_chance(row: Row, metric: str) -> bool:
    estimate, chance = row.metric(metric), METRICS[metric].chance(len(row.per_class_f1))
    return bool(estimate and estimate.low is not None and chance is not None and estimate.low > chance)


def footnotes_of(controls: Sequence[Row], metric: str) -> list[str]:
    """How the controls were made, and what they are for; none without them."""
    there = {row.control for row in controls}
    lines = []
    if controls:
        blind = "looks at no volume; " if there <= set(BLIND) else ""
        said = "".join(f" {name}: {text}." for name, text in _MADE.items() if name in there)
        lines.append(
            f"control: {blind}trained in the runs' splits or folds, and scored on whom the ranked runs scored.{said}"
            " A control has no rank, and no run's rank or metrics depend on it."
        )
    if "random_init" in there:
        lines.append(
            f"lift: {metric} minus its mean over untrained encoders of the same architecture under the same"
            " configuration; participants and initialisations are both drawn, and the checkpoint counts as one more"
            " initialisation, so that an interval leaves out zero one time in twenty where pretraining did nothing."
            " * Holm-adjusted p < 0.05 over all lifts."
        )
    return lines

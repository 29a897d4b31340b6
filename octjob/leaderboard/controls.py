"""Controls on the table: what they reach beside the runs, and where the leader is not ahead of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from octjob.catalog import METRICS
from octjob.evaluate import by_participant, evaluate
from octjob.evaluate.intervals import participant_groups, smallest_class
from octjob.evaluate.lead import Lead, leads
from octjob.evaluate.simultaneous import PairErrors
from octjob.leaderboard.comparison import Material
from octjob.leaderboard.headline import Headline, Part, told, value_text
from octjob.leaderboard.outcome import EvaluationRecord, Outcome, Scored
from octjob.leaderboard.ranking import comparable_groups
from octjob.leaderboard.rows import Row, make_row
from octjob.spec.control_options import BLIND, ControlName

# What each is made of.
_MADE: dict[ControlName, str] = {
    "prior": "the class shares of the training participants",
    "clinical": "logistic regression on age",
    "site_device": "logistic regression on site, device, region and age",
    "pixel_pca": "logistic regression on principal components of downsampled volumes",
    "random_init": "the architecture with fresh weights",
    "target_encoder": "the other encoder of the checkpoint's file",
    "shuffled_labels": "trained on labels dealt anew among each site's participants",
}


def scored_with(control: Outcome, run: Scored, class_names: Sequence[str]) -> Outcome:
    """The control, scored on the participants that `run` scored; as it is where that would leave nobody.

    A run leaves out whose volumes are all unreadable, which a control, that reads none, cannot know.
    """
    one = control.scored
    if one is None:
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
    return replace(row, vs_leader=found.get(row.run_id))


def with_controls(said: Headline, rows: Sequence[Row], metric: str) -> Headline:
    """The headline, and which control that sees no image, the best, the leader is not ahead of; or where no run has a
    signal, the best that is above chance.

    rows: of all, those of controls with the leader's lead over them.
    """
    leader = next((row for row in rows if row.run_id == said.leader), None)
    blind = [row for row in rows if row.verdict == "control" and row.control in BLIND]
    if leader is None:
        near = [row for row in blind if _above_chance(row, metric)]
    else:
        near = [row for row in blind if row.vs_leader and row.vs_leader.tied]
    if not near or said.certainty == "no result":
        return said
    best = max(near, key=lambda row: row.value(metric) or 0.0)
    more = (
        (Part(f"; {best.config}, which sees no image, is", True), Part(f": {value_text(best, metric)}."))
        if leader is None
        else (
            Part("; but "),
            Part(f"{leader.checkpoint} is not ahead of {best.config}, which sees no image", True),
            Part(f": its lead over it is {told(best.vs_leader)}."),
        )
    )
    last = said.parts[-1]
    open_end = replace(last, text=last.text.removesuffix("."))
    return replace(said, parts=(*said.parts[:-1], open_end, *more), control=best.run_id)


def _above_chance(row: Row, metric: str) -> bool:
    estimate, chance = row.metric(metric), METRICS[metric].chance(len(row.per_class_f1))
    return bool(estimate and estimate.low is not None and chance is not None and estimate.low > chance)


def footnote(controls: Sequence[Row]) -> list[str]:
    """How the controls were made; none without them."""
    if not controls:
        return []
    there = {row.control for row in controls}
    blind = "looks at no volume; " if there <= set(BLIND) else ""
    said = "".join(f" {name}: {text}." for name, text in _MADE.items() if name in there)
    return [
        f"control: {blind}trained in the runs' splits or folds, and scored on whom the ranked runs scored.{said} A"
        " control has no rank, and no run's numbers depend on it."
    ]

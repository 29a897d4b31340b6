"""What would help next, computed: more participants, seeds or folds, a look at a checkpoint, or the test split."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from octjob.evaluate import VarianceSources
from octjob.evaluate.arrays import FloatArray
from octjob.evaluate.lead import Leads, recognisable_lead
from octjob.leaderboard.controls import is_above
from octjob.leaderboard.details import Detail
from octjob.leaderboard.headline import Headline
from octjob.leaderboard.methods import CheckpointUsed, Methods
from octjob.leaderboard.rows import Row

Kind = Literal[
    "finish", "diagnose", "inspect", "participants", "equal", "training sets", "seeds", "folds", "choose",
    "leave out", "test split", "baseline",
]  # fmt: skip
# Beyond so many times the participants nobody recruits.
_MOST_TIMES = 20
# Training matters less than who was scored once its share of the error is half of theirs.
_SHARE = 0.5
_UNSOUND = ("untrained", "barely trained")


@dataclass(frozen=True)
class NextStep:
    """One thing to do. command: to be typed; empty where there is none. number: of what is to be added, in all."""

    kind: Kind
    text: str
    command: str = ""
    number: int | None = None


@dataclass(frozen=True)
class Known:
    """What the steps are taken from. leads, draws: as the headline had them. details: of the best runs."""

    rows: Sequence[Row]
    headline: Headline
    methods: Methods
    leads: Leads | None
    draws: Mapping[str, FloatArray]
    details: Sequence[Detail]
    baseline: str | None

    @property
    def sweep(self) -> str:
        """What the commands take for the sweep."""
        return shlex.quote(self.methods.output) if self.methods.output else "SWEEP"

    @property
    def finished(self) -> list[Row]:
        return [row for row in self.rows if row.metrics is not None]

    @property
    def leader(self) -> Row | None:
        return next((row for row in self.rows if row.run_id == self.headline.leader), None)


def next_steps(known: Known) -> tuple[NextStep, ...]:
    """In the order in which to take them; empty where nothing is left to say."""
    steps = [*_finish(known), *_diagnose(known), *_look(known)]
    if known.leader is not None:
        steps += [*_tell_apart(known), *_training(known, known.leader), *_test_split(known, known.leader)]
    return (*steps, *_leave_out(known), *_baseline(known))


def _finish(known: Known) -> list[NextStep]:
    """Runs that have no result yet, or none that can be read."""
    open_ = [row for row in known.rows if row.metrics is None]
    if not open_:
        return []
    stuck = sum(row.state in ("Failed", "Unreadable") for row in open_)
    text = f"{_counted(len(open_), 'run')} of {len(known.rows)} {_has(len(open_))} no result"
    text += (
        f", {stuck} of them failed or cannot be read; submitting again goes on with them." if stuck else "."
    )
    return [NextStep("finish", f"{text} See where they stand:", f"octjob status {known.sweep}", len(open_))]


def _diagnose(known: Known) -> list[NextStep]:
    """Where nothing is above chance."""
    if known.headline.certainty != "no signal":
        return []
    return [NextStep("diagnose", "Ask for the first cause:", f"octjob doctor {known.sweep}")]


def _look(known: Known) -> list[NextStep]:
    """At checkpoints that may not have learned anything: all where nothing is above chance."""
    nothing = known.headline.certainty == "no signal"
    doubtful = [
        one
        for one in known.methods.checkpoints
        if nothing or (one.weights in _UNSOUND and one.name != known.baseline)
    ]
    if not doubtful:
        return []
    told = "; ".join(f"{one.name} is of {_epoch(one)}, {one.weights}" for one in doubtful[:4])
    if nothing:
        text = f"Before more runs, look whether the checkpoints have learned anything: {told}."
    else:
        text = f"{told}: compare it only if that is the epoch you meant."
    return [NextStep("inspect", text, f"octjob checkpoint inspect {shlex.quote(doubtful[0].uri)}")]


def _epoch(one: CheckpointUsed) -> str:
    return "an unknown epoch" if one.epoch is None else f"epoch {one.epoch}"


def _tell_apart(known: Known) -> list[NextStep]:
    """How many participants would show the leads that were seen."""
    leads, certainty = known.leads, known.headline.certainty
    if leads is None or certainty not in ("checkpoints tied", "configurations tied"):
        return []
    by_run = {row.run_id: row for row in known.finished}
    leader = by_run[leads.leader]
    if certainty == "checkpoints tied" and known.headline.rival is not None:
        rivals = [name for name in leads.behind if by_run[name].checkpoint != leader.checkpoint]
        return [_participants(known, leads, known.headline.rival, rivals)]
    own = [
        name
        for name in leads.behind
        if by_run[name].checkpoint == leader.checkpoint and leads.behind[name].tied
    ]
    rival = min(own, key=lambda name: leads.behind[name].difference)
    step = _participants(known, leads, rival, [rival])
    names = [leader.config, *(by_run[name].config for name in own)]
    return [NextStep("choose", f"{_cheaper(known, leader.checkpoint, names)} {step.text}")]


def _cheaper(known: Known, checkpoint: str, names: Sequence[str]) -> str:
    """Which of the tied configurations to take."""
    modes = {one.name: one.mode for one in known.methods.configurations}
    probes = [name for name in names if modes.get(name) == "probe"]
    shown = " or ".join(names[:4]) + (f" or {len(names) - 4} more" if len(names) > 4 else "")
    if probes and len(probes) < len(names):
        return f"Any of {shown} will do for {checkpoint}: take {probes[0]}, which trains no encoder."
    return f"Any of {shown} will do for {checkpoint}: take the cheapest."


def _participants(known: Known, leads: Leads, rival: str, others: Sequence[str]) -> NextStep:
    """rival: whose distance was seen. others: all that the leader is to be told apart from."""
    difference = leads.behind[rival].difference
    detectable = recognisable_lead(leads.leader, others, known.draws, leads.critical)
    name = next(row.name for row in known.finished if row.run_id == rival)
    n = known.leader.n if known.leader and known.leader.n else 0
    seen = f"a lead as large as the one seen over {name}, {difference:.3f},"
    if detectable is None or difference <= 0 or (detectable / difference) ** 2 > _MOST_TIMES:
        return NextStep(
            "equal",
            f"No number of participants within reach shows {seen} as real: over {_MOST_TIMES} times the {n} would"
            " be needed. Take the two for equal, and the cheaper one.",
        )
    needed = _rounded_up(n * (detectable / difference) ** 2)
    return NextStep(
        "participants",
        f"Score about {needed} participants instead of {n}: so many show {seen} as real 4 times in 5. More"
        f" configurations would not help.{_folds_would_score(known, n, needed)}",
        number=needed,
    )


def _folds_would_score(known: Known, n: int, needed: int) -> str:
    """What scoring train and val in folds would bring, where only a part of them was scored."""
    data = known.methods.data[0] if known.methods.data else None
    total = sum(sum(split.participants) for split in data.splits if split.name != "test") if data else 0
    if data is None or data.unit != "participant" or data.scored == "cv" or total <= n:
        return ""
    enough = "enough" if total >= needed else "nearer, if not enough"
    return f" `evaluate: {{protocol: folds}}` in the sweep scores all {total} of train and val: {enough}."


def _rounded_up(value: float) -> int:
    """To two digits: the error that it comes from is known no better."""
    step: int = 10 ** max(0, math.floor(math.log10(value)) - 1)
    return step * math.ceil(value / step)


def _training(known: Known, leader: Row) -> list[NextStep]:
    """More seeds or deals of the folds, where they move the value more than who was scored."""
    detail = next((one for one in known.details if one.run_id == leader.run_id), None)
    if detail is None or detail.variance is None:
        return []
    found = detail.variance
    used = next((one for one in known.methods.configurations if one.name == leader.config), None)
    num_seeds, num_repeats = (len(used.seeds), used.repeats) if used else (leader.num_models or 1, 1)
    steps = _more(found, found.seeds, num_seeds, "seeds", "seeds", "`seeds:` in the sweep")
    if used and used.leave_out:
        return steps
    if found.training_sets is not None or found.seeds_and_training_sets is not None:
        moved = found.training_sets if found.training_sets is not None else found.seeds_and_training_sets
        what, where = "deals of the folds", "`evaluate: {protocol: folds, repeats: N}` in the sweep"
        return steps + _more(found, moved, num_repeats, "training sets", what, where)
    text = (
        "One training set stands behind the numbers: they speak of these trained models. Whether the checkpoint would"
        " also lead with other training participants, `evaluate: {protocol: folds}` in the sweep tells."
    )
    return [*steps, NextStep("folds", text)] if not (used and (used.folds or used.leave_out)) else steps


def _more(
    found: VarianceSources,
    moved: float | None,
    count: int,
    kind: Literal["seeds", "training sets"],
    what: str,
    where: str,
) -> list[NextStep]:
    """moved: the standard deviation of one; the value is the mean over `count`."""
    if moved is None or not found.participants > 0 or moved / math.sqrt(count) <= found.participants:
        return []
    needed = math.ceil((moved / (_SHARE * found.participants)) ** 2)
    text = (
        f"Train with {needed} {what} instead of {count} ({where}): training moves the leader's value by {moved:.3f},"
        f" who was scored only by {found.participants:.3f}."
    )
    return [NextStep(kind, text, number=needed)]


def _test_split(known: Known, leader: Row) -> list[NextStep]:
    """Once, for the run that was chosen without it; not for one that is no better than what needs no pretraining."""
    there = any(site.split == "test" and site.found for one in known.methods.data for site in one.sites)
    short = known.headline.control is not None or (leader.lift is not None and not is_above(leader.lift))
    if known.methods.num_openings or not there or known.headline.certainty == "checkpoints tied" or short:
        return []
    clear = known.headline.certainty == "clear"
    when = "Now that it is decided" if clear else "When you have decided"
    text = f"{when}, score the one run on the test split, once: nothing here has seen it."
    return [
        NextStep(
            "test split", text, f'octjob open-test {known.sweep} {leader.run_id} --reason "final number"'
        )
    ]


def _leave_out(known: Known) -> list[NextStep]:
    """Configurations under which no checkpoint gave anything but a constant."""
    configs = dict.fromkeys(row.config for row in known.finished)
    useless = [
        name
        for name in configs
        if {row.verdict for row in known.finished if row.config == name} == {"collapsed"}
    ]
    if not useless or len(useless) == len(configs):
        return []
    names = " and ".join(useless[:4])
    return [
        NextStep("leave out", f"Leave out {names}: every run of it answers one class for nearly everyone.")
    ]


def _baseline(known: Known) -> list[NextStep]:
    has_lift = any(row.lift is not None for row in known.rows)
    if known.baseline is not None or has_lift or not known.finished:
        return []
    text = (
        "Add `controls: [random_init]` to the sweep, encoders of the same architecture that were never trained, or"
        " name such a checkpoint as its `baseline:`; without them nothing here says what pretraining adds."
    )
    return [NextStep("baseline", text)]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _has(count: int) -> str:
    return "has" if count == 1 else "have"

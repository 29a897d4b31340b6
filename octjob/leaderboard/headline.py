"""The leaderboard's answer about *checkpoints*: which is best, and whether these data can tell at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from octjob.catalog import METRICS
from octjob.evaluate.arrays import FloatArray
from octjob.evaluate.lead import Lead, Leads, recognisable_lead
from octjob.evaluate.lift import Lift
from octjob.leaderboard.rows import Row

# clear: the leader is ahead of every run of every other checkpoint. configurations tied: and is not told apart from
# another of its own. checkpoints tied: nor from a run of another checkpoint.
Certainty = Literal[
    "clear", "configurations tied", "checkpoints tied", "one checkpoint", "one run", "no signal", "no result"
]


@dataclass(frozen=True)
class Part:
    """A piece of the sentence; strong ones are set in bold."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Headline:
    """The sentence, and what it rests on.

    leader: the ranked run with the highest value. rival: the best run of another checkpoint, of those that are tied
    with the leader where there are any. detectable: the lead over every run of the other checkpoints at which they
    would be told apart with 80 % power. order: whether the leader's checkpoint is first under every configuration.
    control: the run of the best control that the leader is not ahead of, or that is above chance where no run is.
    """

    certainty: Certainty
    parts: tuple[Part, ...]
    leader: str | None = None
    rival: str | None = None
    detectable: float | None = None
    order: str = ""
    control: str | None = None

    @property
    def text(self) -> str:
        """The whole sentence."""
        return "".join(part.text for part in self.parts)


def headline(
    rows: Sequence[Row],
    metric: str,
    leads: Leads | None,
    draws: Mapping[str, FloatArray],
) -> Headline:
    """rows: all. leads: over the ranked rows; None where no row is ranked. draws: by run, of the metric."""
    finished = [row for row in rows if row.metrics is not None]
    if not finished:
        return Headline("no result", (Part("No run has a result yet."),))
    if leads is None:
        none = f"Nothing is above chance: none of {_counted(len(finished), 'run')} has a signal in {_label(metric)}."
        return Headline("no signal", (Part(none, True),))
    by_run = {row.run_id: row for row in finished}
    leader = by_run[leads.leader]
    value = value_text(leader, metric)
    ranked = [by_run[leads.leader], *(by_run[name] for name in leads.behind)]
    others = [row for row in ranked if row.checkpoint != leader.checkpoint]
    order = _order(finished, leader, metric)
    if len(finished) == 1:
        parts = (
            Part(leader.checkpoint, True),
            Part(f" has {value} with {leader.config}; there is nothing to compare."),
        )
        return Headline("one run", parts, leader.run_id)
    if len({row.checkpoint for row in finished}) == 1:
        return Headline("one checkpoint", _one_checkpoint(leader, value, leads), leader.run_id, order=order)
    if not others:
        only = (
            Part(f"Only {leader.checkpoint}", True),
            Part(f" has a signal: {value} with {leader.config}. No run of another checkpoint is ranked."),
        )
        return Headline("clear", only, leader.run_id, order=order)
    tied = [row for row in others if leads.behind[row.run_id].tied]
    rival = max(tied or others, key=lambda row: row.value(metric) or 0.0)
    detectable = recognisable_lead(leads.leader, [row.run_id for row in others], draws, leads.critical)
    lead = leads.behind[rival.run_id]
    if tied:
        return Headline(
            "checkpoints tied",
            _tied(leader, rival, value, lead),
            leader.run_id,
            rival.run_id,
            detectable,
            order,
        )
    own = [row for row in ranked if row.checkpoint == leader.checkpoint and row is not leader]
    own_tied = [row for row in own if leads.behind[row.run_id].tied]
    return Headline(
        "configurations tied" if own_tied else "clear",
        _clear(leader, rival, value, lead, own_tied),
        leader.run_id,
        rival.run_id,
        detectable,
        order,
    )


def _clear(leader: Row, rival: Row, value: str, lead: Lead, tied: Sequence[Row]) -> tuple[Part, ...]:
    best = f"{rival.name}, the best run of any other checkpoint"
    ahead = f"{value} with {leader.config}, ahead of {best}, by {told(lead)}"
    if not tied:
        return (Part(leader.checkpoint, True), Part(" is best, and these data can tell: "), Part(f"{ahead}."))
    which = _listed([row.config for row in tied])
    return (
        Part(leader.checkpoint, True),
        Part(
            f" is best, and these data can tell: {ahead}. Which of its configurations is best they cannot: "
        ),
        Part(f"{which} {'is' if len(tied) == 1 else 'are'} tied with it."),
    )


def _tied(leader: Row, rival: Row, value: str, lead: Lead) -> tuple[Part, ...]:
    return (
        Part("These data cannot tell which checkpoint is best.", True),
        Part(" "),
        Part(leader.checkpoint, True),
        Part(
            f" leads with {value} under {leader.config}, but its lead over {rival.name} is {told(lead)}, which "
            "includes none at all."
        ),
    )


def _one_checkpoint(leader: Row, value: str, leads: Leads) -> tuple[Part, ...]:
    tied = sum(one.tied for one in leads.behind.values())
    end = (
        f"; {tied} of {_counted(len(leads.behind), 'other ranked configuration')} cannot be told apart from it."
        if tied
        else ", ahead of every other ranked configuration."
        if leads.behind
        else "; no other configuration is ranked."
    )
    return (
        Part(f"{leader.config} leads", True),
        Part(f" for {leader.checkpoint}, the only checkpoint: {value}{end}"),
    )


def _order(finished: Sequence[Row], leader: Row, metric: str) -> str:
    """Under how many configurations the leader's checkpoint has the highest value."""
    configs = list(dict.fromkeys(row.config for row in finished))
    first: list[str] = []
    other: list[str] = []
    open_: list[str] = []
    for config in configs:
        there = [row for row in finished if row.config == config and row.value(metric) is not None]
        ranked = [row for row in there if row.rank is not None]
        if len(there) < 2 or not ranked:
            open_.append(config)
            continue
        best = max(ranked, key=lambda row: row.value(metric) or 0.0)
        (first if best.checkpoint == leader.checkpoint else other).append(config)
    name = leader.checkpoint
    if not other and not open_:
        return (
            f"{name} has the highest value under {'every configuration' if len(configs) > 1 else configs[0]}."
        )
    parts = []
    if first:
        parts.append(f"{name} has the highest value under {_listed(first)}")
    if other:
        parts.append(f"another checkpoint under {_listed(other)}")
    if open_:
        parts.append(f"under {_listed(open_)} there is nothing ranked to compare")
    return "; ".join(parts) + "."


def value_text(row: Row, metric: str) -> str:
    """The metric and its interval."""
    estimate = row.metric(metric)
    if estimate is None or estimate.value is None:
        raise ValueError(f"{row.name} is ranked without a value of {metric}")
    text = f"{_label(metric)} {estimate.value:.3f}"
    if estimate.low is not None and estimate.high is not None:
        text += f" [{estimate.low:.2f}, {estimate.high:.2f}]"
    return text


def told_lift(lift: Lift) -> str:
    """The lift, with its sign, and its interval."""
    value, low, high = (_seen(number) for number in (lift.value, lift.low, lift.high))
    return f"{'+' if lift.value > 0 else ''}{value} [{low}, {high}]"


def told(lead: Lead | None) -> str:
    """The difference and its interval."""
    if lead is None:
        return "not known"
    numbers = (_seen(number) for number in (lead.difference, lead.low, lead.high))
    return "{} [{}, {}]".format(*numbers)


def _seen(number: float) -> str:
    """Two digits, or as many as show on which side of zero it lies."""
    digits = next((digits for digits in (2, 3, 4) if round(number, digits) != 0), 2)
    return f"{number:.{digits}f}".replace("-", "\u2212")


def _label(metric: str) -> str:
    return METRICS[metric].label


def _listed(names: Sequence[str], most: int = 4) -> str:
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"

"""Features: do they carry more than an untrained encoder's? Relative to it, never by a threshold of their own."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from octjob.doctor.cka import Cka
from octjob.doctor.finding import Finding

GATE = "features"
# A lift below it is none: an interval that ends here shows that features carry no more, one beyond shows nothing.
_WORTH = 0.05
_SIGNIFICANT = 0.05
# Of metrics that end at 1: from here on, an untrained encoder leaves no room for a better one.
_CEILING = 0.98


@dataclass(frozen=True)
class Lift:
    """A probe's metric minus `reference`, that of the untrained encoders `over` under the same configuration, and its
    interval. p_holm: None where no test was made."""

    run: str
    checkpoint: str
    metric: str
    reference: float
    difference: float
    low: float
    high: float
    p_holm: float | None
    over: str


@dataclass(frozen=True)
class Spread:
    """Whether a checkpoint's pooled features differ between volumes at all."""

    checkpoint: str
    varies: bool


@dataclass(frozen=True)
class Alike:
    """Debiased linear CKA of a checkpoint's features with those of `other`, untrained, on the same volumes."""

    checkpoint: str
    other: str
    cka: Cka


def features(
    untrained: Sequence[str],
    lifts: Sequence[Lift],
    spreads: Sequence[Spread],
    alike: Sequence[Alike] = (),
    between: Sequence[Alike] = (),
    note: str = "",
    undone: Collection[str] = (),
) -> Finding:
    """untrained: names of the encoders of the sweep that were never trained: its baseline, where its weights say so,
    and its random initialisations. between: those among themselves. note: why a likeness is missing. undone: runs
    whose heads did not train, or stopped short, and so say nothing of features."""
    dead = [one.checkpoint for one in spreads if not one.varies]
    if dead:
        said = f"the features of {', '.join(dead)} are the same for every volume"
        cure = "take other weights: this encoder ignores its input"
        return Finding(GATE, "failed", said, (), cure)
    if not untrained:
        said = "no untrained encoder to compare with: `controls: [random_init]` in the sweep adds five"
        return Finding(GATE, "not judged", said)
    evidence = (*map(_told, lifts), *_alike_told(alike, between, note))
    if lifts and all(one.run in undone for one in lifts):
        said = f"no probe that is trained to its end is compared with {' or '.join(untrained)}"
        return Finding(GATE, "not judged", said, evidence)
    lifts = [one for one in lifts if one.run not in undone]
    if not lifts:
        return Finding(GATE, "not judged", f"no probe is compared with {' or '.join(untrained)}", evidence)
    if above := [least for least in _least(lifts) if _is_above(least)]:
        best = max(above, key=lambda one: one.low)
        said = f"{best.run} is above {best.over} by {best.difference:.2f}"
        return Finding(GATE, "passed", said, evidence)
    room = [one for one in lifts if one.reference < _CEILING]
    if not room:
        said = f"an untrained encoder solves this already ({lifts[0].metric} {lifts[0].reference:.2f})"
        return Finding(GATE, "not judged", said, evidence)
    if all(one.high < _WORTH for one in room):
        said = f"features carry no more than an untrained encoder's, to within {_WORTH} of {room[0].metric}"
        cure = (
            "other weights, not another head: `octjob checkpoint inspect --help` shows how to look at a file"
        )
        return Finding(GATE, "failed", said, evidence, cure)
    said = "these participants are too few to tell features from an untrained encoder's"
    return Finding(GATE, "not judged", said, evidence)


def ahead(
    spreads: Sequence[Spread], alike: Sequence[Alike] = (), between: Sequence[Alike] = (), note: str = ""
) -> Finding:
    """Before anything has been run: only features that do not vary can be told."""
    finding = features([], [], spreads)
    if finding.verdict == "failed":
        return finding
    evidence = _alike_told(alike, between, note)
    return Finding(GATE, "not judged", "cannot be judged until run", evidence)


def _alike_told(alike: Sequence[Alike], between: Sequence[Alike], note: str) -> tuple[str, ...]:
    """A line a checkpoint, and one for the untrained encoders among themselves."""
    by_checkpoint: dict[str, list[Alike]] = {}
    for one in alike:
        by_checkpoint.setdefault(one.checkpoint, []).append(one)
    return (
        *(f"{name}: {_with_untrained(its, between)}" for name, its in by_checkpoint.items()),
        *([f"the untrained encoders among themselves: {_shown(between)}"] if between else []),
        *((note,) if note else ()),
    )


def _least(lifts: Sequence[Lift]) -> list[Lift]:
    """Of each run the least of its lifts: over an untrained baseline, and over random initialisations."""
    by_run: dict[str, Lift] = {}
    for one in lifts:
        by_run[one.run] = min(one, by_run.get(one.run, one), key=lambda lift: lift.low)
    return list(by_run.values())


def _is_above(one: Lift) -> bool:
    return one.low > 0 and (one.p_holm is None or one.p_holm < _SIGNIFICANT)


def _told(one: Lift) -> str:
    return (
        f"{one.run} over {one.over} ({one.reference:.3f}): {one.metric} {one.difference:+.3f}"
        f" [{one.low:.3f}, {one.high:.3f}]"
    )


def _with_untrained(its: Sequence[Alike], between: Sequence[Alike]) -> str:
    whom = its[0].other if len(its) == 1 else f"{len(its)} untrained encoders"
    told = f"{_shown(its)} with {whom}"
    lows = [pair.cka.low for pair in between if math.isfinite(pair.cka.low)]
    highs = [one.cka.high for one in its]
    if not lows or not all(map(math.isfinite, highs)):
        return told
    than = "less alike than" if max(highs) < min(lows) else "as alike as"
    return f"{told}, {than} initialisations are to each other"


def _shown(its: Sequence[Alike]) -> str:
    """The least and the most of several."""
    least, most = (choose(its, key=lambda one: one.cka.value).cka for choose in (min, max))
    values = _value(least) if len(its) == 1 else f"{_value(least)} to {_value(most)}"
    return f"debiased linear CKA {values} ({least.num_volumes} volumes)"


def _value(cka: Cka) -> str:
    interval = f" [{cka.low:.2f}, {cka.high:.2f}]" if math.isfinite(cka.low) else ""
    return f"{cka.value:.2f}{interval}"

"""Features: do they carry more than an untrained encoder's? Relative to it, never by a threshold of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from octjob.doctor.finding import Finding

GATE = "features"
# A lift below it is none: an interval that ends here shows that features carry no more, one beyond shows nothing.
_WORTH = 0.05
_SIGNIFICANT = 0.05
# Of metrics that end at 1: from here on, an untrained encoder leaves no room for a better one.
_CEILING = 0.98


@dataclass(frozen=True)
class Lift:
    """A probe's metric minus the untrained encoder's, `reference`, under the same configuration, and its interval."""

    run: str
    checkpoint: str
    metric: str
    reference: float
    difference: float
    low: float
    high: float
    p_holm: float | None


@dataclass(frozen=True)
class Spread:
    """Whether a checkpoint's pooled features differ between volumes at all."""

    checkpoint: str
    varies: bool


@dataclass(frozen=True)
class Alike:
    """Debiased linear CKA of a checkpoint's features with the untrained encoder's, on the same volumes."""

    checkpoint: str
    cka: float
    num_volumes: int


def features(
    untrained: str | None,
    lifts: Sequence[Lift],
    spreads: Sequence[Spread],
    alike: Sequence[Alike] = (),
    note: str = "",
) -> Finding:
    """untrained: the name of the sweep's baseline, where its weights say that they are untrained. note: why a
    likeness is missing."""
    dead = [one.checkpoint for one in spreads if not one.varies]
    if dead:
        said = f"the features of {', '.join(dead)} are the same for every volume"
        cure = "take other weights: this encoder ignores its input"
        return Finding(GATE, "failed", said, (), cure)
    if untrained is None:
        said = "no untrained encoder to compare with: `baseline:` in the sweep names one"
        return Finding(GATE, "not judged", said)
    evidence = tuple(_told(one, untrained) for one in lifts)
    evidence += tuple(
        f"{one.checkpoint}: debiased linear CKA with {untrained} {one.cka:.2f} ({one.num_volumes} volumes)"
        for one in alike
    ) + ((note,) if note else ())
    if not lifts:
        return Finding(GATE, "not judged", f"no probe is compared with {untrained}", evidence)
    if above := [one for one in lifts if _is_above(one)]:
        best = max(above, key=lambda one: one.low)
        said = f"{best.run} is above the untrained encoder by {best.difference:.2f}"
        return Finding(GATE, "passed", said, evidence)
    room = [one for one in lifts if one.reference < _CEILING]
    if not room:
        said = f"an untrained encoder solves this already ({lifts[0].metric} {lifts[0].reference:.2f})"
        return Finding(GATE, "not judged", said, evidence)
    if all(one.high < _WORTH for one in room):
        said = "features carry no more than an untrained encoder's"
        cure = (
            "other weights, not another head: `octjob checkpoint inspect --help` shows how to look at a file"
        )
        return Finding(GATE, "failed", said, evidence, cure)
    said = "these participants are too few to tell features from an untrained encoder's"
    return Finding(GATE, "not judged", said, evidence)


def _is_above(one: Lift) -> bool:
    return one.low > 0 and (one.p_holm is None or one.p_holm < _SIGNIFICANT)


def _told(one: Lift, untrained: str) -> str:
    return (
        f"{one.run} over {untrained} ({one.reference:.3f}): {one.metric} {one.difference:+.3f}"
        f" [{one.low:.3f}, {one.high:.3f}]"
    )

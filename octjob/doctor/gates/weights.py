"""Weights: were the encoders trained, is it the trained one that was taken, and do their files differ?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from octjob.doctor.finding import Finding

GATE = "weights"
# Two checkpoints nearer than this, relative to their length, are one network: as near as its own initialisation.
_NEAR = 0.01


@dataclass(frozen=True)
class Loaded:
    """An encoder that was loaded, by `run` first. verdict: untrained, barely trained, trained or unknown.

    distance: from its own initialisation, relative to its length. reference: whether it is the baseline, which may be
    untrained. options: what a backbone of others was told; with others the same weights are another encoder.
    """

    checkpoint: str
    run: str
    uri: str
    encoder_taken: str
    verdict: str
    epoch: int | None
    distance: float | None
    digest: str
    reference: bool = False
    options: str = ""


@dataclass(frozen=True)
class Apart:
    """Two checkpoints, and the distance of their weights; None where it is not known."""

    first: str
    second: str
    distance: float | None


def weights(
    loaded: Sequence[Loaded],
    pairs: Sequence[Apart],
    *,
    refused: Sequence[tuple[str, str]] = (),
    note: str = "",
) -> Finding:
    """loaded: distinct encoders. pairs: of checkpoints of different names. refused: errors of files that no run can
    load, each with its hint. note: why others are not known."""
    known = [one for one in loaded if one.digest]
    evidence = (*((note,) if note else ()), *(_told(one) for one in known))
    for message, hint in refused:
        return Finding(GATE, "failed", message, evidence, hint or "name another file")
    if not known:
        return Finding(GATE, "not judged", note or "what was loaded is not recorded")
    evidence += tuple(
        f"{pair.first} and {pair.second} are {pair.distance:.1%} apart"
        for pair in pairs[:6]
        if pair.distance is not None
    )
    for one in known:
        if one.verdict in ("untrained", "barely trained") and not one.reference:
            return _untrained(one, evidence)
    told = {one.checkpoint: one.options for one in known}
    for pair in pairs:
        alike = told.get(pair.first, "") == told.get(pair.second, "")
        if alike and pair.distance is not None and pair.distance < _NEAR:
            return _same(pair, known, evidence)
    unsaid = list(dict.fromkeys(one.checkpoint for one in known if one.verdict == "unknown"))
    but = f"; whether {', '.join(unsaid)} was trained, its weights do not say" if unsaid else ""
    return Finding(
        GATE, "passed", f"every checkpoint is trained, or the baseline, and its own{but}", evidence
    )


def _untrained(one: Loaded, evidence: tuple[str, ...]) -> Finding:
    epoch = "" if one.epoch is None else f"; the file says epoch {one.epoch}"
    if one.encoder_taken == "target":
        said = f"{one.run} took the target encoder of {one.checkpoint}, which is {one.verdict}{epoch}"
        return Finding(GATE, "failed", said, evidence, "model.encoder: context")
    as_such = ": its features carry no more than an untrained encoder's" if one.verdict == "untrained" else ""
    said = f"the encoder of {one.checkpoint} is {one.verdict}{as_such}{epoch}"
    cure = (
        f"name a later file of this training; `octjob checkpoint inspect {one.uri}` shows what is in one. Where it is"
        f" there to compare with, baseline: {one.checkpoint}"
    )
    return Finding(GATE, "failed", said, evidence, cure)


def _same(pair: Apart, known: Sequence[Loaded], evidence: tuple[str, ...]) -> Finding:
    what = "the same weights" if pair.distance == 0 else f"one network ({pair.distance:.2%} apart)"
    uri = next((one.uri for one in known if one.checkpoint == pair.second), "")
    said = f"{pair.first} and {pair.second} are {what} under two names"
    cure = f"name another file for one of them; `octjob checkpoint inspect {uri}` shows what is in it"
    return Finding(GATE, "failed", said, evidence, cure)


def _told(one: Loaded) -> str:
    epoch = "no epoch" if one.epoch is None else f"epoch {one.epoch}"
    distance = "" if one.distance is None else f", {one.distance:.1%} from its initialisation"
    reference = ", the baseline" if one.reference else ""
    return f"{one.checkpoint}: {one.encoder_taken} encoder, {epoch}, {one.verdict}{distance}{reference}"

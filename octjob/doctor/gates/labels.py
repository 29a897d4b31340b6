"""Labels: does everyone have one label, stand on one side, and bring volumes of their own?

Suffixes: N rows of the predictions, K classes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octjob.doctor.finding import Finding
from octjob.evaluate.arrays import FloatArray, IntArray, StrArray

GATE = "labels"
_SHOWN = 3
Pair = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Scoring:
    """What a run scored: a row per volume and pass. pass_N: which pass. pretrained_on: scored participants whose
    scans the checkpoint saw before, None where not recorded. coding: what a label means; labels are compared between
    runs of the same."""

    name: str
    participant_N: StrArray
    pass_N: IntArray
    fold_N: IntArray
    label_N: IntArray
    logits_NK: FloatArray
    pretrained_on: int | None = None
    coding: str = ""


def labels(scorings: Sequence[Scoring]) -> Finding:
    """Participants who cross folds, have several labels, or whose volumes are another's."""
    if not scorings:
        return Finding(GATE, "not judged", "no predictions")
    people = len({name for one in scorings for name in one.participant_N.tolist()})
    evidence = [f"{people} participants scored"]
    seen = {one.pretrained_on for one in scorings if one.pretrained_on is not None}
    evidence += [f"{count} of them were in a checkpoint's pretraining" for count in sorted(seen) if count]
    for one in scorings:
        if crossing := _crossing(one):
            said = f"{_some(crossing)} stand in several folds of one pass of {one.name}"
            return Finding(GATE, "failed", said, tuple(evidence), _CURE)
    if several := _several_labels(scorings):
        said = f"{_some(several)} have different labels in different runs"
        return Finding(GATE, "failed", said, tuple(evidence), _CURE)
    if pairs := _duplicates(scorings):
        named = [f"{a} and {b}" for a, b in sorted(pairs)]
        said = f"every run gives the same logits to {_some(named)}: their volumes are the same"
        return Finding(GATE, "failed", said, tuple(evidence), "leave one of each out of the labels' table")
    return Finding(
        GATE, "passed", "nobody crosses folds, has two labels or another's volumes", tuple(evidence)
    )


_CURE = "submit the sweep anew under another name, on one state of the labels' table"


def _crossing(one: Scoring) -> list[str]:
    folds: dict[tuple[str, int], set[int]] = defaultdict(set)
    for name, number, fold in zip(
        one.participant_N.tolist(), one.pass_N.tolist(), one.fold_N.tolist(), strict=True
    ):
        folds[name, number].add(fold)
    return sorted({name for (name, _), its in folds.items() if len(its) > 1})


def _several_labels(scorings: Sequence[Scoring]) -> list[str]:
    found: dict[tuple[str, str], set[int]] = defaultdict(set)
    for one in scorings:
        for name, label in zip(one.participant_N.tolist(), one.label_N.tolist(), strict=True):
            found[one.coding, name].add(label)
    return sorted({name for (_, name), its in found.items() if len(its) > 1})


def _duplicates(scorings: Sequence[Scoring]) -> set[Pair]:
    """Pairs of participants with equal logits in every run whose logits tell most others apart."""
    common: set[Pair] | None = None
    for one in scorings:
        first_N = one.pass_N == one.pass_N.min()
        rows = [row.tobytes() for row in one.logits_NK[first_N]]
        holders: dict[bytes, set[str]] = defaultdict(set)
        for row, name in zip(rows, one.participant_N[first_N].tolist(), strict=True):
            holders[row].add(name)
        if len(holders) <= len(rows) / 2:
            continue  # an output that ignores its input says nothing of volumes
        pairs = {(a, b) for its in holders.values() for a in its for b in its if a < b}
        common = pairs if common is None else common & pairs
    return common or set()


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def passes(seed_N: IntArray, repeat_N: IntArray) -> IntArray:
    """The number of each row's pass."""
    _, number_N = np.unique(np.stack([seed_N, repeat_N]), axis=1, return_inverse=True)
    return np.asarray(number_N, np.int64).ravel()

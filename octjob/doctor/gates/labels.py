"""Labels: does everyone have one label, their own, stand on one side, and bring volumes of their own?

Suffixes: N rows of the predictions, K classes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octjob.doctor.finding import Finding
from octjob.doctor.rows import Differing, Moved
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


@dataclass(frozen=True)
class MovedTable:
    """Labels of the table `uri` beside `witness`, the data set's own table or a checkpoint's features.

    moved: whose they are, where they are those of another row. differing: from the own table.
    """

    uri: str
    moved: Moved | None
    differing: Differing | None
    witness: str


@dataclass(frozen=True)
class Twins:
    """Two participants with one volume, and the splits that they stand in."""

    first: str
    second: str
    first_split: str
    second_split: str


@dataclass(frozen=True)
class Known:
    """What the data set's tables and cached features say of labels. refused: the tables' errors, each with its hint.
    notes: why something is not known. num_listed: participants of the tables, 0 where they were not read. merged:
    study groups that `classes.mapping` takes for one class, a class a tuple."""

    refused: tuple[tuple[str, str], ...] = ()
    moved: tuple[MovedTable, ...] = ()
    twins: tuple[Twins, ...] = ()
    notes: tuple[str, ...] = ()
    num_listed: int = 0
    merged: tuple[tuple[str, ...], ...] = ()


NOTHING_KNOWN = Known()


def labels(scorings: Sequence[Scoring], known: Known = NOTHING_KNOWN) -> Finding:
    """Tables that no run takes, labels of other rows, participants who cross folds, have several labels, or whose
    volumes are another's."""
    evidence = _evidence(scorings, known)
    for message, hint in known.refused:
        return Finding(GATE, "failed", message, evidence, hint or _CURE)
    for table in known.moved:
        if table.moved is not None:
            return Finding(GATE, "failed", _moved(table, table.moved), evidence, _JOIN)
    if not scorings and not known.num_listed:
        return Finding(GATE, "not judged", "no predictions", evidence)
    for one in scorings:
        if crossing := _crossing(one):
            said = f"{_some(crossing)} stand in several folds of one pass of {one.name}"
            return Finding(GATE, "failed", said, evidence, _CURE)
    if several := _several_labels(scorings):
        said = f"{_some(several)} have different labels in different runs"
        return Finding(GATE, "failed", said, evidence, _CURE)
    if known.twins:
        named = [f"{t.first} ({t.first_split}) and {t.second} ({t.second_split})" for t in known.twins]
        said = f"every encoder has the same features of {_some(named)}: their volumes are the same"
        return Finding(GATE, "failed", said, evidence, _LEAVE_OUT)
    if pairs := _duplicates(scorings):
        named = [f"{a} and {b}" for a, b in sorted(pairs)]
        said = f"every run gives the same logits to {_some(named)}: their volumes are the same"
        return Finding(GATE, "failed", said, evidence, _LEAVE_OUT)
    said = "nobody crosses folds, has two labels or another's volumes"
    return Finding(GATE, "passed", said + "".join(map(_merged, known.merged)), evidence)


_JOIN = "join study_group anew by participant, not by row"
_LEAVE_OUT = "leave one of each out of the labels' table"
_CURE = "submit the sweep anew under another name, on one state of the labels' table"


def _evidence(scorings: Sequence[Scoring], known: Known) -> tuple[str, ...]:
    people = len({name for one in scorings for name in one.participant_N.tolist()})
    evidence = [f"{people} participants scored"] if scorings else []
    evidence += [f"{known.num_listed} participants listed with a volume"] if known.num_listed else []
    seen = {one.pretrained_on for one in scorings if one.pretrained_on is not None}
    evidence += [
        f"{count or 'none'} of those scored {'was' if count < 2 else 'were'} in a checkpoint's pretraining"
        for count in sorted(seen)
    ]
    for table in known.moved:
        if (other := table.differing) is not None:
            evidence.append(
                f"{table.uri}: {other.differing} of {other.num_participants} participants have another study_group"
                f" than in {table.witness}"
            )
    return (*evidence, *known.notes)


def _moved(table: MovedTable, moved: Moved) -> str:
    start = f"{table.uri}: study_group is that of {moved.whose}"
    if table.differing is not None:
        return (
            f"{start} in {table.witness} for {moved.agreed:.0%} of {moved.num_participants} participants, and their"
            f" own for {moved.stayed:.0%}"
        )
    return (
        f"{start}: features of {table.witness} tell it there (AUROC {moved.agreed:.2f}), and not in its own row"
        f" ({moved.stayed:.2f})"
    )


def _merged(groups: Sequence[str]) -> str:
    """No fault where it is meant."""
    return f"; classes.mapping takes {', '.join(groups[:-1])} and {groups[-1]} for one class"


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

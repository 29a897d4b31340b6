"""Whether labels stand in the right rows: beside the data set's own, and beside what features know.

Suffixes: P participants in the order of the table, E features, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from octjob.doctor.discriminants import auroc, standard_error
from octjob.evaluate.arrays import FloatArray, IntArray

# Rows by which a table is looked at as moved.
_NEXT = (-1, 1)
_OFFSETS = (*_NEXT, -2, 2)
# Of the labels that do not agree as they stand, the share that has to agree once the table is moved back.
_AGREES, _DIFFERS = 0.9, 0.1
_LEAST, _LEAST_EACH = 24, 5
# Standard errors of an AUROC of features that know nothing: labels of other rows must be known beyond doubt, and
# better by so much than those of the own rows, which must not be known at all. In a table in the order of its sites
# the next row's label is known as well as the own one by whoever knows sites.
_KNOWN, _UNKNOWN = 4.0, 3.0


@dataclass(frozen=True)
class Moved:
    """The labels are those of `offset` rows further down. agreed, stayed: how well they fit there, and as they stand;
    shares of participants, or AUROCs of `features`."""

    offset: int
    agreed: float
    stayed: float
    num_participants: int
    features: str = ""

    @property
    def whose(self) -> str:
        """In words."""
        rows = "row" if abs(self.offset) == 1 else f"{abs(self.offset)} rows"
        return f"the {rows} {'below' if self.offset > 0 else 'above'}"


@dataclass(frozen=True)
class Differing:
    """How many participants have another label than in the data set's own table."""

    differing: int
    num_participants: int


def against_own(order: Sequence[tuple[str, str]], own: Mapping[str, str]) -> tuple[Moved | None, Differing]:
    """Labels by id in the order of their table, beside those of another table.

    A table that was labelled anew differs too; one that was moved agrees again where it is moved back.
    """
    ids, groups = [one for one, _ in order], [group for _, group in order]
    known = [own.get(one) for one in ids]
    shared = [k for k, group in enumerate(known) if group is not None]
    differing = Differing(sum(groups[k] != known[k] for k in shared), len(shared))
    stayed = 1 - differing.differing / max(1, len(shared))
    if len(shared) < _LEAST or stayed > 1 - _DIFFERS:
        return None, differing
    for offset in _OFFSETS:
        there = [k for k in shared if 0 <= k + offset < len(ids) and known[k + offset] is not None]
        agreed = sum(groups[k] == known[k + offset] for k in there) / max(1, len(there))
        if agreed >= _AGREES:
            return Moved(offset, agreed, stayed, len(shared)), differing
    return None, differing


def knows(x_PE: FloatArray, place_P: IntArray, label_of: Mapping[int, int]) -> Literal["own", "none"] | Moved:
    """Whether features know the label of their own row, else that of the next, or of none.

    place_P: the row of each participant. label_of: by row. By cross-validated linear discriminants, in the mean AUROC
    over the pairs of classes.
    """
    own = _known(x_PE, place_P, label_of, 0)
    if own is None:
        return "none"
    if own[0] > 0.5 + _UNKNOWN * own[1]:
        return "own"
    for offset in _NEXT:
        there = _known(x_PE, place_P, label_of, offset)
        if there is not None and there[0] > max(0.5, own[0]) + _KNOWN * there[1]:
            return Moved(-offset, there[0], own[0], len(x_PE))
    return "none"


def _known(
    x_PE: FloatArray, place_P: IntArray, label_of: Mapping[int, int], offset: int
) -> tuple[float, float] | None:
    """The AUROC of the labels `offset` rows further down, and its standard error under no knowledge."""
    has_P = np.array([place + offset in label_of for place in place_P.tolist()], bool)
    label_P = np.array([label_of[place + offset] for place in place_P[has_P].tolist()], np.int64)
    counts = np.bincount(label_P) if len(label_P) else np.zeros(1, np.int64)
    frequent_P = np.isin(label_P, np.flatnonzero(counts >= _LEAST_EACH))
    if frequent_P.sum() < _LEAST or len(np.unique(label_P[frequent_P])) < 2:
        return None
    _, class_P = np.unique(label_P[frequent_P], return_inverse=True)
    error = standard_error(np.bincount(class_P).tolist())
    return auroc(x_PE[has_P][frequent_P], np.asarray(class_P, np.int64)), error

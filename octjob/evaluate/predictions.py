"""What a run predicted, per volume, and the same per participant.

A pass is a seed and a repeat of the folds: it scores every participant once.

Suffixes: N rows of the table (volume x pass), P participants (or volumes), S passes, K classes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from octjob.errors import DataError
from octjob.evaluate.arrays import BoolArray, FloatArray, IntArray, StrArray

How = Literal["mean", "volume"]
TEXTS = ("participant", "eye", "device", "split", "site")
NUMBERS = ("fold", "seed", "label", "repeat")
COLUMNS = (*TEXTS, *NUMBERS)
# Columns that files of version 1 lack.
_LATER = ("site", "repeat")
_NO_REPEAT: IntArray = np.zeros(0, dtype=np.int64)
_NO_SITE: StrArray = np.zeros(0, dtype=np.str_)


@dataclass(frozen=True, eq=False)
class Predictions:
    """The table of `predictions.parquet`, column by column: one row per volume and pass.

    Shapes: every column [N]; `logits_NK` [N, K] float64, unnormalised log-probabilities. `participant`,
    `eye`, `device`, `split` and `site` (empty where it is not given) are strings; `fold`, `seed`, `label` and
    `repeat` (0 where it is not given) are int64; labels are 0..K-1.

    Raises:
        DataError: no rows, columns of different lengths, logits that are not a table, a label outside 0..K-1.
    """

    participant: StrArray
    eye: StrArray
    device: StrArray
    split: StrArray
    fold: IntArray
    seed: IntArray
    label: IntArray
    logits_NK: FloatArray
    repeat: IntArray = field(default_factory=lambda: _NO_REPEAT)
    site: StrArray = field(default_factory=lambda: _NO_SITE)

    def __post_init__(self) -> None:
        if self.repeat is _NO_REPEAT:
            object.__setattr__(self, "repeat", np.zeros(len(self.label), dtype=np.int64))
        if self.site is _NO_SITE:
            object.__setattr__(self, "site", np.zeros(len(self.label), dtype=np.str_))
        if self.logits_NK.ndim != 2 or self.logits_NK.size == 0:
            raise DataError(
                f"predictions: logits have shape {self.logits_NK.shape}; expected one row per volume",
                hint="The run scored nothing, or its predictions.parquet is damaged; run it again.",
            )
        lengths = {name: len(getattr(self, name)) for name in COLUMNS}
        if set(lengths.values()) != {len(self.logits_NK)}:
            raise DataError(
                f"predictions: columns differ in length: {lengths}, logits {len(self.logits_NK)}",
                hint="The predictions.parquet is damaged; run it again.",
            )
        _refuse_labels(self.label, self.logits_NK.shape[1], self.participant)

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> Predictions:
        """From a mapping of columns (a dict of lists, a DataFrame); `logits` holds a row of K numbers each.

        Without a column `repeat` it is 0, without `site` empty, as in files from before there were these.

        Raises:
            DataError: a column is missing or holds something else than its type.
        """
        missing = [name for name in (*COLUMNS, "logits") if name not in columns and name not in _LATER]
        if missing:
            raise DataError(
                f"predictions: columns missing: {', '.join(missing)}",
                hint="The file was not written by octjob, or by another version of it.",
            )
        texts: dict[str, Any] = {
            name: np.asarray(columns[name]).astype(np.str_) for name in TEXTS if name in columns
        }
        try:
            numbers: dict[str, Any] = {
                name: np.asarray(columns[name]).astype(np.int64) for name in NUMBERS if name in columns
            }
            logits_NK = np.array(list(columns["logits"]), dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"predictions: fold, seed, label, repeat or logits are not numbers: {error}",
                hint="fold, seed, label and repeat are whole numbers; logits holds as many numbers in every row.",
            ) from error
        return cls(**texts, **numbers, logits_NK=logits_NK)

    @property
    def num_classes(self) -> int:
        return int(self.logits_NK.shape[1])

    def rows(self, which: BoolArray | IntArray) -> Predictions:
        """The rows where a mask [N] is true, or those at the given indices, in their order."""
        columns = {name: getattr(self, name)[which] for name in COLUMNS}
        return Predictions(**columns, logits_NK=self.logits_NK[which])


class SharedColumns:
    """Columns that many runs have alike, held once: all but the logits of most sweeps."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, bytes], StrArray | IntArray] = {}

    def of(self, predictions: Predictions) -> Predictions:
        """The same table, with columns that were seen before in place of its own. Threads may call this at once."""
        columns: dict[str, Any] = {name: self._seen(getattr(predictions, name)) for name in COLUMNS}
        return replace(predictions, **columns)

    def _seen(self, column: StrArray | IntArray) -> StrArray | IntArray:
        key = (column.dtype.str, hashlib.sha256(column.tobytes()).digest())
        return self._held.setdefault(key, column)


@dataclass(frozen=True, eq=False)
class ParticipantScores:
    """Class probabilities per row and pass; a row is a participant, or a volume if `volume_P` names it.

    Shapes: `participant_P` [P] str, `label_P` [P] int64, `probability_SPK` [S, P, K] float64 with rows that
    sum to one, `seed_S` and `repeat_S` the passes' seeds (0, 1, ... if not given) and repeats (0 if not given),
    `volume_P` [P] str or None.

    Raises:
        DataError: shapes that disagree, a label outside 0..K-1, probabilities that are none, a participant
            (or volume) twice.
    """

    participant_P: StrArray
    label_P: IntArray
    probability_SPK: FloatArray
    seed_S: tuple[int, ...] = ()
    volume_P: StrArray | None = None
    repeat_S: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.seed_S:
            object.__setattr__(self, "seed_S", tuple(range(len(self.probability_SPK))))
        if not self.repeat_S:
            object.__setattr__(self, "repeat_S", (0,) * len(self.seed_S))
        shape = self.probability_SPK.shape
        if len(shape) != 3 or shape[:2] != (len(self.seed_S), len(self.participant_P)) or 0 in shape:
            raise DataError(
                f"scores: probabilities have shape {shape}; expected (seeds, participants, classes)"
            )
        if len(self.repeat_S) != len(self.seed_S):
            raise DataError(
                f"scores: {len(self.seed_S)} seeds and {len(self.repeat_S)} repeats name the passes"
            )
        if len(self.label_P) != len(self.participant_P):
            raise DataError(f"scores: {len(self.label_P)} labels for {len(self.participant_P)} participants")
        _refuse_labels(self.label_P, shape[2], self.participant_P)
        _refuse_two_values(self.participant_P, self.label_P, "label")
        twice = [key[0] for key, count in Counter(self.row_keys()).items() if count > 1]
        if twice:
            raise DataError(f"scores: more than one row for {name_some(twice)}")
        sum_SP = self.probability_SPK.sum(axis=2)
        if not (
            np.isfinite(sum_SP).all() and (self.probability_SPK >= 0).all() and (abs(sum_SP - 1) < 1e-6).all()
        ):
            raise DataError("scores: probabilities are negative, not finite or do not sum to one")

    @property
    def num_classes(self) -> int:
        return int(self.probability_SPK.shape[2])

    @property
    def name_S(self) -> tuple[str, ...]:
        """The passes as people read them: `seed 3`, or `seed 3, repeat 1` where there are several repeats."""
        several = len(set(self.repeat_S)) > 1
        passes = zip(self.seed_S, self.repeat_S, strict=True)
        return tuple(
            f"seed {seed}, repeat {repeat}" if several else f"seed {seed}" for seed, repeat in passes
        )

    @property
    def predicted_SP(self) -> IntArray:
        """Most probable class, the lowest on a tie, [S, P]."""
        predicted_SP: IntArray = self.probability_SPK.argmax(axis=2)
        return predicted_SP

    def row_keys(self) -> list[tuple[str, str]]:
        """(participant, volume) of each row; volume is empty where rows are participants."""
        volumes = self.volume_P.tolist() if self.volume_P is not None else [""] * len(self.participant_P)
        return list(zip(self.participant_P.tolist(), volumes, strict=True))

    def ordered(self) -> ParticipantScores:
        """The same rows in the order of their keys."""
        keys = self.row_keys()
        if all(before < after for before, after in pairwise(keys)):
            return self
        order_P = np.array(sorted(range(len(keys)), key=keys.__getitem__))
        volume_P = None if self.volume_P is None else self.volume_P[order_P]
        probability_SPK = self.probability_SPK[:, order_P]
        return ParticipantScores(
            self.participant_P[order_P],
            self.label_P[order_P],
            probability_SPK,
            self.seed_S,
            volume_P,
            self.repeat_S,
        )


def softmax(logits_NK: FloatArray) -> FloatArray:
    """Probabilities [N, K] in float64."""
    exp_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
    probability_NK: FloatArray = exp_NK / exp_NK.sum(axis=1, keepdims=True)
    return probability_NK


def by_participant(predictions: Predictions, how: How = "mean") -> ParticipantScores:
    """Scores per participant, sorted by id: softmax per volume, then the mean over the participant's volumes.

    `how="volume"` keeps one row per volume; its participant stays known, so that intervals resample
    participants. Volumes with the same participant, eye and device are told apart by their order in the
    table, which must be the same in every pass.

    Raises:
        DataError: logits that are not finite; a participant with two labels, in two splits or (within a pass)
            in two folds; passes that scored different participants or volumes.
    """
    wild_N = ~np.isfinite(predictions.logits_NK).all(axis=1)
    if wild_N.any():
        raise DataError(
            f"predictions: logits are not finite for {name_some(predictions.participant[wild_N].tolist())}",
            hint="Training diverged; lower the learning rate or use fp32.",
        )
    _refuse_two_values(predictions.participant, predictions.label, "label")
    _refuse_two_values(predictions.participant, predictions.split, "split")
    passes = sorted(set(zip(predictions.seed.tolist(), predictions.repeat.tolist(), strict=True)))
    parts = [
        _of_one_pass(predictions.rows((predictions.seed == seed) & (predictions.repeat == repeat)), how)
        for seed, repeat in passes
    ]
    first = parts[0]
    for pass_, part in zip(passes[1:], parts[1:], strict=True):
        different = set(first.row_keys()) ^ set(part.row_keys())
        if different:
            names = name_some(" ".join(key).strip() for key in different)
            raise DataError(
                f"predictions: (seed, repeat) {passes[0]} and {pass_} scored different participants or volumes: "
                f"{names}",
                hint="Every seed and repeat must score the same evaluation set; run the run again.",
            )
    probability_SPK = np.concatenate([part.probability_SPK for part in parts])
    seed_S, repeat_S = zip(*passes, strict=True)
    return ParticipantScores(
        first.participant_P, first.label_P, probability_SPK, seed_S, first.volume_P, repeat_S
    )


def _of_one_pass(predictions: Predictions, how: How) -> ParticipantScores:
    _refuse_two_values(predictions.participant, predictions.fold, "fold")
    keys = (predictions.device, predictions.eye, predictions.participant)
    if how == "volume":
        rows = predictions.rows(np.lexsort(keys))  # stable: equal keys stay in the order of the table
        names_N = _volume_names(rows)
        return ParticipantScores(
            rows.participant, rows.label, softmax(rows.logits_NK)[None], volume_P=names_N
        )
    # With the logits as last keys the order of summation, so the last bit, is the same for any row order.
    rows = predictions.rows(np.lexsort((*predictions.logits_NK.T, *keys)))
    participant_P, first_P, index_N, count_P = np.unique(
        rows.participant, return_index=True, return_inverse=True, return_counts=True
    )
    sum_PK = np.zeros((len(participant_P), rows.num_classes))
    np.add.at(sum_PK, index_N, softmax(rows.logits_NK))
    mean_PK = np.minimum(sum_PK / count_P[:, None], 1.0)
    return ParticipantScores(participant_P, rows.label[first_P], mean_PK[None])


def _volume_names(rows: Predictions) -> StrArray:
    seen: dict[tuple[str, str, str], int] = {}
    names = []
    for key in zip(rows.participant.tolist(), rows.eye.tolist(), rows.device.tolist(), strict=True):
        seen[key] = seen.get(key, 0) + 1
        names.append(f"{key[1]}/{key[2]}/{seen[key]}")
    return np.array(names, dtype=np.str_)


def name_some(ids: Iterable[str], limit: int = 5) -> str:
    """The first few ids, sorted, and how many more there are."""
    ordered = sorted(set(ids))
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(ordered[:limit]) + more


def _refuse_labels(label_N: IntArray, num_classes: int, participant_N: StrArray) -> None:
    outside_N = (label_N < 0) | (label_N >= num_classes)
    if outside_N.any():
        raise DataError(
            f"labels {sorted(set(label_N[outside_N].tolist()))} are outside 0..{num_classes - 1} "
            f"for {name_some(participant_N[outside_N].tolist())}",
            hint="classes.mapping must give every class a number from 0 up, one per output of the head.",
        )


def _refuse_two_values(participant_N: StrArray, value_N: StrArray | IntArray, what: str) -> None:
    first: dict[str, object] = {}
    ids = zip(participant_N.tolist(), value_N.tolist(), strict=True)
    conflicting = [name for name, value in ids if first.setdefault(name, value) != value]
    if conflicting:
        raise DataError(
            f"more than one {what} for {name_some(conflicting)}",
            hint=f"A participant has one {what}, shared by all of its volumes; mend the table it came from.",
        )

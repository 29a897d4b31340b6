"""Folds, hold-outs, class weights and the order of an epoch: everything random about who is seen when.

Legend: N samples, K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from octjob.data.participants import Participant
from octjob.errors import DataError

Labels = Sequence[int] | NDArray[np.integer]


def stratified_folds(
    participants: Sequence[Participant], num_folds: int, seed: int, repeat: int = 0
) -> dict[str, int]:
    """Participant id to fold (0 .. num_folds - 1), stratified on class and site; another `repeat`, another deal.

    Each class's participants, site after site in random order and shuffled within, are dealt to the folds in turn,
    one deal running through all of them: folds differ by at most one in total, within each class, and within each
    class and site, however few a site has. Depends on the set of participants, the seed and the repeat, not on
    their order. Raises `DataError` if a class has fewer participants than there are folds.
    """
    folds: dict[str, int] = {}
    for label, members in _by_class(participants, _rng("folds", seed, repeat)).items():
        if len(members) < num_folds:
            raise DataError(
                f"class {label} has {len(members)} participants for {num_folds} folds",
                "Use fewer folds, so that every fold can score every class.",
            )
        for participant in members:
            folds[participant.id] = len(folds) % num_folds
    return folds


# As few of a class as every choice of a penalty needs, see `octjob.train.logistic`.
MIN_OF_CLASS = 5


def subset(participants: Sequence[Participant], share: float, seed: int, draw: int = 0) -> frozenset[str]:
    """Ids of about `share` of the participants of each class, at least 5 or all there are; spread over sites.

    Of one draw a smaller share is part of every larger one. Depends on the set of participants, seed and draw.
    """
    rng, chosen = _rng("subset", seed, draw), set[str]()
    for members in _by_class(participants, rng).values():
        count = min(len(members), max(round(share * len(members)), MIN_OF_CLASS))
        # Each site's first, second ... at even distances from 0 to 1: any beginning holds each site's share.
        sites: dict[str, list[str]] = {}
        for member in members:
            sites.setdefault(member.site, []).append(member.id)
        places = {
            identity: (place + offset) / len(ids)
            for ids in sites.values()
            for offset in [rng.random()]
            for place, identity in enumerate(ids)
        }
        chosen.update(sorted(places, key=lambda one: (places[one], one))[:count])
    return frozenset(chosen)


def holdout(participants: Sequence[Participant], share: float, seed: int) -> frozenset[str]:
    """Ids of about `share` of the participants of each class (at least one, never all), spread over sites.

    Raises `DataError` if a class has fewer than two participants.
    """
    rng = _rng("holdout", seed)
    held: set[str] = set()
    for label, members in _by_class(participants, rng).items():
        if len(members) < 2:
            raise DataError(
                f"class {label} has {len(members)} training participant: none can be held out",
                "Turn `train.early_stopping` off, or widen the selection.",
            )
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        # Evenly spaced places in the site-by-site order: each site gives its share.
        places = np.floor((np.arange(count) + rng.random()) * len(members) / count).astype(int)
        held.update(members[place].id for place in places)
    return frozenset(held)


def shuffled_labels(
    participants: Sequence[Participant], seed: int, repeat: int = 0, fold: int = 0
) -> dict[str, int]:
    """Participant id to a class: those of each site, dealt anew among its participants.

    Each site keeps how many it has of each class. Depends on the set of participants, the seed, the repeat and the
    fold, not on their order.
    """
    rng = _rng("shuffled labels", seed, repeat, fold)
    sites: dict[str, list[Participant]] = {}
    for participant in sorted(participants, key=lambda p: (p.site, p.id)):
        sites.setdefault(participant.site, []).append(participant)
    return {
        one.id: members[other].label
        for members in sites.values()
        for one, other in zip(members, rng.permutation(len(members)), strict=True)
    }


def class_weights(
    labels: Labels, num_classes: int, setting: Literal["auto", "none"] | tuple[float, ...]
) -> NDArray[np.float64] | None:
    """(K,) loss weights, or None for none, of mean 1 over `labels`: pass the labels really trained on, after
    every filter.

    `auto`: N / (K * count), scikit-learn's `balanced`, whose mean is 1. Explicit weights are relative and
    scaled to that mean, so that equal ones are none at all, and learning rate and penalty mean the same under
    any. Raises `DataError` if a class has no sample to balance.
    """
    if setting == "none":
        return None
    if isinstance(setting, tuple):
        weight_K = np.asarray(setting, dtype=np.float64)
        return np.asarray(weight_K / weight_K[np.asarray(labels)].mean())
    counts = _counts(labels, num_classes)
    return np.asarray(len(labels) / (num_classes * counts), dtype=np.float64)


def sample_weights(labels: Labels, num_classes: int) -> NDArray[np.float64]:
    """(N,) drawing probabilities that give every class the same share. Raises `DataError` on an empty
    class."""
    counts = _counts(labels, num_classes)
    return np.asarray(1.0 / (num_classes * counts[np.asarray(labels)]), dtype=np.float64)


def epoch_order(
    num_samples: int, seed: int, epoch: int, weights: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """(N,) indices of one epoch: a permutation, or N weighted draws with replacement. The same on every host
    and after a restart."""
    rng = _rng("order", seed, epoch)
    if weights is None:
        return rng.permutation(num_samples).astype(np.int64)
    if len(weights) != num_samples:
        raise ValueError(f"{len(weights)} weights for {num_samples} samples")
    cumulative = np.cumsum(weights / weights.sum())
    drawn = np.searchsorted(cumulative, rng.random(num_samples), side="right")
    return np.minimum(drawn, num_samples - 1).astype(np.int64)


def _by_class(participants: Sequence[Participant], rng: np.random.Generator) -> dict[int, list[Participant]]:
    """Class to its participants, site by site in random order, shuffled within each site."""
    classes: dict[int, dict[str, list[Participant]]] = {}
    for participant in sorted(participants, key=lambda p: (p.label, p.site, p.id)):
        classes.setdefault(participant.label, {}).setdefault(participant.site, []).append(participant)
    return {label: _shuffled(list(sites.values()), rng) for label, sites in classes.items()}


def _shuffled(groups: list[list[Participant]], rng: np.random.Generator) -> list[Participant]:
    # The groups too: small ones would otherwise meet the same neighbours, so the same folds, in every deal.
    ordered = [groups[g] for g in rng.permutation(len(groups))]
    return [group[i] for group in ordered for i in rng.permutation(len(group))]


def _counts(labels: Labels, num_classes: int) -> NDArray[np.int64]:
    counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=num_classes)
    if len(counts) > num_classes:
        raise ValueError(f"label {len(counts) - 1} with {num_classes} classes")
    if (counts == 0).any():
        raise DataError(
            f"no training sample of class {', '.join(map(str, np.flatnonzero(counts == 0)))} "
            f"(samples per class: {', '.join(map(str, counts))})",
            "Widen the selection, or map classes together in `classes.mapping`.",
        )
    return counts


def _rng(purpose: str, *numbers: int) -> np.random.Generator:
    """Independent streams for independent purposes, from integers a user can choose freely."""
    text = "/".join([purpose, *map(str, numbers)])
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))

"""The participants of a synthetic bucket: ids, sites, classes, splits, and who was imaged on what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from octjob.data.synthesize.protocols import PROTOCOLS
from octjob.data.synthesize.recipe import (
    CLASSES,
    FIRST_ID,
    IDS_PER_SITE,
    PUBLISHED_COUNTS,
    SITE_COUNTS,
    SPLITS,
    Device,
    Split,
    SynthesisRecipe,
)
from octjob.errors import SpecError

Laterality = Literal["L", "R"]

# Spawn keys of the recipe's seed: independent streams, so that one choice never shifts another.
_COHORT_STREAM, PARTICIPANT_STREAM, CORRUPTION_STREAM = 0, 1, 2


@dataclass(frozen=True)
class Participant:
    """One participant. `index` (not the id) seeds the anatomy; `label` is 0-3 as in `CLASSES`."""

    index: int
    participant_id: int
    site: str
    split: Split
    label: int
    age: int
    visit_date: str
    hba1c: float
    eyes: tuple[Laterality, ...]
    devices: tuple[Device, ...]

    @property
    def study_group(self) -> str:
        """The class as participants.tsv spells it."""
        return CLASSES[self.label]


def stream(recipe: SynthesisRecipe, *key: int) -> np.random.Generator:
    """A generator that depends on the recipe's seed and the key, on nothing else."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(recipe.seed, spawn_key=key)))


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Whole numbers that sum to `total`, in the proportions of `weights` (largest remainder, first wins)."""
    exact = np.asarray(weights, dtype=np.float64) * total / sum(weights)
    counts = np.floor(exact).astype(int)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return [int(count) for count in counts]


def class_counts(recipe: SynthesisRecipe) -> dict[Split, list[int]]:
    """Participants with OCT by split and class."""
    if isinstance(recipe.participants, int):
        cells = apportion(recipe.participants, [n for split in SPLITS for n in PUBLISHED_COUNTS[split]])
        return {split: cells[4 * i : 4 * i + 4] for i, split in enumerate(SPLITS)}
    wanted = {split: recipe.participants.get(split, 0) for split in SPLITS}
    return {
        split: apportion(count, PUBLISHED_COUNTS[split]) if isinstance(count, int) else list(count)
        for split, count in wanted.items()
    }


def _sites_by_class(labels: np.ndarray, rng: np.random.Generator) -> list[str]:
    sites = [""] * len(labels)
    for label in range(len(CLASSES)):
        members = rng.permutation(np.flatnonzero(labels == label))
        counts = apportion(len(members), [SITE_COUNTS[site][label] for site in SITE_COUNTS])
        names = [site for site, count in zip(SITE_COUNTS, counts, strict=True) for _ in range(count)]
        for member, site in zip(members, names, strict=True):
            sites[member] = site
    return sites


def _ids(sites: Sequence[str]) -> list[int]:
    used = dict.fromkeys(FIRST_ID, 0)
    ids = []
    for site in sites:
        used[site] += 1
        if used[site] > IDS_PER_SITE:
            raise SpecError(
                f"participants: site {site} would need more than {IDS_PER_SITE} ids",
                "Ask for fewer participants: ids are 1xxx, 4xxx, 7xxx as in AI-READI.",
            )
        ids.append(FIRST_ID[site] + used[site])
    return ids


def draw_cohort(recipe: SynthesisRecipe) -> list[Participant]:
    """All participants, by ascending id; the last drawn `without_oct` of the train split have no device.

    Raises `SpecError` if a site's range of ids is too small.
    """
    rng = stream(recipe, _COHORT_STREAM)
    cells = [
        (s, c) for s, counts in class_counts(recipe).items() for c, n in enumerate(counts) for _ in range(n)
    ]
    cells = [cells[i] for i in rng.permutation(len(cells))]
    extra = rng.choice(len(CLASSES), recipe.without_oct, p=np.divide(PUBLISHED_COUNTS["train"], 743))
    with_oct = len(cells)
    cells += [("train", int(label)) for label in extra]
    labels = np.array([label for _, label in cells])
    sites = _sites_by_class(labels, rng)
    ids = _ids(sites)
    devices: list[Device] = list(dict.fromkeys(PROTOCOLS[name].device for name in recipe.protocols))
    per_participant = min(recipe.devices_per_participant or len(devices), len(devices))

    people = []
    for i, (split, label) in enumerate(cells):
        # Consecutive participants start at consecutive devices: even numbers, and no tie to class or split.
        mine = [devices[(i + j) % len(devices)] for j in range(per_participant)] if i < with_oct else []
        one: Laterality = "L" if rng.random() < 0.5 else "R"
        people.append(
            Participant(
                index=i,
                participant_id=ids[i],
                site=sites[i],
                split=split,
                label=label,
                age=int(np.clip(rng.normal(60, 11), 40, 90)),
                visit_date=str(np.datetime64("2023-07-19") + int(rng.integers(0, 365))),
                hba1c=round(float(rng.normal((5.4, 5.9, 6.8, 7.8)[label], 0.5)), 1),
                eyes=("L", "R") if recipe.eyes == "both" else (one,),
                devices=tuple(sorted(mine)),
            )
        )
    return sorted(people, key=lambda person: person.participant_id)

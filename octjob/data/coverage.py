"""How much of the expected data was found, by site and split, and why each missing participant is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from octjob.data.participants import SPLITS, Participant
from octjob.data.quarantine import NUM_NAMED
from octjob.errors import DataError

NO_VOLUME = "no volume in the manifest"
NONE_SELECTED = "no volume of the selected device/region/laterality"
ONLY_RADIAL = "only radial volumes"
ALL_QUARANTINED = "every volume quarantined"


@dataclass(frozen=True)
class Coverage:
    """`expected`: participants with OCT and a class. `missing`: id to reason, for those without a usable
    volume. `not_expected`: ids with volumes in the manifest that are no such participants."""

    expected: tuple[Participant, ...]
    missing: Mapping[str, str]
    not_expected: tuple[str, ...] = ()

    @property
    def num_expected(self) -> int:
        """Participants that should be there."""
        return len(self.expected)

    @property
    def num_found(self) -> int:
        """Participants that are."""
        return len(self.expected) - len(self.missing)

    @property
    def share(self) -> float:
        """Found / expected; 0 where nothing was expected."""
        return self.num_found / self.num_expected if self.expected else 0.0

    def cells(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(site, split) to (expected, found), sites by name, splits in train-val-test order."""
        expected = Counter((p.site, p.split) for p in self.expected)
        found = Counter((p.site, p.split) for p in self.expected if p.id not in self.missing)
        order = sorted(expected, key=lambda cell: (cell[0], SPLITS.index(cell[1])))
        return {cell: (expected[cell], found[cell]) for cell in order}

    def with_missing(self, ids: Iterable[str], reason: str) -> Coverage:
        """The same, with more participants missing."""
        return replace(self, missing={**self.missing, **dict.fromkeys(sorted(ids), reason)})

    def only(self, split: str) -> Coverage:
        """That of one split; `not_expected` are of none."""
        expected = tuple(p for p in self.expected if p.split == split)
        ids = {p.id for p in expected}
        return Coverage(expected, {i: reason for i, reason in self.missing.items() if i in ids})

    def table(self) -> str:
        """Found/expected participants, one line per site, one column per split."""
        cells = self.cells()
        sites = sorted({site for site, _ in cells})
        splits = [split for split in SPLITS if any(split == s for _, s in cells)]
        lines = [["site", *splits, "all"]]
        for site in [*sites, "all"]:
            chosen = {cell: n for cell, n in cells.items() if site in (cell[0], "all")}
            row = [[n for (_, s), n in chosen.items() if s == split] for split in splits]
            lines.append([site, *(_ratio(part) for part in row), _ratio(chosen.values())])
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        return "\n".join(
            "  ".join(
                text.ljust(w) if i == 0 else text.rjust(w)
                for i, (text, w) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )

    def to_dict(self) -> dict[str, object]:
        """For the run record."""
        return {
            "num_expected": self.num_expected,
            "num_found": self.num_found,
            "share": self.share,
            "cells": [
                {"site": site, "split": split, "expected": expected, "found": found}
                for (site, split), (expected, found) in self.cells().items()
            ],
            "missing": dict(self.missing),
            "not_expected": list(self.not_expected),
        }


def _ratio(parts: Iterable[tuple[int, int]]) -> str:
    parts = list(parts)
    return f"{sum(found for _, found in parts)}/{sum(expected for expected, _ in parts)}"


def require(coverage: Coverage, min_coverage: float) -> None:
    """Raise `DataError` naming the missing participants if less than the share `min_coverage` was found."""
    if coverage.expected and coverage.share >= min_coverage:
        return
    if not coverage.expected:
        raise DataError(
            "no participant with OCT has a class of classes.mapping",
            "Check the mapping and the retinal_oct column, or with a table of your own its column split.",
        )
    raise DataError(
        f"{coverage.num_found} of {coverage.num_expected} expected participants have a usable volume "
        f"({coverage.share:.1%}), less than data.min_coverage = {min_coverage}; missing: "
        f"{_named(coverage.missing)}{_strangers(coverage)}",
        _hint(coverage),
    )


def _named(missing: Mapping[str, str]) -> str:
    by_reason: dict[str, list[str]] = {}
    for identity in sorted(missing):
        by_reason.setdefault(missing[identity], []).append(identity)
    parts = []
    for reason, ids in sorted(by_reason.items()):
        more = f" and {len(ids) - NUM_NAMED} more" if len(ids) > NUM_NAMED else ""
        parts.append(f"{reason}: {', '.join(ids[:NUM_NAMED])}{more}")
    return "; ".join(parts)


def _strangers(coverage: Coverage) -> str:
    if not coverage.not_expected:
        return ""
    return f" (the manifest has {len(coverage.not_expected)} others, such as {coverage.not_expected[0]!r})"


def _hint(coverage: Coverage) -> str:
    if set(coverage.missing.values()) == {ONLY_RADIAL}:
        return "Set `data.include_radial: true` to use radial scans all the same."
    return "Complete the data set, widen the selection, or lower `data.min_coverage` knowing what is lost."

"""Coverage: are the participants there that the data set lists?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from octjob.doctor.finding import Finding

GATE = "coverage"
# Of what is expected, over all sites; the default of data.min_coverage.
_ENOUGH = 0.95
# A site's split has lost people where so many are missing, and more than this share.
_FEW, _SHARE = 3, 0.2


@dataclass(frozen=True)
class Cell:
    """Participants of one site and split: expected by the data set's tables, and found."""

    site: str
    split: str
    expected: int
    found: int

    @property
    def lost(self) -> bool:
        """Whether so many are missing that it is not by chance."""
        missing = self.expected - self.found
        return missing > 0 and (self.found == 0 or (missing >= _FEW and missing > _SHARE * self.expected))


@dataclass(frozen=True)
class Population:
    """Whom some runs used. cells: empty where that was not recorded.

    listed: participants that the data set lists, None where not recorded. unselected: of them, those whom
    `data.sites` leaves out.
    """

    runs: tuple[str, ...]
    cells: tuple[Cell, ...]
    listed: int | None = None
    unselected: int = 0


def coverage(
    populations: Sequence[Population], matrix: str, refused: Sequence[tuple[str, str]] = ()
) -> Finding:
    """populations: distinct ones. matrix: the sweep's file, for the command. refused: errors of lists of volumes that
    no run takes, each with its hint."""
    for message, hint in refused:
        return Finding(GATE, "failed", message, (), hint or _cure(matrix))
    recorded = [one for one in populations if one.cells]
    if not recorded:
        return Finding(GATE, "not judged", "coverage by site and split is not recorded")
    evidence = tuple(_counted(one) for one in recorded)
    for one in recorded:
        if one.listed and one.unselected > one.listed / 2:
            said = (
                f"data.sites leaves out {one.unselected} of {one.listed} listed participants in {_names(one)}"
            )
            return Finding(GATE, "failed", said, evidence, "data.sites: null")
        lost = [cell for cell in one.cells if cell.lost]
        expected, found = sum(c.expected for c in one.cells), sum(c.found for c in one.cells)
        if lost or found < _ENOUGH * expected:
            where = "; ".join(f"{c.site} {c.split} {c.found} of {c.expected}" for c in lost[:4])
            said = f"{expected - found} of {expected} expected participants are missing in {_names(one)}"
            return Finding(
                GATE, "failed", said + (f": {where} found" if where else ""), evidence, _cure(matrix)
            )
    return Finding(GATE, "passed", "the participants whom the data set lists are there", evidence)


def _cure(matrix: str) -> str:
    return f"data.min_coverage: {_ENOUGH}, and `octjob data check --matrix {matrix}` until it passes"


def _counted(one: Population) -> str:
    sites = dict.fromkeys(cell.site for cell in one.cells)
    parts = []
    for site in sites:
        cells = [cell for cell in one.cells if cell.site == site]
        parts.append(f"{site} " + ", ".join(f"{c.split} {c.found}/{c.expected}" for c in cells))
    return f"{_names(one)}: {'; '.join(parts)}"


def _names(one: Population) -> str:
    return one.runs[0] if len(one.runs) == 1 else f"{len(one.runs)} runs"

"""Which runs are drawn of a sweep of more than anybody reads, and the words that say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ELSEWHERE = "All are in leaderboard.csv, with their reasons."
# Up to so many a page shows every run in every part.
MANY = 300


@dataclass(frozen=True)
class Room:
    """How many runs a part has room for.

    first: of the ranked, by rank. best: checkpoints beyond these, by their best run. each: of every kind of run
    without a rank (no signal, collapsed, ...), and of controls.
    """

    first: int
    best: int
    each: int


# Of the table, of what is drawn run by run below it, and of a table that has to fit on paper.
TABLE, DRAWN, PAPER = Room(100, 100, 30), Room(24, 12, 6), Room(24, 12, 3)


@dataclass(frozen=True)
class Candidate:
    """What decides whether a run is shown. kind: of those without a rank, in words; empty for the ranked."""

    run_id: str
    checkpoint: str
    kind: str


@dataclass(frozen=True)
class Excerpt:
    """run_ids: of the shown, in the order given. text: who they are, of how many."""

    run_ids: frozenset[str]
    text: str


def excerpt(runs: Sequence[Candidate], room: Room, what: str = "runs with a result") -> Excerpt:
    """The first by rank, the best of each further checkpoint, and some of each kind without a rank.

    runs: in the order of the table, the best first. what: these are, in words.
    """
    ranked = [run for run in runs if not run.kind]
    first = ranked[: room.first]
    seen = {run.checkpoint for run in first}
    further = _best_of_each(run for run in ranked[room.first :] if run.checkpoint not in seen)
    best = further[: room.best]
    kinds = Counter(run.kind for run in runs if run.kind)
    others = [run for name in kinds for run in [one for one in runs if one.kind == name][: room.each]]
    shown = frozenset(run.run_id for run in (*first, *best, *others))
    parts = [
        _first(len(first), len(ranked)),
        _best(len(best), len(further)),
        *(_some(name, min(count, room.each), count) for name, count in kinds.items()),
    ]
    return Excerpt(
        shown, f"{len(shown):,} of {len(runs):,} {what}: {_listed([part for part in parts if part])}."
    )


def _best_of_each(ranked: Iterable[Candidate]) -> list[Candidate]:
    found: dict[str, Candidate] = {}
    for run in ranked:
        found.setdefault(run.checkpoint, run)
    return list(found.values())


def _first(shown: int, count: int) -> str:
    return f"the {shown:,} that are ranked" if shown == count else f"the first {shown:,} of {count:,} ranked"


def _best(shown: int, count: int) -> str:
    """Empty where every checkpoint with a rank is among the first."""
    if not count:
        return ""
    of = "the best run of each other checkpoint" if shown == count else "the best run of other checkpoints"
    return f"{of} ({shown:,}{'' if shown == count else f' of {count:,}'})"


def _some(kind_of_run: str, shown: int, count: int) -> str:
    return f"{count:,} {kind_of_run}" if shown == count else f"{shown:,} of {count:,} {kind_of_run}"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def candidates_of(rows: Sequence[Mapping[str, Any]]) -> list[Candidate]:
    """rows: of `leaderboard.json`."""
    return [
        Candidate(row["run_id"], row["checkpoint"], "" if row["rank"] is not None else kind_of(row))
        for row in rows
    ]


def kind_of(row: Mapping[str, Any]) -> str:
    """What a row without a rank is, in words."""
    return kind(row.get("control"), row["verdict"], row["state"])


def kind(control: str | None, verdict: str, state: str) -> str:
    """What a run without a rank is, in words."""
    if control:
        return "controls"
    return "without a rank" if verdict == "ok" else verdict.replace("_", " ") or state.lower()

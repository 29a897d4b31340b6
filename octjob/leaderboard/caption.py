"""The leaderboard in one sentence: which run is best and how sure that is, or that these data cannot tell."""

from __future__ import annotations

from collections.abc import Sequence

from octjob.evaluate import SelectionCorrected
from octjob.leaderboard.rows import Row

_MAX_NAMED = 3


def caption(rows: Sequence[Row], metric: str, winner: SelectionCorrected | None) -> str:
    """rows: in the order of the table. winner: what picking the best was worth."""
    finished = [row for row in rows if row.metrics is not None]
    ranked = [row for row in rows if row.rank is not None]
    if not finished:
        return "No run has a result yet."
    if not ranked:
        return f"No winner: none of {_runs(len(finished))} has a signal in {metric}."
    best = ranked[0]
    value = f"{metric} {best.value(metric):.3f}" + _corrected(winner)
    if len(ranked) == 1:
        others = f", of {_runs(len(finished))}" if len(finished) > 1 else ""
        return f"{best.name} alone has a signal{others}: {value}."
    tied = [row for row in ranked[1:] if row.rank is not None and row.rank.best == 1]
    if best.rank is not None and best.rank.worst == 1:
        return f"{best.name} is best, above each of {len(ranked) - 1} other ranked runs: {value}."
    named = ", ".join(row.name for row in tied[:_MAX_NAMED])
    more = f" and {len(tied) - _MAX_NAMED} more" if len(tied) > _MAX_NAMED else ""
    return f"No single winner: {best.name} leads with {value}, and cannot be told apart from {named}{more}."


def worth(leader: str, metric: str, winner: SelectionCorrected) -> str:
    """What the best is worth without the luck of the pick, as a sentence."""
    return (
        f"Corrected for being the best of {winner.num_runs}, {leader} is worth {metric} {winner.value:.3f}."
    )


def _corrected(winner: SelectionCorrected | None) -> str:
    if winner is None or winner.num_runs < 2:
        return ""
    return f" ({winner.value:.3f} corrected for being the best of {winner.num_runs})"


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"

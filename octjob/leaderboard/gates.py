"""What `octjob doctor` sees at a glance, beside the table: gates over the records that the table is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from octjob.leaderboard.outcome import Outcome

if TYPE_CHECKING:
    from octjob.leaderboard.board import Leaderboard


@dataclass(frozen=True)
class Gate:
    """verdict: passed, failed or not judged. said: one sentence. cure: of a failed one."""

    name: str
    verdict: str
    said: str
    cure: str


Examine = Callable[["Leaderboard", Sequence[Outcome]], Sequence[Gate]]


def with_gates(board: Leaderboard, gates: Sequence[Gate]) -> Leaderboard:
    """The board with these; the first that failed is its first warning."""
    failed = next((gate for gate in gates if gate.verdict == "failed"), None)
    warnings = board.warnings
    if failed is not None:
        cure = f" Cure: {failed.cure}." if failed.cure else ""
        line = f"octjob doctor, by the records: {failed.said} ({failed.name}).{cure}"
        warnings = (line.replace("..", "."), *warnings)
    return replace(board, gates=tuple(gates), warnings=warnings)

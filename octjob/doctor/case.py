"""A finished run, as the doctor knows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from octjob.leaderboard.outcome import Scored
from octjob.spec.run import Run

History = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Finished:
    """A run with a result. spec: None where there is none that this version reads. history: its epochs."""

    name: str
    scored: Scored
    spec: Run | None
    history: History = ()

    @property
    def report(self) -> Mapping[str, Any]:
        """What was loaded."""
        return self.scored.result.checkpoint_report

    @property
    def checkpoint(self) -> str:
        """Its checkpoint's name."""
        return self.scored.result.checkpoint

"""A run, finished or to be, as the doctor knows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from octjob.leaderboard.outcome import Scored
from octjob.spec.run import Run

History = Sequence[Mapping[str, Any]]


class Told(Protocol):
    """A run with what was loaded for it, or would be. spec: None where there is none that this version reads. report:
    of the checkpoint; empty where none was loaded."""

    @property
    def name(self) -> str: ...

    @property
    def checkpoint(self) -> str: ...

    @property
    def spec(self) -> Run | None: ...

    @property
    def report(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Planned:
    """A run that has no result. run_id: empty for one that was never submitted."""

    name: str
    checkpoint: str
    spec: Run | None
    report: Mapping[str, Any] = field(default_factory=dict)
    run_id: str = ""


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

"""Heads of other runs that train beside a run's own: on the same features, in the same steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from octjob.train.scoring import Scorer
from octjob.train.trained import Done
from octjob.train.units import Unit


@dataclass(frozen=True, eq=False)
class Guest:
    """Another run's training: its scorer's experiment differs from the host's as `Member` allows."""

    run_id: str
    scorer: Scorer
    units: Sequence[Unit]


@dataclass(frozen=True, eq=False)
class Stay:
    """What became of a guest's units that trained together, with their lines of history in order."""

    done: Done
    records: Sequence[dict[str, Any]]


class Company(Protocol):
    """Where guests come from, and where they go."""

    def invite(self, room: int) -> Sequence[Guest]:
        """Guests with at most `room` heads in all."""
        ...

    def leave(self, guest: Guest, stays: Sequence[Stay]) -> None:
        """All units of the guest are done."""
        ...


class Nobody:
    """A run by itself."""

    def invite(self, room: int) -> Sequence[Guest]:
        """None."""
        return ()

    def leave(self, guest: Guest, stays: Sequence[Stay]) -> None:
        """Nobody came."""

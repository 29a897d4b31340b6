"""Volumes that cannot be used: each is named with its reason, counted, and too many of them are an error."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from octjob.errors import DataError

log = logging.getLogger(__name__)

NUM_NAMED = 10
_MAX_REASON = 300


class CorruptVolumeError(DataError):
    """A file that is not the OCT volume it should be. `reason` is the message without the URI: one printable
    line, whatever bytes of the file are in it."""

    def __init__(self, uri: str, reason: str) -> None:
        reason = _line(reason)
        super().__init__(
            f"{uri}: {reason}",
            "Fetch the file again, or let `data.max_corrupt` tolerate a small share of such volumes.",
        )
        self.uri = uri
        self.reason = reason

    def __reduce__(self) -> tuple[type[CorruptVolumeError], tuple[str, str]]:
        return CorruptVolumeError, (self.uri, self.reason)


def _line(text: str) -> str:
    more = "..." if len(text) > _MAX_REASON else ""
    words = " ".join(text[:_MAX_REASON].split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words) + more


@dataclass(frozen=True)
class Quarantined:
    """One volume left out, and why."""

    participant: str
    sop_instance_uid: str
    uri: str
    reason: str


class Quarantine:
    """The unusable volumes of one pass over the data. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, Quarantined] = {}

    def add(self, entry: Quarantined) -> None:
        """Note a volume once; the log names it with its reason."""
        with self._lock:
            known = entry.sop_instance_uid in self._entries
            self._entries.setdefault(entry.sop_instance_uid, entry)
        if not known:
            log.warning("quarantined: participant %s, %s: %s", entry.participant, entry.uri, entry.reason)

    def merge(self, others: Iterable[Sequence[Quarantined]]) -> None:
        """Add what other processes left out."""
        for entries in others:
            for entry in entries:
                self.add(entry)

    @property
    def entries(self) -> tuple[Quarantined, ...]:
        """All volumes left out, by participant and UID."""
        with self._lock:
            return tuple(sorted(self._entries.values(), key=lambda e: (e.participant, e.sop_instance_uid)))

    @property
    def uids(self) -> frozenset[str]:
        """SOP instance UIDs of the volumes left out."""
        return frozenset(entry.sop_instance_uid for entry in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def check(self, total: int, max_corrupt: float) -> None:
        """Raise `DataError` if more than the share `max_corrupt` of `total` volumes was left out."""
        entries = self.entries
        if len(entries) <= max_corrupt * total:
            return
        named = "; ".join(f"participant {e.participant}: {e.uri}: {e.reason}" for e in entries[:NUM_NAMED])
        more = f"; and {len(entries) - NUM_NAMED} more" if len(entries) > NUM_NAMED else ""
        raise DataError(
            f"{len(entries)} of {total} volumes cannot be read, more than data.max_corrupt = {max_corrupt}: "
            f"{named}{more}",
            "Repair or fetch these files again, or raise `data.max_corrupt` if the loss is acceptable.",
        )

    def to_dict(self) -> dict[str, object]:
        """For the run record."""
        return {"num_quarantined": len(self), "volumes": [vars(entry) for entry in self.entries]}

"""Resume state in the store: two generations, each whole or absent, so that one is always readable."""

from __future__ import annotations

import io
import logging
from typing import Any

import torch

from octjob.records.layout import run_key
from octjob.storage.base import ObjectNotFoundError, ObjectStore
from octjob.storage.sealed import seal, unseal

log = logging.getLogger(__name__)

_NAMES = ("checkpoint/resume-0.pt", "checkpoint/resume-1.pt")


class ResumeStore:
    """Saves alternately to two objects; loads the newer one that is undamaged."""

    def __init__(self, store: ObjectStore, run_id: str) -> None:
        self.store = store
        self.keys = tuple(run_key(run_id, name) for name in _NAMES)
        self.generation = 0

    def save(self, state: dict[str, Any]) -> int:
        """Write the next generation; the previous one stays. Returns the number of bytes written."""
        self.generation += 1
        buffer = io.BytesIO()
        torch.save({"generation": self.generation, "state": state}, buffer)
        sealed = seal(buffer.getvalue())
        self.store.put(self.keys[self.generation % 2], sealed)
        return len(sealed)

    def load(self) -> dict[str, Any] | None:
        """The newest readable state, or None where there is none."""
        found = [record for key in self.keys if (record := self._read(key)) is not None]
        if not found:
            return None
        newest = max(found, key=lambda record: int(record["generation"]))
        self.generation = newest["generation"]
        state: dict[str, Any] = newest["state"]
        return state

    def _read(self, key: str) -> dict[str, Any] | None:
        try:
            data = self.store.get(key)
        except ObjectNotFoundError:
            return None
        body = unseal(data)
        if body is None:
            log.warning("%s is damaged; using the other generation", self.store.uri(key))
            return None
        record: dict[str, Any] = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
        return record

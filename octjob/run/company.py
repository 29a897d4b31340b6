"""Runs that come later in this process and train beside the one that is carried out: theirs is then done ahead."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from octjob.data.cohort import Volume
from octjob.errors import DataError
from octjob.records.layout import read_spec, run_uri
from octjob.spec.run import Run
from octjob.storage.base import ObjectNotFoundError, ObjectStore
from octjob.train.company import Guest, Stay
from octjob.train.controls import make_scorer
from octjob.train.units import units_of

log = logging.getLogger(__name__)

_NUM_READERS = 16
# What runs that train together may differ in: what `Member` allows, what they are called, and where they log.
_FREE: Any = {
    "run_id": True,
    "config_name": True,
    "notes": True,
    "seeds": True,
    "config": {
        "project_name": True,
        "log": True,
        "seed": True,
        "train": {"lr_head", "weight_decay", "class_weights", "grad_clip", "early_stopping"},
    },
}


@dataclass(frozen=True)
class MadeFrom:
    """What a training was made from besides its spec: digests of the encoder's weights and of the cohort."""

    weights: str
    cohort: str


@dataclass(frozen=True, eq=False)
class Ahead:
    """A run's training that was carried out beside the run `host_id`."""

    run: Run
    made_from: MadeFrom
    host_id: str
    stays: Sequence[Stay]


@dataclass
class Later:
    """The runs that follow in this process. uris: theirs, in order; `ahead`: who of them has trained."""

    uris: Sequence[str] = ()
    ahead: dict[str, Ahead] = field(default_factory=dict)
    _specs: dict[str, Run | None] = field(default_factory=dict)

    def take(self, run: Run, made_from: MadeFrom) -> Ahead | None:
        """The run's training, where it was done ahead, from this spec and the same inputs."""
        found = self.ahead.pop(run.run_id, None)
        return found if found and (found.run, found.made_from) == (run, made_from) else None

    def runs(self, store: ObjectStore) -> list[Run]:
        """Those in this store, each read once. One that cannot be read says so itself when its turn comes."""
        folder = run_uri(store.root, "")
        ids = [uri.rstrip("/").removeprefix(folder) for uri in self.uris if uri.startswith(folder)]
        new = [run_id for run_id in ids if run_id not in self._specs]
        with ThreadPoolExecutor(_NUM_READERS) as pool:
            self._specs.update(zip(new, pool.map(lambda run_id: _spec(store, run_id), new), strict=True))
        return [run for run_id in ids if (run := self._specs[run_id]) is not None]


@dataclass(frozen=True, eq=False)
class Beside:
    """Company for `run`, from those that come later (see `octjob.train.company.Company`)."""

    run: Run
    store: ObjectStore
    volumes: Sequence[Volume]
    made_from: MadeFrom
    later: Later

    def invite(self, room: int) -> list[Guest]:
        """In their order, those that train alike and have not trained."""
        guests: list[Guest] = []
        fixed = _fixed(self.run)
        for run in self.later.runs(self.store):
            if run.run_id in self.later.ahead or _fixed(run) != fixed:
                continue
            if (guest := self._guest(run)) is None:
                continue
            if len(guest.units) > room:
                break
            guests.append(guest)
            room -= len(guest.units)
        return guests

    def leave(self, guest: Guest, stays: Sequence[Stay]) -> None:
        """Keep it for the run's own attempt."""
        run = next(run for run in self.later.runs(self.store) if run.run_id == guest.run_id)
        self.later.ahead[guest.run_id] = Ahead(run, self.made_from, self.run.run_id, stays)

    def _guest(self, run: Run) -> Guest | None:
        try:
            units = units_of(self.volumes, run)
        except DataError:
            # Its own attempt will say it.
            return None
        return Guest(run.run_id, make_scorer(run, self.volumes), units)


def _fixed(run: Run) -> dict[str, Any]:
    return run.model_dump(exclude=_FREE)


def _spec(store: ObjectStore, run_id: str) -> Run | None:
    try:
        return read_spec(store, run_id)
    except (ObjectNotFoundError, DataError):
        return None

"""Encoding, where it is asked for: volumes whose features the cache lacks. The runs then find them there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from octjob.data.cohort import Volume
from octjob.data.layouts import open_reader
from octjob.data.quarantine import Quarantine
from octjob.doctor.cached import Place, place_of, read_features
from octjob.doctor.case import Told
from octjob.doctor.tables import Tables, selects
from octjob.features.encode import encode_volumes
from octjob.features.encoders import encoder_of, require_file
from octjob.features.encoding import Encoding
from octjob.models.arrange import arrange
from octjob.models.checkpoint import LoadedEncoder
from octjob.runtime.select import open_runtime
from octjob.spec.run import Run
from octjob.storage.open import open_store
from octjob.tick import Tick
from octjob.train.units import used_splits

# Enough to judge by, and minutes at most: of every class and split in turn.
MOST_VOLUMES = 256
_OWNER = "octjob-doctor"


@dataclass(frozen=True, eq=False)
class Missing:
    """Volumes to encode, by whose place."""

    orders: tuple[tuple[Place, tuple[Volume, ...]], ...]

    @property
    def num_volumes(self) -> int:
        """Over all encoders."""
        return sum(len(volumes) for _, volumes in self.orders)

    @property
    def question(self) -> str:
        """What is asked before they are encoded."""
        return f"Encode {self.num_volumes} volumes ({len(self.orders)} encoders) into {self.orders[0][0].run.cache}?"


def load(run: Run) -> LoadedEncoder:
    """The run's encoder. Raises as `encoder_of`, and `DataError` for another file than the sweep asks for."""
    loaded = encoder_of(run)
    require_file(run, loaded)
    return loaded


def missing_features(told: Sequence[Told], tables: Sequence[Tables]) -> Missing | None:
    """Of each encoder at most `MOST_VOLUMES` of those that its first run uses; None where nothing is missing."""
    orders: dict[tuple[str, ...], tuple[Place, tuple[Volume, ...]]] = {}
    for run in told:
        place = place_of(run.name, run.checkpoint, run.report, run.spec)
        of = selects(tables, run.name)
        if place is None or of is None or of.cohort is None or place.identity in orders:
            continue
        used = of.cohort.only(*used_splits(place.run.config, place.run.is_pooled)).volumes
        there = read_features(place)
        wanted = [one for one in _evenly(used) if one.record.sop_instance_uid not in there]
        orders[place.identity] = place, tuple(wanted)
    lacking = tuple((place, volumes) for place, volumes in orders.values() if volumes)
    return Missing(lacking) if lacking else None


def _evenly(volumes: Sequence[Volume]) -> list[Volume]:
    by_cell: dict[tuple[str, int], list[Volume]] = {}
    for one in volumes:
        by_cell.setdefault((one.participant.split, one.participant.label), []).append(one)
    longest = max(map(len, by_cell.values()), default=0)
    turns = [some[i] for i in range(longest) for some in by_cell.values() if i < len(some)]
    return turns[:MOST_VOLUMES]


def encode_missing(missing: Missing, tick: Tick) -> None:
    """Encode and store them, as a run would.

    Raises as stores, and `DataError` as checkpoints do. Volumes that cannot be read are left out.
    """
    runtime = open_runtime(os.environ)
    for place, volumes in missing.orders:
        run, loaded = place.run, load(place.run)
        arrange(
            loaded.encoder,
            run.config,
            runtime.backend,
            recompute=runtime.recompute(),
            flash=runtime.flash(),
            shards=runtime.num_shards,
            memory=runtime.memory,
        )
        runtime.place(loaded.encoder)
        cache = open_store(run.cache)
        reader = open_reader(run.config.data, loaded.encoder.geometry.volume_size, cache)
        encoding = Encoding(loaded, run.config, runtime)
        encode_volumes(encoding, cache, reader, volumes, (), Quarantine(), _OWNER, tick)

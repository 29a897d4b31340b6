"""Volumes ahead of whoever needs them: brought here, decoded and preprocessed at the same time, and given in order.

    look up ──> cached ───────────────────────────────┐
       └──────> downloads ──> decoding processes ─────┴──> in the order asked for

Every stage has threads of its own, so that a connection never waits for a decoder while there is room for what it
brings.

Legend: x_DHW float32, B-scans x rows x columns, as the encoder takes them.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from octjob.data.cohort import Volume
from octjob.data.cores import num_cores
from octjob.data.pool import Pool
from octjob.data.quarantine import CorruptVolumeError, Quarantine, Quarantined
from octjob.data.volumes import VolumeReader
from octjob.data.wanted import Wanted

Float32 = NDArray[np.float32]

# Of files under way and not yet decoded; and as much again of preprocessed volumes that nobody has taken yet.
MOST_BYTES = 1 << 30
_FLOAT_BYTES = 4
# Requests without a body, which take a round trip and nothing of the connections' width.
_NUM_LOOKING_UP = 8


@dataclass(frozen=True)
class Breadth:
    """How much is done at a time: `connections` to the store, `num_workers` decoding processes."""

    connections: int
    num_workers: int

    @classmethod
    def of(cls, connections: int, num_workers: int | None) -> Breadth:
        """None for as many workers as this process may use cores."""
        return cls(connections, num_cores() if num_workers is None else num_workers)


class VolumeStream:
    """Reads volumes by `reader` in the order in which they are asked for. One thread asks; `close` ends it."""

    def __init__(self, reader: VolumeReader, breadth: Breadth) -> None:
        self._reader = reader
        self._breadth = breadth
        self._looking_up = Pool(_NUM_LOOKING_UP, "look-up")
        self._downloads = reader.downloads(breadth.connections, MOST_BYTES)
        self._decoding = Pool(max(1, breadth.num_workers), "decode")
        self._num_started = 0
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        threading.Thread(target=self._bring, name="bring", daemon=True).start()

    @property
    def num_ahead(self) -> int:
        """For how many volumes to ask ahead: enough for every connection and decoder, as many as have room."""
        room = MOST_BYTES // (_FLOAT_BYTES * math.prod(self._reader.size))
        least = self._breadth.num_workers + 1
        return max(least, min(room, self._breadth.connections + 2 * self._breadth.num_workers))

    def ask(self, volume: Volume) -> Future[Float32]:
        """x_DHW to come. It raises what `VolumeReader.read` raises, `CancelledError` after `close`."""
        asked = _Asked(volume, self._looking_up.submit(self._look_up, volume))
        self._asked.put(asked)
        return asked.x_DHW

    def close(self) -> None:
        """End what is under way. Nothing is waited for."""
        self._asked.put(None)
        self._looking_up.close()
        self._downloads.close()
        self._decoding.close()

    def _look_up(self, volume: Volume) -> Float32 | Wanted:
        x_DHW = self._reader.cached(volume)
        return self._reader.find(volume) if x_DHW is None else x_DHW

    def _bring(self) -> None:
        """In a thread: begin the downloads in the order asked for, as far as there is room."""
        while (asked := self._asked.get()) is not None:
            try:
                found = asked.found.result()
                if isinstance(found, Wanted):
                    self._start_decoder()
                    arrived = self._downloads.fetch(found)
                    made = self._decoding.after(arrived, partial(self._reader.make, asked.volume, found.info))
                    made.add_done_callback(asked.arrived)
                else:
                    asked.x_DHW.set_result(found)
            except BaseException as error:  # noqa: BLE001 (goes to whoever asks for the volume)
                asked.x_DHW.set_exception(error)

    def _start_decoder(self) -> None:
        """As the first files come, so that processes start while they do."""
        if self._num_started < self._decoding.num_threads:
            self._num_started += 1
            self._decoding.submit(self._reader.start_one)


@dataclass(frozen=True, eq=False)
class _Asked:
    """One volume under way: what was found of it, and what comes of it."""

    volume: Volume
    found: Future[Float32 | Wanted]
    x_DHW: Future[Float32] = field(default_factory=Future)

    def arrived(self, made: Future[Float32]) -> None:
        """It was made, or could not be."""
        error = made.exception()
        if error is None:
            self.x_DHW.set_result(made.result())
        else:
            self.x_DHW.set_exception(error)


def load_volumes(
    reader: VolumeReader, volumes: Iterable[Volume], breadth: Breadth, on_corrupt: Quarantine
) -> Iterator[tuple[Volume, Float32]]:
    """(volume, x_DHW) in the order given, read ahead that broadly; without workers in turn, in the caller's thread.

    Unusable volumes go to `on_corrupt` and are passed over; any other error (a store that refuses, a missing decoder)
    is raised and ends the reading.
    """
    if breadth.num_workers == 0:
        for volume in volumes:
            yield from _usable(reader, volume, partial(reader.read, volume), on_corrupt)
        return
    with contextlib.closing(VolumeStream(reader, breadth)) as stream:
        ahead: deque[tuple[Volume, Future[Float32]]] = deque()
        for volume in volumes:
            ahead.append((volume, stream.ask(volume)))
            if len(ahead) > stream.num_ahead:
                first, x_DHW = ahead.popleft()
                yield from _usable(reader, first, x_DHW.result, on_corrupt)
        while ahead:
            first, x_DHW = ahead.popleft()
            yield from _usable(reader, first, x_DHW.result, on_corrupt)


def _usable(
    reader: VolumeReader, volume: Volume, read: Callable[[], Float32], quarantine: Quarantine
) -> Iterator[tuple[Volume, Float32]]:
    try:
        x_DHW = read()
    except CorruptVolumeError as error:
        record = volume.record
        quarantine.add(
            Quarantined(record.participant, record.sop_instance_uid, reader.uri(volume), error.reason)
        )
        return
    yield volume, x_DHW

"""Batches made before they are needed: of several sequences, one after the other, so many volumes at a time.

    first ──┐
    second ─┼─> asked for in this order, by a thread of its own ──> made by others ──> taken by the loop
    third ──┘

So the loop's thread neither asks nor puts together: it takes what is there. The end of a sequence is no boundary: the
next one's first batches are made while the last ones of this are taken.

Shapes: B volumes of a batch, D H W voxels.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from octjob.train.units import Indices

Float32 = npt.NDArray[np.float32]

# At least so many are asked for, be they more volumes than are wanted ahead.
FIRST_BATCHES = 2
# Short beside the time that so many volumes last.
_LOOK_EVERY_S = 0.01


@dataclass(frozen=True, eq=False)
class Batch:
    """x_BDHW, which is complete once all `parts` are done; they raise what its volumes raise."""

    x_BDHW: Float32
    parts: Sequence[Future[None]]


Ask = Callable[[Indices], Batch]
# A new sequence, that what has been taken is to be looked at, or that no more is wanted.
_Token: TypeAlias = "Literal['look', 'end'] | weakref.ref[Batches]"


class Ahead:
    """Asks for the batches of all its sequences, `num_ahead` volumes before they are taken, in a thread that `close`
    ends.

    Whoever takes a batch that is there waits for no lock and wakes no thread: the one that asks looks by itself what
    has been taken. On busy cores, to wake another is to give way to it, and to whatever comes next.
    """

    def __init__(self, num_ahead: int) -> None:
        self._num_ahead = num_ahead
        self._tokens: queue.SimpleQueue[_Token] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="ask", daemon=True).start()

    def batches(self, batches: Sequence[Indices], ask: Ask) -> Batches:
        """A sequence whose turn comes after all those before it. ask: begins to make a batch of these positions."""
        sequence = Batches(batches, ask, partial(self._tokens.put, "look"))
        # Without a consumer it has no turn any more.
        self._tokens.put(weakref.ref(sequence))
        return sequence

    def close(self) -> None:
        """Ask for nothing more; whoever takes what was not asked for gets a `CancelledError`."""
        self._tokens.put("end")

    def _work(self) -> None:
        sequences: list[weakref.ref[Batches]] = []
        while (token := self._token(is_busy=bool(sequences))) != "end":
            if isinstance(token, weakref.ref):
                sequences.append(token)
            while (sequence := self._next(sequences)) is not None:
                sequence.ask_one()
            del sequence
        for one in sequences:
            if (sequence := one()) is not None:
                sequence.cancel()

    def _token(self, *, is_busy: bool) -> _Token:
        try:
            return self._tokens.get(timeout=_LOOK_EVERY_S if is_busy else None)
        except queue.Empty:
            return "look"

    def _next(self, sequences: list[weakref.ref[Batches]]) -> Batches | None:
        """Whose next batch is to be asked for now."""
        alive = [sequence for one in sequences if (sequence := one()) is not None]
        sequences[:] = [weakref.ref(sequence) for sequence in alive if sequence.is_left]
        unfinished = [sequence for sequence in alive if sequence.num_left]
        for sequence in unfinished:
            if sequence.is_waited_for and sequence.num_ahead < FIRST_BATCHES:
                return sequence
        num_batches = sum(sequence.num_ahead for sequence in alive)
        num_volumes = sum(sequence.num_volumes_ahead for sequence in alive)
        has_room = num_batches < FIRST_BATCHES or num_volumes < self._num_ahead
        return unfinished[0] if unfinished and has_room else None


class Batches(Iterator[Tensor]):
    """One sequence's batches, (B, 1, D, H, W) each.

    One thread takes them, another asks for them. wake: has that look at once what to ask for.
    """

    def __init__(self, batches: Sequence[Indices], ask: Ask, wake: Callable[[], object]) -> None:
        self._batches = batches
        self._ask = ask
        self._wake = wake
        self._asked: queue.SimpleQueue[Batch] = queue.SimpleQueue()
        # Each of these is written by one thread alone.
        self._num_asked = self._num_taken = 0
        self._volumes_asked = self._volumes_taken = 0
        self._is_cancelled = False
        self.is_waited_for = False

    @property
    def num_left(self) -> int:
        """Batches that are not asked for yet."""
        return len(self._batches) - self._num_asked

    @property
    def is_left(self) -> bool:
        """Whether there are batches that are not taken yet."""
        return self._num_taken < len(self._batches)

    @property
    def num_ahead(self) -> int:
        """Batches that are asked for and not taken yet."""
        return self._num_asked - self._num_taken

    @property
    def num_volumes_ahead(self) -> int:
        """Volumes of these."""
        return self._volumes_asked - self._volumes_taken

    def ask_one(self) -> None:
        """The next batch."""
        positions = self._batches[self._num_asked]
        try:
            batch = self._ask(positions)
        except BaseException as error:  # noqa: BLE001 (goes to whoever takes the batch)
            batch = _failed(error)
        self._num_asked += 1
        self._volumes_asked += len(positions)
        self._asked.put(batch)

    def cancel(self) -> None:
        """No more will be asked for."""
        self._is_cancelled = True
        self._asked.put(_failed(CancelledError()))

    def __next__(self) -> Tensor:
        if self._num_taken == len(self._batches):
            raise StopIteration
        batch = self._take()
        for part in batch.parts:
            part.result()
        self._volumes_taken += len(self._batches[self._num_taken])
        self._num_taken += 1
        return torch.from_numpy(batch.x_BDHW)[:, None]

    def _take(self) -> Batch:
        if self._asked.empty():
            if self._is_cancelled:
                raise CancelledError
            self.is_waited_for = True
            self._wake()
        batch = self._asked.get()
        self.is_waited_for = False
        return batch


def _failed(error: BaseException) -> Batch:
    part: Future[None] = Future()
    part.set_exception(error)
    return Batch(np.empty((0, 0, 0, 0), np.float32), [part])

"""Objects brought here over several connections at a time: ranges of one beside each other, and one beside the next.

fetch(a) ── range 0 ──> connection ──┐
         ── range 1 ──> connection ──┴─> memory file of a
fetch(b) ── range 0 ──> connection ────> memory file of b
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
from concurrent.futures import CancelledError, Future
from functools import partial

from octjob.data.memory_file import Memory, MemoryFile
from octjob.data.pool import Pool
from octjob.data.wanted import Wanted
from octjob.storage.base import ObjectInfo, ObjectStore
from octjob.storage.checksum import hasher_of

log = logging.getLogger(__name__)

# A request's latency, some 50 ms, is little beside the time that this much takes, more than a second.
RANGE_BYTES = 32 << 20
# What one connection brings of the first object, while the others have nothing else to do.
LEAST_RANGE_BYTES = 1 << 20
# Memory that is used again holds at most so many times what is wanted, and so does all of it together.
_MOST_TOO_LARGE = 1.25


class Downloads:
    """Fetches objects of `store` over `connections` connections, in the order asked for.

    The memory files that are filled or not yet closed hold at most `most_bytes`, or one object however large. What
    one leaves is filled by the next, as long as there is always one.
    """

    def __init__(self, store: ObjectStore, connections: int, most_bytes: int) -> None:
        self._store = store
        self._connections = Pool(connections, "download")
        self._room = _Room(most_bytes)

    def fetch(self, wanted: Wanted) -> Future[MemoryFile]:
        """The bytes that are wanted, to be closed by the caller, once they are there; waits for room until then.

        Their number is verified; `verified` sees to the rest.
        Raises `CancelledError` after `close`; the future raises what the store raises.
        """
        info, num_bytes = wanted.info, wanted.num_bytes
        taken = self._room.reserve(num_bytes)
        file = MemoryFile(info.size, wanted.held, self._room.take, partial(self._room.give, num_bytes))
        if wanted.spans is None:
            ranges = split(info.size, self._connections.num_free, taken)
        else:
            ranges = [(start, end - start) for start, end in wanted.spans]
        whole = _Object(file, len(ranges))
        for number, (start, length) in enumerate(ranges):
            head = b"" if number else wanted.head
            part = self._connections.submit(self._fetch, info, start, length, whole, head)
            part.add_done_callback(whole.ended)
        return whole.done

    def close(self) -> None:
        """End what is under way. Nothing is waited for."""
        self._room.close()
        self._connections.close()

    def _fetch(self, info: ObjectInfo, start: int, length: int, whole: _Object, head: bytes) -> None:
        part = _Part(whole, self._room)
        part.require_wanted()
        if head:
            whole.file.write(0, head)
        self._store.copy_range(info.key, start, length, part)


def split(size: int, num_free: int, taken: float) -> list[tuple[int, int]]:
    """(start, length) of the ranges that an object is fetched in, of nearly equal lengths.

    num_free: connections that wait for something to do; an object is divided among them. taken: the share of the room
    that is taken already, 0 to 1; the more of it, the longer the ranges, since nobody waits for the object then.
    """
    least = max(LEAST_RANGE_BYTES, round(taken * RANGE_BYTES))
    number = max(math.ceil(size / RANGE_BYTES), min(num_free, size // least), 1)
    bounds = [size * i // number for i in range(number + 1)]
    return [(start, end - start) for start, end in itertools.pairwise(bounds)]


def verified(store: ObjectStore, info: ObjectInfo, file: MemoryFile) -> MemoryFile:
    """`file`, if it is what the store says of the object; else the object anew, in one request, checked by the store.

    What comes in ranges has no checksum of its own: the object's is compared with all of them together. Where the
    store knows none, or parts were left out, its version is compared with that from before. Raises what the store's
    `get` raises.
    """
    hasher = hasher_of(info.checksum) if file.held is None else None
    if hasher is None:
        if store.head(info.key).version == info.version:
            return file
    else:
        for piece in file.pieces():
            hasher.update(piece)
        if hasher.hexdigest() == info.checksum.partition(":")[2]:
            return file
    log.warning("%s: what came in ranges is not what the store has; read again whole", store.uri(info.key))
    file.close()
    return MemoryFile.of(store.get(info.key))


class _Object:
    """One object under way."""

    def __init__(self, file: MemoryFile, num_parts: int) -> None:
        self.file = file
        self.done: Future[MemoryFile] = Future()
        self.is_over = False
        self._left = num_parts
        self._error: BaseException | None = None
        self._lock = threading.Lock()

    def ended(self, part: Future[None]) -> None:
        """One part has ended. The file is handed over, or closed, only when no thread writes to it any more."""
        error = CancelledError() if part.cancelled() else part.exception()
        with self._lock:
            self._left -= 1
            if error is not None:
                self.is_over = True
                # The first: those of the other parts follow from it.
                self._error = self._error or error
            if self._left:
                return
        if self._error is None:
            self.done.set_result(self.file)
        else:
            self.file.close()
            self.done.set_exception(self._error)


class _Part:
    """Takes bytes of an object that is under way. Raises `CancelledError` once they are not wanted any more."""

    def __init__(self, whole: _Object, room: _Room) -> None:
        self._whole = whole
        self._room = room

    def __call__(self, at: int, piece: bytes | memoryview) -> None:
        self.require_wanted()
        self._whole.file.write(at, piece)

    def place(self, at: int, length: int) -> memoryview | None:
        """Where in the file's memory bytes `[at, at + length)` belong."""
        self.require_wanted()
        return self._whole.file.place(at, length)

    def require_wanted(self) -> None:
        if self._whole.is_over or self._room.is_closed:
            raise CancelledError


class _Room:
    """At most so many bytes of memory, or one piece however large, reserved in the order asked for.

    Memory is taken when it is needed. What is given back is given out again, where it fits, until nothing is reserved
    any more: then all of it is freed.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._reserved = 0
        # Of memory that is given out, and of that which waits for it.
        self._taken = 0
        self._idle: list[Memory] = []
        self._change = threading.Condition()
        self.is_closed = False

    def reserve(self, number: int) -> float:
        """Wait until there is room for `number` bytes; returns what share of it was taken just before.

        Raises `CancelledError` after `close`.
        """
        with self._change:
            while self._reserved and self._reserved + number > self._most and not self.is_closed:
                self._change.wait()
            if self.is_closed:
                raise CancelledError
            taken = self._reserved / self._most
            self._reserved += number
            return taken

    def take(self, number: int) -> Memory:
        """Memory for `number` bytes that are reserved."""
        with self._change:
            # The smallest that will do; one much larger is left to those that need it.
            fitting = [one for one in self._idle if number <= one.capacity <= _MOST_TOO_LARGE * number]
            if fitting:
                memory = min(fitting, key=lambda one: one.capacity)
                self._idle.remove(memory)
                memory.use_again()
                return memory
            while self._idle and self._taken + number > self._most:
                self._free(self._idle.pop(0))
            memory = Memory(number)
            self._taken += number
            return memory

    def give(self, number: int, memory: Memory | None) -> None:
        """`number` bytes are not needed any more, nor the memory that was taken for them."""
        with self._change:
            self._reserved -= number
            if memory is not None:
                self._idle.append(memory)
            if not self._reserved or self.is_closed:
                self._free_idle()
            self._change.notify_all()

    def close(self) -> None:
        """Nothing is reserved any more."""
        with self._change:
            self.is_closed = True
            self._free_idle()
            self._change.notify_all()

    def _free_idle(self) -> None:
        while self._idle:
            self._free(self._idle.pop())

    def _free(self, memory: Memory) -> None:
        self._taken -= memory.capacity
        memory.close()

"""The process that decodes: prepares one file after the other for the process that started it, and ends with it.

Run as a program by `octjob.data.decoders`. A decoder that crashes, swells or never returns takes this process with it
and nothing else. Requests and replies are single JSON messages on a socket; a file's bytes and its voxels travel
beside them as memory files, which the receiver copies into memory of its own.

Legend: n bytes.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import select
import signal
import socket
import sys
import threading
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octjob.data.content import Content
from octjob.data.dicom import CorruptVolumeError, DeclaredShape, RawVolume, available_decoders
from octjob.data.excerpt import Excerpt
from octjob.data.header import MAX_VOLUME_BYTES, reason_of
from octjob.data.memory_file import Memory, MemoryFile, received
from octjob.data.prepared import Preparation, PreparedVolume, prepare_volume, read_any
from octjob.errors import DataError

Received = tuple[dict[str, Any], NDArray[np.uint8]]

MESSAGE_BYTES = 65_536
_MAX_MEMORY_BYTES = 7 << 29  # 3.5 GiB: the largest published volume, its file and three copies
_SPARE_MEMORY_BYTES = 1 << 28
# Pure noise, the worst there is, takes JPEG 2000 0.3 us a voxel.
_CPU_S = 3
_CPU_S_PER_VOXEL = 1e-6
_FLOAT_BYTES = 4


def limits(
    num_bytes: int, declared: DeclaredShape, preparation: Preparation | None = None
) -> tuple[int, int]:
    """(memory in bytes, CPU time in seconds) that a file of this size and declared shape may take to decode."""
    known = [number for number in declared if number is not None]
    num_voxels = min(math.prod(known) if len(known) == len(declared) else MAX_VOLUME_BYTES, MAX_VOLUME_BYTES)
    memory = min(_SPARE_MEMORY_BYTES + 3 * num_bytes + 8 * num_voxels, _MAX_MEMORY_BYTES)
    if preparation is not None:
        memory += 2 * _FLOAT_BYTES * math.prod(preparation.size)
    return memory, _CPU_S + math.ceil(_CPU_S_PER_VOXEL * num_voxels)


def send(channel: socket.socket, message: dict[str, Any], file: MemoryFile | None = None) -> None:
    """One message, with a memory file beside it."""
    if file is None:
        channel.sendall(json.dumps(message).encode())
    else:
        data = json.dumps(message | {"num_bytes": file.num_bytes}).encode()
        socket.send_fds(channel, [data], [file.descriptor])


def receive(channel: socket.socket) -> Received | None:
    """The next message and its content (n,), empty where it has none; None when the other side has gone."""
    data, files, _, _ = socket.recv_fds(channel, MESSAGE_BYTES, 1)
    try:
        message = json.loads(data) if data else {}
        content_n = received(files[0], message["num_bytes"]) if files else np.empty(0, np.uint8)
    finally:
        for file in files:
            os.close(file)
    return (message, content_n) if data else None


def preparation_of(message: dict[str, Any]) -> Preparation | None:
    """What a request wants to be made of the voxels; None where it wants them as they are."""
    wanted = message["preparation"]
    return wanted and Preparation(wanted[0], tuple(wanted[1]))


def volume_of(message: dict[str, Any], content_n: NDArray[np.uint8]) -> RawVolume:
    """The decoded volume of a reply."""
    facts, dtype, shape = message["volume"], np.dtype(message["dtype"]), message["shape"]
    stored_DHW: NDArray[Any] = content_n.view(dtype).reshape(shape)
    spacing = facts.pop("spacing_mm")
    return RawVolume(stored_DHW=stored_DHW, spacing_mm=tuple(spacing) if spacing else None, **facts)


def prepared_of(message: dict[str, Any], content_n: NDArray[np.uint8]) -> PreparedVolume:
    """The same of a prepared volume."""
    x_DHW = content_n.view(np.float32).reshape(message["shape"])
    return PreparedVolume(x_DHW=x_DHW, **message["prepared"])


def serve(channel: socket.socket) -> None:
    """Decode what comes until the other side goes."""
    replies = _Replies()
    while (request := receive(channel)) is not None:
        _answer(channel, replies, *request)
        del request
        _limit(None, None)  # the next file may need more only to be received


class _Replies:
    """Memory for prepared volumes, which are of one size, and each received before the next is made."""

    def __init__(self) -> None:
        self._memory = Memory(0)

    def of(self, x_DHW: NDArray[np.float32]) -> MemoryFile:
        """A memory file that holds it, until the next."""
        if self._memory.capacity < x_DHW.nbytes:
            self._memory.close()
            self._memory = Memory(x_DHW.nbytes)
        file = MemoryFile(x_DHW.nbytes, take=lambda _: self._memory, give=lambda _: None)
        file.write(0, x_DHW.data)
        return file


def _answer(
    channel: socket.socket, replies: _Replies, message: dict[str, Any], content_n: NDArray[np.uint8]
) -> None:
    data = _excerpt_of(message, content_n)
    declared: DeclaredShape = tuple(message["declared"])
    content = Content(*message["content"])
    preparation = preparation_of(message)
    _limit(*limits(data.size, declared, preparation))
    try:
        if preparation is None:
            reply, x_DHW = _read(data, message["uri"], declared, content)
        else:
            reply, x_DHW = _prepare(data, message["uri"], declared, preparation, content)
    except CorruptVolumeError as error:
        send(channel, {"corrupt": error.reason})
    except DataError as error:
        send(channel, {"error": [error.message, error.hint]})
    else:
        with MemoryFile.of(x_DHW.data) if preparation is None else replies.of(x_DHW) as file:
            send(channel, reply, file)


def _excerpt_of(message: dict[str, Any], content_n: NDArray[np.uint8]) -> Excerpt:
    """What was sent of the file: all of it, or the spans that are held, one behind the other."""
    content, place, held = content_n.data.toreadonly(), 0, []
    for start, end in message["held"] or [(0, len(content))]:
        held.append((start, content[place : place + end - start]))
        place += end - start
    return Excerpt(message["size"], held)


def _read(
    data: Excerpt, uri: str, declared: DeclaredShape, content: Content
) -> tuple[dict[str, Any], NDArray[Any]]:
    volume = read_any(data, uri, declared, None, content)
    facts = {field.name: getattr(volume, field.name) for field in fields(volume)}
    x_DHW = facts.pop("stored_DHW")
    return {"volume": facts, "dtype": x_DHW.dtype.str, "shape": x_DHW.shape}, x_DHW


def _prepare(
    data: Excerpt, uri: str, declared: DeclaredShape, preparation: Preparation, content: Content
) -> tuple[dict[str, Any], NDArray[Any]]:
    try:
        volume = prepare_volume(data, uri, declared, preparation, content)
    except MemoryError as error:  # as while it is decoded
        raise CorruptVolumeError(uri, reason_of(error)) from error
    facts = {"sop_instance_uid": volume.sop_instance_uid, "laterality": volume.laterality}
    return {"prepared": facts, "shape": volume.x_DHW.shape}, volume.x_DHW


def _limit(memory_bytes: int | None, cpu_s: int | None) -> None:
    """From what this process has taken so far, None for none. The kernel ends it where the limits are passed."""
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    for kind, used, more in (
        (resource.RLIMIT_AS, taken, memory_bytes),
        (resource.RLIMIT_CPU, math.ceil(usage.ru_utime + usage.ru_stime), cpu_s),
    ):
        _, hard = resource.getrlimit(kind)
        most = hard if more is None else used + more
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _end_with(channel: socket.socket) -> None:
    """Wait in a thread for the other side's end, so that it is noticed in the midst of a volume too."""

    def watch() -> None:
        poll = select.poll()
        poll.register(channel, select.POLLHUP)
        poll.poll()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def main(file: int) -> None:
    """Serve on an inherited socket. Signals to the whole group are the parent's affair; its end is ours."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    channel = socket.socket(fileno=file)
    available_decoders()
    import imagecodecs  # noqa: F401  (its libraries are no part of the first volume's limits)

    send(channel, {"ready": True})
    # What C libraries print about a hostile file is no news: the reply says it.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    _end_with(channel)
    with contextlib.suppress(ConnectionError):
        serve(channel)


if __name__ == "__main__":
    main(int(sys.argv[1]))

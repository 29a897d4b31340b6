"""Decoding files of unknown origin, each in a process that may fail without harm (docs/decisions/0015).

A file is checked as far as it speaks of itself before any of it is decoded (`dicom`, `pixels`). What is left is what
third-party decoders do with bytes made to hurt them: that costs one process and one volume.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from dataclasses import astuple
from typing import IO

from octjob.data.content import DICOM, Content
from octjob.data.decoder import Received, limits, prepared_of, receive, send, volume_of
from octjob.data.dicom import UNDECLARED, CorruptVolumeError, DeclaredShape, RawVolume
from octjob.data.memory_file import MemoryFile
from octjob.data.prepared import Preparation, PreparedVolume
from octjob.errors import DataError

log = logging.getLogger(__name__)

_START_S = 120
# The kernel counts CPU time; the clock is for a decoder that sleeps for ever, on a machine however busy.
_CLOCK_PER_CPU_S = 20


class Decoders:
    """As many decoding processes as threads call `read` at a time, started when first needed. Thread-safe.

    They end with this object or with its process, however that ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Decoder] = []
        self.close = weakref.finalize(self, _stop_all, self._idle)

    def read(
        self, data: bytes, uri: str, declared: DeclaredShape = UNDECLARED, content: Content = DICOM
    ) -> RawVolume:
        """`octjob.data.prepared.read_any` in another process, its memory and time bounded by the file's size
        and declared shape.

        Raises as that does, and `CorruptVolumeError` too where the process crashes or passes a bound. Killed
        from outside (by a machine out of memory), it says nothing of the file: a second process tries, then
        `DataError`.
        """
        with MemoryFile.of(data) as file:
            return volume_of(*self._ask(file, uri, declared, None, content))

    def prepare(
        self,
        file: MemoryFile,
        uri: str,
        declared: DeclaredShape,
        preparation: Preparation,
        content: Content = DICOM,
    ) -> PreparedVolume:
        """`octjob.data.prepared.prepare_volume` in another process, with bounds and errors as in `read`.

        The stored voxels, ten times as many bytes or so, stay there.
        """
        return prepared_of(*self._ask(file, uri, declared, preparation, content))

    def start_one(self) -> None:
        """Have one process more than are busy, so that the first file need not wait for it."""
        self._give(self._take())

    def _ask(
        self,
        file: MemoryFile,
        uri: str,
        declared: DeclaredShape,
        preparation: Preparation | None,
        content: Content,
    ) -> Received:
        for _ in range(2):
            decoder = self._take()
            try:
                return decoder.ask(file, uri, declared, preparation, content)
            except _KilledError:
                log.warning("%s: the process that decodes it was killed", uri)
            finally:
                if decoder.alive:
                    self._give(decoder)
        raise DataError(
            f"{uri}: the process that decodes it was killed twice, probably for want of memory",
            "Give the run more memory, or read fewer volumes at a time (`data.num_workers`).",
        )

    def _take(self) -> _Decoder:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return _Decoder()

    def _give(self, decoder: _Decoder) -> None:
        with self._lock:
            self._idle.append(decoder)


class _KilledError(Exception):
    """Somebody ended the process."""


class _Decoder:
    """One process and the socket to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, tempfile.TemporaryFile() as errors:
            # -P: no module of the current folder, whatever it is, takes the place of an installed one.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "octjob.data.decoder", str(theirs.fileno())],
                env=os.environ
                | {
                    "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
                    # One of several such processes; more threads would take each other's cores.
                    "OMP_NUM_THREADS": "1",
                },
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
            theirs.close()
            self._channel = ours
            self.alive = True
            self._require_ready(errors)

    def _require_ready(self, errors: IO[bytes]) -> None:
        self._channel.settimeout(_START_S)
        try:
            if receive(self._channel) is not None:
                return
        except TimeoutError:
            pass
        self.stop()
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()
        raise DataError(
            f"no process to decode volumes could be started: {said[-1] if said else 'it did not answer'}",
            "Install octjob[train]; `ulimit -v` and `ulimit -u` may forbid another process.",
        )

    def ask(
        self,
        file: MemoryFile,
        uri: str,
        declared: DeclaredShape,
        preparation: Preparation | None,
        content: Content,
    ) -> Received:
        """What comes back; after an error that ended the process, it is no longer `alive`."""
        _, cpu_s = limits(file.size, declared, preparation)
        self._channel.settimeout(_CLOCK_PER_CPU_S * cpu_s)
        wanted = None if preparation is None else astuple(preparation)
        try:
            request = {
                "uri": uri,
                "declared": declared,
                "preparation": wanted,
                "content": astuple(content),
                "size": file.size,
                "held": file.held,
            }
            send(self._channel, request, file)
            reply = receive(self._channel)
        except TimeoutError:
            self.stop()
            raise CorruptVolumeError(
                uri, f"its decoder has not come back after {_CLOCK_PER_CPU_S * cpu_s} s"
            ) from None
        except ConnectionError:
            reply = None
        if reply is None:
            raise self._death(uri, cpu_s)
        message, content_n = reply
        if "corrupt" in message:
            raise CorruptVolumeError(uri, message["corrupt"])
        if "error" in message:
            raise DataError(*message["error"])
        return message, content_n

    def _death(self, uri: str, cpu_s: int) -> Exception:
        code = self._process.wait()
        self.stop()
        if code in (-signal.SIGKILL, -signal.SIGTERM):
            return _KilledError()
        if code == -signal.SIGXCPU:
            return CorruptVolumeError(uri, f"takes more than {cpu_s} s of processor time to decode")
        what = signal.Signals(-code).name if code < 0 else f"exit {code}"
        return CorruptVolumeError(uri, f"its decoder crashed ({what})")

    def stop(self) -> None:
        """End the process and wait for it."""
        self.alive = False
        self._channel.close()
        self._process.kill()
        self._process.wait()


def _stop_all(decoders: list[_Decoder]) -> None:
    while decoders:
        decoders.pop().stop()

"""Names that one living process of this machine holds.

A name is a socket in Linux's abstract namespace: the kernel hands it out once and takes it back when its process
dies, however it dies. No files, no process ids that come again, no clocks.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
import struct
import uuid
from functools import lru_cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Each question for the holder waits in its queue for good; beyond so many the holder is unknown.
_QUEUE = 1024


class Claim:
    """The right to a name, until `release` or the end of this process."""

    def __init__(self, name: str) -> None:
        self._address = _address(name)
        self._socket: socket.socket | None = None

    def take(self) -> bool:
        """Whether the name is ours now; False while another process, or another claim of this one, holds it."""
        if self._socket is not None:
            return True
        taken = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            taken.bind(self._address)
        except OSError as error:
            taken.close()
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        taken.listen(_QUEUE)
        self._socket = taken
        return True

    def release(self) -> None:
        """Let others take it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def holder(self) -> int | None:
        """The process id of the holder; None where nobody holds it, or the kernel does not say."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking, contextlib.suppress(OSError):
            asking.setblocking(False)
            asking.connect(self._address)
            pid, _, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            return int(pid) or None
        return None


def is_held(name: str) -> bool:
    """Whether a living process of this machine holds the name."""
    claim = Claim(name)
    free = claim.take()
    claim.release()
    return not free


@lru_cache(maxsize=1)
def this_machine() -> str:
    """Names the processes that see the same claims: those of one boot and one network namespace."""
    try:
        return f"{_BOOT_ID.read_text().strip()}.{os.stat('/proc/self/ns/net').st_ino}"
    except OSError:
        # A sandbox without them: this process is a machine of its own, whose claims nobody trusts.
        return uuid.uuid4().hex


def _address(name: str) -> bytes:
    return b"\0octjob-" + hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest().encode()

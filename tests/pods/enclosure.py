"""Namespaces of the test process's own: a network without a way out, and mounts that end with the last process.

The process enters them itself, so everything that it starts is in there too, and `octjob` called in it as well.
`ip netns exec` would not do: it mounts /sys anew, and with that hides the cgroups.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# The one address that the host's side and all pods reach: the bridge between them.
BRIDGE, ADDRESS, SUBNET = "octjob0", "10.88.0.1", "10.88.0.0/16"
_CLONE_FS, _CLONE_NEWNS, _CLONE_NEWNET = 0x00000200, 0x00020000, 0x40000000
# Where containerd, CNI and kubelet write whatever they are told: sockets, the pods' networks, addresses given away.
_PRIVATE = (Path("/run"), Path("/var/lib/cni"), Path("/var/lib/kubelet"))
# The disk of / without what is mounted below it.
ROOT_DISK = Path("/run/root-disk")


@contextmanager
def enclosed() -> Iterator[None]:
    """This thread, and all that it starts, in namespaces of its own (root only); the machine is as before after it.

    What was started must be gone by then. /run is empty inside: what listens there, docker too, is out of reach.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = [os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY) for kind in ("net", "mnt")]
    here = Path.cwd()
    made = [folder for folder in _PRIVATE if not folder.exists()]
    for folder in made:
        folder.mkdir(parents=True)
    _checked(libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET))
    try:
        _furnish()
        yield
    finally:
        # Threads that were started inside stand where this one stands; who shares that may not leave.
        _checked(libc.unshare(_CLONE_FS))
        for handle in before:
            _checked(libc.setns(handle, 0))
            os.close(handle)
        # To enter a mount namespace is to stand at its root.
        os.chdir(here)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


def _furnish() -> None:
    _run("mount", "--make-rprivate", "/")
    for folder in _PRIVATE:
        _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(folder))
    ROOT_DISK.mkdir()
    _run("mount", "--bind", "/", str(ROOT_DISK))
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", BRIDGE, "type", "bridge")
    _run("ip", "address", "add", f"{ADDRESS}/{SUBNET.partition('/')[2]}", "dev", BRIDGE)
    _run("ip", "link", "set", BRIDGE, "up")


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True)


def _checked(answer: int) -> None:
    if answer != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def neighbours() -> list[int]:
    """The ids of all other processes that share this one's mounts; those in containers have their own."""
    ours = os.readlink("/proc/thread-self/ns/mnt")
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if os.readlink(entry / "ns" / "mnt") == ours:
                    found.append(int(entry.name))
            except OSError:
                continue  # It has ended.
    return found

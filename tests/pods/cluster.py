"""A control plane whose pods are containers: one node with the chips of a v4-32 slice, and DNS."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.cluster.controlplane import ControlPlane, Options
from tests.cluster.nodes import REAL_NODE as NODE
from tests.pods import components
from tests.pods.components import CHIPS, SOCKET
from tests.pods.enclosure import neighbours
from tests.pods.images import BuiltImage, ImageStore

_CGROUPS = Path("/sys/fs/cgroup")
# A kubelet sets these, and they belong to the whole machine.
_SETTINGS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")
_SETTINGS += ("kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes")
_KERNEL = Path("/proc/sys")
_GONE_S = 20.0
_READY_S = 120.0
_POLL_S = 0.05


class PodPlane(ControlPlane):
    """One control plane with a real node, inside `enclosed` namespaces; `stop` it before they are left.

    image: octjob's, which pods call by its name in docker.
    """

    image: BuiltImage

    @classmethod
    def with_image(cls, data: Path, image: BuiltImage) -> PodPlane:
        """A new one in the empty or missing folder `data`; not started yet."""
        plane = cls.create(data, Options(run_pods="kubelet", pools=1))
        plane.image = image
        return plane

    def start_nodes(self) -> None:
        """Start what runs pods; returns once the node is ready and has its chips."""
        self._start(components.containerd(self.layout))
        self.wait_until(SOCKET.exists, "containerd listens")
        images = ImageStore(SOCKET, self.data)
        images.add_pause()
        images.add_linked(self.image)
        self._kept.write_text(json.dumps({name: (_KERNEL / name).read_text() for name in _SETTINGS}))
        self._start(components.coredns(self.layout))
        self._start(components.kubelet(self.layout))
        self.wait_until(lambda: self.get("node", NODE), "the node has registered", _READY_S)
        chips = {"google.com/tpu": str(CHIPS)}
        patch = json.dumps({"status": {"capacity": chips, "allocatable": chips}})
        self.kubectl("patch", "node", NODE, "--subresource=status", "--patch", patch)
        self.kubectl("wait", "--for=condition=Ready", f"node/{NODE}", f"--timeout={_READY_S:.0f}s")

    def stop(self) -> None:
        """End every process, containers first, and remove every file and cgroup."""
        self.supervisor.stop("kubelet", signal.SIGKILL)
        self.supervisor.stop("containerd", signal.SIGKILL)
        end(contained())
        end([pid for pid in neighbours() if _is_shim(pid)])
        _remove_cgroups()
        self._unmount()
        self._put_back()
        super().stop()

    @property
    def _kept(self) -> Path:
        """The kernel's settings as they were."""
        return self.data / "kernel.json"

    def _put_back(self) -> None:
        if self._kept.exists():
            for name, value in json.loads(self._kept.read_text()).items():
                if (_KERNEL / name).read_text() != value:
                    (_KERNEL / name).write_text(value)

    def _unmount(self) -> None:
        """The pods' volumes, which nobody else may see and which are in the way of their folders' removal."""
        mounts = [line.split()[4] for line in Path("/proc/thread-self/mountinfo").read_text().splitlines()]
        for mount in reversed(mounts):
            if Path(mount).is_relative_to(self.data):
                subprocess.run(["umount", "--lazy", mount], check=True)

    def process(self, container_id: str) -> int:
        """The id on this machine of a container's first process. container_id: as in a pod's status."""
        return min(int(line) for line in (_group(container_id) / "cgroup.procs").read_text().split())

    def leave_memory(self, container_id: str, num_bytes: int) -> None:
        """Let a container have so much more memory than it has now."""
        if (_CGROUPS / "cgroup.controllers").exists():
            group, used, limit = _group(container_id), "memory.current", "memory.max"
        else:
            group, used, limit = (
                _group(container_id, "memory"),
                "memory.usage_in_bytes",
                "memory.limit_in_bytes",
            )
        (group / limit).write_text(str(int((group / used).read_text()) + num_bytes))


def contained() -> list[int]:
    """The ids of all processes in pods of this machine."""
    return [int(line) for file in _groups().glob("**/cgroup.procs") for line in file.read_text().split()]


def _groups(controller: str = "pids") -> Path:
    """The cgroups of the pods: one tree for everything, or with version 1 that of a controller."""
    unified = _CGROUPS / "cgroup.controllers"
    return _CGROUPS / ("" if unified.exists() else controller) / "kubepods"


def _group(container_id: str, controller: str = "pids") -> Path:
    """The cgroup of a container. container_id: as in a pod's status."""
    (folder,) = _groups(controller).glob(f"**/{container_id.rpartition('/')[2]}")
    return folder


def _is_shim(pid: int) -> bool:
    try:
        return b"containerd-shim-runc-v2" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def end(pids: list[int]) -> None:
    """Kill them, and return when they are gone."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _wait_until(lambda: not any(map(_alive, pids)))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _remove_cgroups() -> None:
    """Those of the pods; a cgroup can be removed a moment after its last process has ended."""
    roots = [_CGROUPS / "kubepods", *_CGROUPS.glob("*/kubepods")]

    def gone() -> bool:
        for root in roots:
            for folder, _, _ in os.walk(root, topdown=False):
                with suppress(OSError):
                    os.rmdir(folder)
        return not any(root.exists() for root in roots)

    _wait_until(gone)


def _wait_until(done: Callable[[], bool]) -> None:
    """Until it is, or for as long as is reasonable."""
    deadline = time.monotonic() + _GONE_S
    while not done() and time.monotonic() < deadline:
        time.sleep(_POLL_S)

"""What the pods of a JobSet need of a network here, where all of them share loopback: a port to meet at."""

from __future__ import annotations

import socket
import threading
from typing import Any

from .environment import LOOPBACK

Document = dict[str, Any]

COORDINATOR = "OCTJOB_COORDINATOR"


class PodNetwork:
    """Gives every Job a port of its own on loopback in place of its first pod's name and port."""

    def __init__(self) -> None:
        self._ports: dict[str, int] = {}
        self._lock = threading.Lock()

    def localized(self, pod: Document, env: dict[str, str]) -> dict[str, str]:
        """The container's environment with what names the first pod."""
        named = env.get(COORDINATOR, "").rpartition(":")[0]
        if not named:
            return env
        stem = pod["spec"]["hostname"].rpartition("-")[0]
        first = f"{stem}-0.{pod['spec']['subdomain']}"
        if named != first:
            # No such name: as on a cluster, nobody answers.
            return env
        return {**env, COORDINATOR: f"{LOOPBACK}:{self._port(pod['metadata']['ownerReferences'][0]['uid'])}"}

    def _port(self, job: str) -> int:
        with self._lock:
            if job not in self._ports:
                with socket.socket() as free:
                    free.bind((LOOPBACK, 0))
                    self._ports[job] = free.getsockname()[1]
            return self._ports[job]

"""A pod's life on its node: configured, started, watched, ended, deleted; each step in its status."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path
from typing import Any

from .api import Api
from .container import START_ERROR, Container, Ended, now
from .environment import LOOPBACK, ConfigError, decoded, environment
from .forkserver import ForkServer
from .network import PodNetwork

Document = dict[str, Any]
log = logging.getLogger(__name__)

CONFIG_RETRY_S = 2.0


class Pod:
    """One pod, carried out by a thread of its own. It has one container."""

    def __init__(
        self, api: Api, document: Document, data: Path, forks: ForkServer, network: PodNetwork
    ) -> None:
        self.api = api
        self.document = document
        self.network = network
        metadata = document["metadata"]
        self.uid, self.namespace, self.name = metadata["uid"], metadata["namespace"], metadata["name"]
        self.node = document["spec"]["nodeName"]
        self.path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"
        self.folder = data / self.uid
        self.folder.mkdir(parents=True, exist_ok=True)
        (spec,) = document["spec"]["containers"]
        self.container = Container(spec, document["spec"].get("volumes") or [], self.folder, forks)
        # lost: nobody asks for its status any more, because its node or its object is gone.
        self.deleting, self.lost = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._live, name=f"pod {self.name}", daemon=True)

    def start(self) -> None:
        """Begin its life."""
        self._thread.start()

    def delete(self, grace_s: float) -> None:
        """Asked to end: SIGTERM now, SIGKILL after `grace_s` seconds."""
        with self._lock:
            if not self.deleting.is_set():
                self.deleting.set()
                self.container.terminate()
            killer = threading.Timer(grace_s, self.container.kill)
            killer.daemon = True
            killer.start()

    def lose(self) -> None:
        """SIGKILL, and not a word to the API server."""
        with self._lock:
            self.lost.set()
            self.deleting.set()
            self.container.kill()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of its thread."""
        self._thread.join(timeout_s)

    def forget(self) -> None:
        """Remove its files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _live(self) -> None:
        try:
            ended = self._carry_out()
            if self.lost.is_set():
                return
            current = self._report_end(ended)
            if self.deleting.is_set() or (current and current["metadata"].get("deletionTimestamp")):
                body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
                self.api.call("DELETE", self.path, body)
        finally:
            self.container.finished.set()

    def _carry_out(self) -> Ended:
        env = self._environment()
        with self._lock:
            if env is None or self.deleting.is_set():
                return self.container.ended(
                    137, "ContainerStatusUnknown", "The pod was deleted before it started."
                )
            try:
                self.container.start(env)
            except OSError as error:
                return self.container.ended(START_ERROR, "StartError", f"failed to start container: {error}")
        log.info("%s/%s started on %s", self.namespace, self.name, self.node)
        self._report({"running": {"startedAt": self.container.started_at}}, "Running", ready=True)
        ended = self.container.wait()
        log.info("%s/%s ended with %d", self.namespace, self.name, ended.exit_code)
        return ended

    def _environment(self) -> dict[str, str] | None:
        """The container's variables, as soon as all they refer to is there; None where the pod is deleted first."""
        said = ""
        while not (self.deleting.is_set() or self.api.stopping.is_set()):
            try:
                own = environment(self.document, self.container.spec, self._lookup)
                return self.network.localized(self.document, own)
            except ConfigError as error:
                if str(error) != said:
                    said = str(error)
                    waiting = {"reason": "CreateContainerConfigError", "message": said}
                    self._report({"waiting": waiting}, "Pending", ready=False)
            self.deleting.wait(CONFIG_RETRY_S)
        return None

    def _lookup(self, kind: str, namespace: str, name: str) -> dict[str, str] | None:
        return decoded(kind, self.api.call("GET", f"/api/v1/namespaces/{namespace}/{kind}/{name}"))

    def _report_end(self, ended: Ended) -> Document | None:
        terminated = {
            "exitCode": ended.exit_code,
            "reason": ended.reason,
            "message": ended.message,
            "startedAt": ended.started_at,
            "finishedAt": ended.finished_at,
            "containerID": f"standin://{self.uid}",
        }
        phase = "Succeeded" if ended.exit_code == 0 else "Failed"
        return self._report({"terminated": terminated}, phase, ready=False)

    def _report(self, state: Document, phase: str, *, ready: bool) -> Document | None:
        if self.lost.is_set():
            return None
        reason = (
            {} if ready else {"reason": "PodCompleted" if "terminated" in state else "ContainersNotReady"}
        )
        kinds = {
            "Initialized": True,
            "PodReadyToStartContainers": ready,
            "ContainersReady": ready,
            "Ready": ready,
        }
        conditions = [
            {"type": kind, "status": str(value), "lastTransitionTime": now(), **({} if value else reason)}
            for kind, value in kinds.items()
        ]
        spec = self.container.spec
        status = {
            "name": spec["name"],
            "image": spec["image"],
            "imageID": spec["image"],
            "containerID": f"standin://{self.uid}",
            "ready": ready,
            "started": ready,
            "restartCount": 0,
            "state": state,
        }
        body = {
            "metadata": {"uid": self.uid},
            "status": {
                "phase": phase,
                "hostIP": LOOPBACK,
                "podIP": LOOPBACK,
                "podIPs": [{"ip": LOOPBACK}],
                "startTime": self.container.started_at,
                "conditions": conditions,
                "containerStatuses": [status],
            },
        }
        return self.api.call("PATCH", f"{self.path}/status", body)

"""All fake nodes' pods, followed through the API server."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from .api import Api
from .forkserver import ForkServer
from .network import PodNetwork
from .pod import Pod

Document = dict[str, Any]
log = logging.getLogger(__name__)

STOP_S = 5.0
_ENDED = ("Succeeded", "Failed")


class Kubelet:
    """Runs every pod that is bound to a node."""

    def __init__(self, api: Api, data: Path) -> None:
        self.api, self.data = api, data
        self.forks, self.network = ForkServer(), PodNetwork()
        self._pods: dict[str, Pod] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Follow pods and nodes, each in a thread."""
        follows = {
            "pods": (self._changed, self._gone, {"fieldSelector": "spec.nodeName!="}),
            "nodes": (lambda node: None, self._node_gone, {}),
        }
        for plural, (changed, gone, query) in follows.items():
            arguments = (f"/api/v1/{plural}", changed, gone)
            threading.Thread(target=self.api.follow, args=arguments, kwargs=query, daemon=True).start()

    def stop(self) -> None:
        """End all processes: asked first, then killed. Their pods keep their status."""
        pods = self._all()
        for pod in pods:
            pod.lost.set()
            pod.delete(STOP_S)
        for pod in pods:
            pod.join(2 * STOP_S)

    def find(self, namespace: str, name: str) -> Pod | None:
        """The pod of that name, also when it has ended."""
        return next((pod for pod in self._all() if (pod.namespace, pod.name) == (namespace, name)), None)

    def _all(self) -> list[Pod]:
        with self._lock:
            return list(self._pods.values())

    def _changed(self, document: Document) -> None:
        metadata = document["metadata"]
        pod = self._pods.get(metadata["uid"])
        if pod is None:
            if document.get("status", {}).get("phase") in _ENDED:
                return
            pod = Pod(self.api, document, self.data, self.forks, self.network)
            with self._lock:
                self._pods[pod.uid] = pod
            pod.start()
        if metadata.get("deletionTimestamp") and not pod.lost.is_set():
            pod.delete(metadata.get("deletionGracePeriodSeconds", 0))

    def _gone(self, document: Document) -> None:
        with self._lock:
            pod = self._pods.pop(document["metadata"]["uid"], None)
        if pod is not None:
            pod.lose()
            pod.join(STOP_S)
            pod.forget()

    def _node_gone(self, document: Document) -> None:
        for pod in self._all():
            if pod.node == document["metadata"]["name"]:
                log.info("node %s is gone, and %s/%s with it", pod.node, pod.namespace, pod.name)
                pod.lose()

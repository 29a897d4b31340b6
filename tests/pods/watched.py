"""What somebody outside sees of pods, from the first to the last: deleted ones leave nothing to ask."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octjob.targets.kubernetes.observation.pods import worker
from tests.cluster.access import ClusterAccess

Document = dict[str, Any]


@dataclass(frozen=True)
class End:
    """How a pod's container ended. reason: the kubelet's; message: octjob's last words, from the pod's status."""

    worker: int
    exit_code: int
    reason: str
    message: Document
    deleted: bool


@dataclass(frozen=True)
class Watch:
    """`kubectl get pods --watch` of a namespace, written to a file."""

    path: Path

    def ends(self) -> dict[str, End]:
        """Pod name to how it was last seen to have ended."""
        found = {}
        for pod in self._pods():
            for status in pod["status"].get("containerStatuses", ()):
                if ended := status["state"].get("terminated"):
                    message = json.loads(ended["message"]) if ended.get("message", "").startswith("{") else {}
                    deleted = "deletionTimestamp" in pod["metadata"]
                    index = worker(pod)
                    found[pod["metadata"]["name"]] = End(
                        index, ended["exitCode"], ended["reason"], message, deleted
                    )
        return found

    def _pods(self) -> Iterator[Document]:
        decoder, text = json.JSONDecoder(), self.path.read_text()
        position = 0
        while position < len(text):
            try:
                pod, position = decoder.raw_decode(text, position)
            except json.JSONDecodeError:
                return  # The last one is still being written.
            yield pod
            while position < len(text) and text[position].isspace():
                position += 1


@contextmanager
def watching(cluster: ClusterAccess, namespace: str, folder: Path) -> Iterator[Watch]:
    """Look at the pods of a namespace for as long as the block lasts."""
    path = folder / "pods.json"
    argv = [
        str(cluster.program("kubectl")),
        "get",
        "pods",
        "--namespace",
        namespace,
        "--watch",
        "--output",
        "json",
    ]
    env = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    with path.open("wb") as file:
        process = subprocess.Popen(argv, env=env, stdout=file)
    try:
        yield Watch(path)
    finally:
        process.terminate()
        process.wait()

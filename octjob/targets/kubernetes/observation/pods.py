"""What the pods of a run say: which are ready, what the others wait for, which container failed first and why."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from octjob import env
from octjob.targets.kubernetes import jobset as jobset_api
from octjob.targets.kubernetes.documents.manifest import CONTAINER
from octjob.targets.kubernetes.observation.conditions import condition, seconds, true

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Document

INDEX = "batch.kubernetes.io/job-completion-index"

MEANING = {
    1: "an unexpected error",
    2: "usage or an invalid spec",
    3: "input data or checkpoint unusable",
    4: "a store refused",
    75: "interrupted after saving its state",
    126: "the image's octjob cannot be executed",
    127: "no octjob in the image",
    137: "killed: SIGKILL",
    139: "crashed: SIGSEGV",
    134: "crashed: SIGABRT",
    143: "killed by SIGTERM before it could save",
}
# Ends of containers whose peer had ended first.
_STOPPED = (75, 137, 143)
_LAST_LINES = 5
_DISRUPTED = "disrupted"
_OOM = "OOMKilled"
_OOM_HINT = (
    "Host memory ran out, not the chips': fewer data.num_workers or a smaller train.batch_size need less, or an"
    " accelerator with larger hosts."
)
_MISSING_KEY = re.compile(r"couldn't find key (?P<key>\S+) in Secret (?P<secret>\S+)")
_MISSING_SECRET = re.compile(r'secret "(?P<secret>[^"]+)" not found')


@dataclass(frozen=True)
class Obstacle:
    """What a pod that has not started waits for. hint: what mends it."""

    reason: str
    hint: str = ""


@dataclass(frozen=True)
class End:
    """How the container that failed first ended. message: its last words, in one line."""

    worker: int
    exit_code: int | None
    message: str
    hint: str = ""
    reason: str = ""

    @property
    def text(self) -> str:
        """`worker 0: exit 3 (input data or checkpoint unusable): gs://…: no volumes`."""
        how = self.reason
        if self.exit_code is not None and self.reason != _DISRUPTED:
            means = "out of memory" if self.reason == _OOM else MEANING.get(self.exit_code, "")
            how = f"exit {self.exit_code}" + (f" ({means})" if means else "")
        return f"worker {self.worker}: {how}" + (f": {self.message}" if self.message else "")


def worker(pod: Document) -> int:
    """The pod's index in its run, slice after slice; 0 is the leader."""
    metadata = pod["metadata"]
    value = metadata.get("labels", {}).get(INDEX) or metadata.get("annotations", {}).get(INDEX)
    slice_ = int(metadata.get("labels", {}).get(jobset_api.JOB_INDEX_KEY) or 0)
    return (slice_ * _hosts_of_a_slice(pod) if slice_ else 0) + int(value or 0)


def _hosts_of_a_slice(pod: Document) -> int:
    """As octjob tells the run's container."""
    (container,) = (one for one in pod["spec"]["containers"] if one["name"] == CONTAINER)
    return int(next(one["value"] for one in container["env"] if one["name"] == env.NUM_HOSTS))


def restart(pod: Document) -> int:
    """The restart of the JobSet that the pod belongs to, from 0."""
    return int(pod["metadata"].get("labels", {}).get(jobset_api.RESTART_KEY) or 0)


def is_ready(pod: Document) -> bool:
    """Running and ready, or done."""
    return pod.get("status", {}).get("phase") == "Succeeded" or true(pod, "Ready") is not None


def has_begun(pod: Document) -> bool:
    """Whether its container has run, so that there is a log."""
    state = container_state(pod)
    return "running" in state or "terminated" in state


def nodes(pods: Iterable[Document]) -> tuple[str, ...]:
    """The nodes of the pods, each once, by worker."""
    named = [one["spec"].get("nodeName") for one in sorted(pods, key=worker)]
    return tuple(dict.fromkeys(name for name in named if name))


def started_at(pods: Iterable[Document]) -> float | None:
    """When the last of their containers began to run; None where none does."""
    times = [container_state(one).get("running", {}).get("startedAt") for one in pods]
    return max((seconds(one) for one in times if one), default=None)


def container_state(pod: Document) -> dict[str, Any]:
    """The state of the run's container: one key, `waiting`, `running` or `terminated`; empty before."""
    for one in pod.get("status", {}).get("containerStatuses") or []:
        if one["name"] == CONTAINER:
            state: dict[str, Any] = one.get("state") or {}
            return state
    return {}


def first_failure(pods: Sequence[Document]) -> End | None:
    """How the container ended that failed before the others of its attempt.

    Times are whole seconds; of several in one second, one that was not merely stopped is the cause, else the leader.
    """
    ends = [
        (_failed_at(one), end.exit_code in _STOPPED, end.worker, end) for one in pods if (end := _end(one))
    ]
    return min(ends, key=lambda item: item[:3])[3] if ends else None


def obstacle(pods: Sequence[Document], flags: str = "") -> Obstacle | None:
    """What keeps the pods from being ready: the leader's reason first, since the others wait for its node.

    flags: what reaches the cluster and namespace, for kubectl too.
    """
    for pod in sorted(pods, key=worker):
        if not is_ready(pod) and (found := _obstacle(pod, flags)):
            return found
    return None


def missing(pods: Sequence[Document], expected: int, now: float, flags: str = "") -> Obstacle:
    """Which worker is not there, and on which node its pod is or was; pods: of one attempt, also those on their way
    out. The first such worker, since the others stand or fall with it.
    """
    of_worker = {
        worker(pod): pod for pod in sorted(pods, key=lambda one: "deletionTimestamp" not in one["metadata"])
    }
    for index in range(expected):
        pod = of_worker.get(index)
        if pod is None:
            return Obstacle(f"worker {index} has no pod yet")
        if "deletionTimestamp" in pod["metadata"]:
            return _leaving(pod, index, now, flags)
        if not is_ready(pod):
            return _unready(pod, index, now, flags)
    return Obstacle("the others are starting")


def _leaving(pod: Document, index: int, now: float, flags: str) -> Obstacle:
    """A pod that nobody lets go of is on a node that is gone or does not answer."""
    name, node = pod["metadata"]["name"], pod["spec"].get("nodeName", "?")
    since = _since(pod["metadata"]["deletionTimestamp"], now)
    return Obstacle(
        f"worker {index} (pod {name} on node {node}) is being deleted{since}",
        f"`kubectl get node {node}{_without_namespace(flags)}` shows whether the node is lost; if so, `kubectl delete"
        f" pod {name} --force{flags}` lets the run restart elsewhere.",
    )


def _unready(pod: Document, index: int, now: float, flags: str) -> Obstacle:
    name, node = pod["metadata"]["name"], pod["spec"].get("nodeName", "?")
    found = condition(pod, "Ready") or {}
    since = _since(found.get("lastTransitionTime", ""), now)
    why = found.get("message") or found.get("reason") or ""
    return Obstacle(
        f"worker {index} (pod {name} on node {node}) is not ready{since}" + (f": {why}" if why else ""),
        f"`kubectl get node {node}{_without_namespace(flags)}` shows whether its node is well, `kubectl describe pod"
        f" {name}{flags}` what the pod meets.",
    )


def _since(timestamp: str, now: float) -> str:
    """` since 4 min`; empty below a minute, where it means nothing yet."""
    minutes = int((now - seconds(timestamp)) // 60) if timestamp else 0
    return f" since {minutes} min" if minutes else ""


def _without_namespace(flags: str) -> str:
    """Nodes have none, and kubectl takes the flag all the same; shorter without."""
    return re.sub(r" -n \S+", "", flags)


def _obstacle(pod: Document, flags: str) -> Obstacle | None:
    waiting = container_state(pod).get("waiting", {})
    reason, message = waiting.get("reason", ""), " ".join(waiting.get("message", "").split())
    who = f"worker {worker(pod)}"
    if reason in ("CreateContainerConfigError", "CreateContainerError"):
        return Obstacle(f"{who}: {message or reason}", _secret_hint(message, flags))
    if reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
        return Obstacle(
            f"{who}: {reason}: {message}" if message else f"{who}: {reason}",
            "Check compute.image, and that the nodes may pull it; a changed image needs a new submission.",
        )
    scheduled = condition(pod, "PodScheduled")
    if scheduled is not None and scheduled["status"] == "False":
        return Obstacle(f"{who} has no node: {scheduled.get('message') or scheduled.get('reason')}")
    if reason in ("ContainerCreating", "PodInitializing", "") and pod["spec"].get("nodeName"):
        return None if has_begun(pod) else Obstacle(f"{who} starts on {pod['spec']['nodeName']}: {_CREATING}")
    return Obstacle(f"{who}: {reason}" + (f": {message}" if message else "")) if reason else None


_CREATING = "volumes and image are being fetched"


def _secret_hint(message: str, flags: str) -> str:
    if missing := _MISSING_KEY.search(message):
        secret = missing["secret"].rpartition("/")[2]
        edit = f"`kubectl edit secret {secret}{flags}`"
        return f"Add {missing['key']} to Secret {secret} ({edit}); the pods then start."
    if missing := _MISSING_SECRET.search(message):
        secret = missing["secret"]
        return f"`kubectl create secret generic {secret} --from-env-file=FILE{flags}` makes it; the pods then start."
    return ""


def _failed_at(pod: Document) -> float:
    finished = container_state(pod).get("terminated", {}).get("finishedAt")
    disrupted = true(pod, "DisruptionTarget")
    if disrupted is not None:
        return seconds(disrupted["lastTransitionTime"])
    return seconds(finished) if finished else float("inf")


def _end(pod: Document) -> End | None:
    """How the pod failed; None where it did not."""
    index = worker(pod)
    disrupted = true(pod, "DisruptionTarget")
    ended = container_state(pod).get("terminated")
    if disrupted is not None:
        why = f"{disrupted.get('reason', '')}: {disrupted.get('message', '')}".strip(": ")
        return End(index, ended.get("exitCode") if ended else None, why, reason=_DISRUPTED)
    if ended is not None and ended.get("exitCode") != 0:
        message, hint = _last_words(ended.get("message") or "")
        reason = ended.get("reason") or ""
        if reason == _OOM:
            message = f"pod {pod['metadata']['name']} on node {pod['spec'].get('nodeName', '?')}: {message or reason}"
            hint = hint or _OOM_HINT
        return End(
            index, ended.get("exitCode"), message or (reason if reason != "Error" else ""), hint, reason
        )
    status = pod.get("status", {})
    if status.get("phase") == "Failed" and ended is None:
        return End(index, None, status.get("message") or "", reason=status.get("reason") or "the pod failed")
    return None


def _last_words(text: str) -> tuple[str, str]:
    """Message and hint of a termination message: octjob's JSON, else the last lines of the log."""
    try:
        words = json.loads(text)
    except ValueError:
        words = None
    if isinstance(words, dict):
        return str(words.get("message", "")), str(words.get("hint", ""))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-_LAST_LINES:]), ""

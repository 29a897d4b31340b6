"""How long a submission waits for the Jobs of its JobSets, by a clock that only its own naps move."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from doubles.cluster_runs import jobset

from octjob.targets.kubernetes.documents.names import job_name
from octjob.targets.kubernetes.resources import JOBS
from octjob.targets.kubernetes.submission import verify as module
from octjob.targets.kubernetes.submission.verify import TIMEOUT_S, NoJob, verify

DOCUMENT = jobset()
NAME = DOCUMENT["metadata"]["name"]
NOT_SEEN_YET = (
    f'job "{NAME}-w-0" creation failed with error: admission webhook "mjob.kb.io" denied the request:'
    f' JobSet.jobset.x-k8s.io "{NAME}" not found'
)


class Lister:
    """A cluster whose Job is there after a while, and until then an event says one thing, or nothing does."""

    context, namespace, flags = "c", "n", ""

    def __init__(self, made_at_s: float, message: str) -> None:
        self.now, self.made_at_s, self.message = 0.0, made_at_s, message

    def sleep(self, duration_s: float) -> None:
        self.now += duration_s

    def list(self, resource: Any, *_: object, **__: object) -> list[dict[str, Any]]:
        if resource is JOBS:
            return [{"metadata": {"name": job_name(NAME, 0)}}] if self.now >= self.made_at_s else []
        event = {"involvedObject": {"name": NAME}, "reason": "JobCreationFailed", "message": self.message}
        return [event] if self.message else []


def looked(monkeypatch: pytest.MonkeyPatch, made_at_s: float, message: str) -> list[str]:
    cluster: Any = Lister(made_at_s, message)
    clock = SimpleNamespace(monotonic=lambda: cluster.now, sleep=cluster.sleep)
    monkeypatch.setattr(module, "time", clock)
    return verify(cluster, "demo", [DOCUMENT])


def test_a_jobset_that_kueue_has_not_seen_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looked(monkeypatch, 3 * TIMEOUT_S, NOT_SEEN_YET) == []


def test_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoJob, match=f'"{NAME}" not found'):
        looked(monkeypatch, 3600, NOT_SEEN_YET)


@pytest.mark.parametrize("message", ["denied: no such volume", ""])
def test_what_is_refused_is_said_at_once(monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    with pytest.raises(NoJob, match=message or "no event says why"):
        looked(monkeypatch, 2 * TIMEOUT_S, message)

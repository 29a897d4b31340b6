"""What is retried is what octjob asked for: nothing of the server's or of Kueue's goes into the next JobSet."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from octjob.errors import SpecError
from octjob.targets.kubernetes.retry import original
from octjob.targets.kubernetes.workloads import by_jobset, is_active
from tests.doubles.cluster_runs import jobset, pod_spec


def pod_template(document: dict[str, Any]) -> dict[str, Any]:
    template: dict[str, Any] = document["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    return template


def admitted(asked: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A JobSet as it is on the server once Kueue has admitted it and it failed; and its Workload."""
    live = copy.deepcopy(asked)
    live["metadata"] |= {
        "uid": "u-1",
        "resourceVersion": "7",
        "generation": 3,
        "creationTimestamp": "2026-11-23T00:00:00Z",
        "managedFields": [{"manager": "octjob"}],
        "finalizers": ["foregroundDeletion"],
        "ownerReferences": [],
    }
    live["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "{}"
    live["spec"]["suspend"] = False
    template = copy.deepcopy(pod_template(asked))
    pod = pod_template(live)
    pod["spec"]["nodeSelector"]["cloud.google.com/gke-nodepool"] = "pool-1"
    pod["spec"]["tolerations"].append({"key": "flavor", "operator": "Exists"})
    pod["spec"]["schedulingGates"] = [{"name": "kueue.x-k8s.io/topology"}]
    pod["metadata"]["labels"]["kueue.x-k8s.io/podset"] = "w"
    pod["metadata"]["annotations"]["kueue.x-k8s.io/workload"] = "jobset-x"
    live["status"] = {"conditions": [{"type": "Failed", "status": "True"}], "restarts": 3}
    workload = {
        "metadata": {"name": "w-1", "labels": {"kueue.x-k8s.io/job-uid": "u-1"}},
        "spec": {"podSets": [{"name": "w", "count": 4, "template": template}]},
    }
    return live, workload


def test_server_and_kueue_leave_no_trace() -> None:
    asked = jobset(max_restarts=3, priority="high")
    live, workload = admitted(asked)
    before = copy.deepcopy(live)
    assert original(live, workload) == asked
    assert live == before


def test_a_run_without_queue_needs_no_workload() -> None:
    asked = jobset(queue=None)
    live, _ = admitted(asked)
    pod_template(live).update(copy.deepcopy(pod_template(asked)))
    assert original(live, None) == asked


def test_labels_and_settings_that_a_user_changed_on_the_cluster_stay() -> None:
    live, workload = admitted(jobset())
    live["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] = "high"
    live["spec"]["ttlSecondsAfterFinished"] = 60
    document = original(live, workload)
    assert document["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "high"
    assert document["spec"]["ttlSecondsAfterFinished"] == 60


def test_without_the_workload_it_is_not_guessed() -> None:
    live, _ = admitted(jobset())
    with pytest.raises(SpecError, match="its Kueue Workload is gone") as caught:
        original(live, None)
    assert "the sweep's file" in caught.value.hint
    assert "cloud.google.com/gke-nodepool" in pod_spec(live)["nodeSelector"]


def test_workloads_are_found_by_label_or_owner() -> None:
    labelled = {"metadata": {"labels": {"kueue.x-k8s.io/job-uid": "a"}}, "spec": {"active": False}}
    owned = {"metadata": {"ownerReferences": [{"kind": "JobSet", "uid": "b"}]}, "spec": {}}
    foreign = {"metadata": {"ownerReferences": [{"kind": "Job", "uid": "c"}]}, "spec": {}}
    found = by_jobset([labelled, owned, foreign])
    assert found == {"a": labelled, "b": owned}
    assert (is_active(labelled), is_active(owned)) == (False, True)

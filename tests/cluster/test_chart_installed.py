"""charts/octjob installed by helm, as the API server and Kueue take it; what is rendered stands in tests/unit."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doubles.cluster_runs import jobset

from tests.cluster.access import ClusterAccess, condition_status
from tests.cluster.scripted import Scripted
from tests.cluster.tenancy import remove_namespace

CAPACITIES: dict[str, dict[str, Any]] = {
    "tpu": {},
    "spot": {"spot": True},
    "reserved": {"reservation": "shared-project/oct"},
}
# What every authenticated user may ask about itself.
EVERYBODY = [
    "selfsubjectaccessreviews.authorization.k8s.io: create",
    "selfsubjectreviews.authentication.k8s.io: create",
    "selfsubjectrulesreviews.authorization.k8s.io: create",
]


@pytest.fixture(scope="module")
def installed(control_plane: ClusterAccess) -> Iterator[str]:
    """The namespace of a release whose cluster-wide names are its own."""
    name = f"chart-{uuid.uuid4().hex[:8]}"
    queues = [
        {
            "name": f"{name}-{key}",
            **capacity,
            "accelerators": [{"accelerator": "v4-32", "slices": 2, "flavor": f"{name}-{key}"}],
        }
        for key, capacity in CAPACITIES.items()
    ]
    values = {
        "serviceAccounts": {"submitter": {"create": True}},
        "kueue": {
            "keep": False,
            "cluster": {"queues": queues, "priorityClasses": [{"name": name, "value": 1}]},
            "localQueues": [{"name": key, "clusterQueue": f"{name}-{key}"} for key in CAPACITIES],
        },
    }
    control_plane.install_chart(name, values)
    yield name
    control_plane.kubectl("delete", "jobsets", "--all", "--namespace", name)
    control_plane.helm("uninstall", "octjob", "--namespace", name, "--ignore-not-found")
    remove_namespace(control_plane, name)


def rights(cluster: ClusterAccess, namespace: str, account: str) -> list[str]:
    """`kubectl auth can-i --list` but for paths, one `resource [names]: verbs` a line, sorted."""
    user = ("--as", f"system:serviceaccount:{namespace}:{account}")
    groups = ("--as-group", "system:serviceaccounts", "--as-group", "system:authenticated")
    text = cluster.kubectl("auth", "can-i", "--list", "--namespace", namespace, *user, *groups)
    rows = re.findall(r"^(\S+)\s+\[\]\s+\[(.*?)\]\s+\[(.*?)\]$", text, re.MULTILINE)
    return sorted(f"{resource}{f' {names}' if names else ''}: {verbs}" for resource, names, verbs in rows)


def test_the_submitters_rights(control_plane: ClusterAccess, installed: str) -> None:
    assert rights(control_plane, installed, "octjob-submitter") == sorted(
        [
            *EVERYBODY,
            "admissionchecks.kueue.x-k8s.io: get list",
            "clusterqueues.kueue.x-k8s.io: get list",
            "events: list",
            "jobs.batch: create delete get list patch watch",
            "jobsets.jobset.x-k8s.io: create delete get list patch watch",
            "localqueues.kueue.x-k8s.io: get list",
            "limitranges: get list",
            "nodes: get list",
            "persistentvolumeclaims: get list",
            "pods/log: get",
            "pods: create get list watch",
            "resourceflavors.kueue.x-k8s.io: get list",
            "resourcequotas: get list",
            "secrets octjob-b2: get",
            "secrets octjob-wandb: get",
            "serviceaccounts: get",
            "topologies.kueue.x-k8s.io: get list",
            "workloadpriorityclasses.kueue.x-k8s.io: get list",
            "workloads.kueue.x-k8s.io: get list patch watch",
        ]
    )


@pytest.mark.parametrize("account", ["octjob-run", "octjob-collector"])
def test_pods_have_the_rights_of_everybody(
    control_plane: ClusterAccess, installed: str, account: str
) -> None:
    assert rights(control_plane, installed, account) == EVERYBODY


def test_every_queue_is_active(control_plane: ClusterAccess, installed: str) -> None:
    for key in CAPACITIES:
        control_plane.wait_until(
            lambda key=key: (
                condition_status(control_plane.get("clusterqueue", f"{installed}-{key}"), "Active") == "True"
            ),
            f"ClusterQueue {key} is active",
        )
    assert len(control_plane.list("localqueues", installed)) == 3


def submitted(cluster: ClusterAccess, namespace: str, name: str, **compute: Any) -> str:
    """The flavor that Kueue gives a run, or why it gives none."""
    document = jobset(service_account="octjob-run", **compute)
    document["metadata"] |= {"name": name, "namespace": namespace}
    spec = document["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    spec["containers"][0] |= {"command": ["true"], "env": []}
    cluster.apply(document)
    created = cluster.get("jobset", name, namespace)
    assert created is not None
    uid = created["metadata"]["uid"]

    def verdict() -> str:
        for workload in cluster.list("workloads", namespace, f"kueue.x-k8s.io/job-uid={uid}"):
            status = workload.get("status", {})
            for assigned in status.get("admission", {}).get("podSetAssignments", ()):
                return str(assigned["flavors"]["google.com/tpu"])
            for condition in status.get("conditions", ()):
                if (condition["type"], condition["status"]) == ("QuotaReserved", "False"):
                    return str(condition["message"])
        return ""

    return cluster.wait_until(verdict, f"Kueue has looked at {name}")


@pytest.mark.parametrize("key", CAPACITIES)
def test_a_run_is_admitted_to_its_capacity(control_plane: ClusterAccess, installed: str, key: str) -> None:
    flavor = submitted(control_plane, installed, f"fits-{key}", queue=key, **CAPACITIES[key])
    assert flavor == f"{installed}-{key}"


def test_what_does_not_fit_waits_with_the_reason(control_plane: ClusterAccess, installed: str) -> None:
    assert "untolerated taint {cloud.google.com/gke-spot" in submitted(
        control_plane, installed, "ordinary-in-spot", queue="spot"
    )
    assert "doesn't match node affinity" in submitted(
        control_plane, installed, "other-slice", queue="tpu", accelerator="v4-64"
    )


def test_runs_keep_their_place_through_an_uninstall(control_plane: ClusterAccess, tmp_path: Path) -> None:
    name = f"kept-{uuid.uuid4().hex[:8]}"
    queue = {"name": name, "accelerators": [{"accelerator": "v4-32", "slices": 1, "flavor": name}]}
    values = {
        "kueue": {
            "cluster": {"queues": [queue], "priorityClasses": []},
            "localQueues": [{"name": "tpu", "clusterQueue": name}],
        }
    }
    control_plane.install_chart(name, values)
    runs = Scripted(control_plane, name, tmp_path, ("a", "b"))

    def admitted(run: str) -> bool:
        (found,) = (
            one
            for one in control_plane.list("workloads", name)
            if one["metadata"]["ownerReferences"][0]["name"] == jobsets[run]
        )
        return condition_status(found, "Admitted") == "True"

    try:
        jobsets = {"a": runs.start("a")}
        control_plane.wait_until(lambda: control_plane.list("workloads", name) and admitted("a"), "a goes on")
        jobsets["b"] = runs.start("b")
        control_plane.wait_until(lambda: len(control_plane.list("workloads", name)) == 2, "b is queued")
        before = {one["metadata"]["uid"] for one in control_plane.list("workloads", name)}
        control_plane.helm("uninstall", "octjob", "--namespace", name)
        assert (admitted("a"), admitted("b")) == (True, False)
        control_plane.install_chart(name, values)
        assert {one["metadata"]["uid"] for one in control_plane.list("workloads", name)} == before
        assert (admitted("a"), admitted("b")) == (True, False)
        control_plane.kubectl("delete", "jobset", jobsets["a"], "-n", name, "--wait=false")
        control_plane.wait_until(lambda: admitted("b"), "b has its turn", 60)
    finally:
        remove_namespace(control_plane, name)
        control_plane.kubectl("delete", "clusterqueue,resourceflavor", name, "--wait=false")

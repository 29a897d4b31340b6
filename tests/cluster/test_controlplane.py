"""The control plane is what the other tests take it for."""

from __future__ import annotations

from typing import Any

import pytest
from doubles.cluster_runs import make_run, make_settings, pod_spec

from octjob.targets.kubernetes.documents.manifest import render_jobset
from tests.cluster.access import ClusterAccess, CommandError, condition_status
from tests.cluster.build import KUBERNETES
from tests.cluster.controlplane import ControlPlane
from tests.cluster.nodes import POOL_LABEL
from tests.cluster.tenancy import RUN_ACCOUNT


def waiting_jobset(config_name: str, namespace: str) -> dict[str, Any]:
    """A run as octjob renders it, whose pods do nothing for as long as any test takes."""
    document = render_jobset(make_run(config_name), make_settings(secrets=None))
    document["metadata"]["namespace"] = namespace
    pod_spec(document)["containers"][0]["command"] = ["sleep", "3600"]
    return document


def bound_pods(cluster: ClusterAccess, namespace: str, jobset: str) -> list[dict[str, Any]]:
    pods = cluster.list("pods", namespace, f"jobset.sigs.k8s.io/jobset-name={jobset}")
    return [pod for pod in pods if pod["spec"].get("nodeName")]


def four_bound_pods(cluster: ClusterAccess, namespace: str, jobset: str) -> list[dict[str, Any]]:
    def found() -> list[dict[str, Any]]:
        pods = bound_pods(cluster, namespace, jobset)
        return pods if len(pods) == 4 else []

    return cluster.wait_until(found, f"the pods of {jobset} are on nodes")


def pools_of(cluster: ClusterAccess, pods: list[dict[str, Any]]) -> set[str]:
    nodes = {
        node["metadata"]["name"]: node["metadata"]["labels"][POOL_LABEL] for node in cluster.list("nodes")
    }
    return {nodes[pod["spec"]["nodeName"]] for pod in pods}


def admitted(cluster: ClusterAccess, namespace: str) -> set[str]:
    """The JobSets whose workload Kueue has admitted."""
    workloads = cluster.list("workloads", namespace)
    owners = [workload["metadata"]["ownerReferences"][0]["name"] for workload in workloads]
    return {
        owner
        for owner, workload in zip(owners, workloads, strict=True)
        if condition_status(workload, "Admitted") == "True"
    }


def test_the_server_says_its_version(own_control_plane: ControlPlane) -> None:
    assert f"Server Version: v{KUBERNETES}" in own_control_plane.kubectl("version")


def test_two_runs_take_a_pool_each_and_the_third_waits(control_plane: ClusterAccess, namespace: str) -> None:
    jobsets = [waiting_jobset(name, namespace) for name in ("first", "second", "third")]
    names = [jobset["metadata"]["name"] for jobset in jobsets]
    for jobset in jobsets:
        control_plane.apply(jobset)
    control_plane.wait_until(lambda: len(admitted(control_plane, namespace)) == 2, "two runs are admitted")

    running = admitted(control_plane, namespace)
    pools = []
    for name in running:
        pools.append(pools_of(control_plane, four_bound_pods(control_plane, namespace, name)))
    assert [len(pool) for pool in pools] == [1, 1]
    assert pools[0] != pools[1]

    (third,) = set(names) - running
    assert not bound_pods(control_plane, namespace, third)
    assert control_plane.get("jobset", third, namespace)["spec"]["suspend"]

    control_plane.kubectl("delete", "jobset", min(running), "-n", namespace, "--wait=false")
    control_plane.wait_until(lambda: third in admitted(control_plane, namespace), "the third is admitted")


def test_pods_that_are_not_restricted_are_refused(control_plane: ClusterAccess, namespace: str) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bare", "namespace": namespace},
        "spec": {"containers": [{"name": "main", "image": "example.org/image"}]},
    }
    with pytest.raises(CommandError, match="violates PodSecurity"):
        control_plane.apply(pod)


def test_webhooks_go_down_and_come_back_with_jobset(own_control_plane: ControlPlane, namespace: str) -> None:
    own_control_plane.stop_jobset()
    try:
        with pytest.raises(CommandError, match="failed calling webhook"):
            own_control_plane.apply(waiting_jobset("first", namespace))
    finally:
        own_control_plane.start_jobset()
    own_control_plane.apply(waiting_jobset("first", namespace))


def test_objects_outlive_a_restart_of_the_api_server(own_control_plane: ControlPlane, namespace: str) -> None:
    own_control_plane.restart_apiserver()
    assert own_control_plane.get("serviceaccount", RUN_ACCOUNT, namespace)


def test_a_token_works_until_its_time_is_over(own_control_plane: ControlPlane, namespace: str) -> None:
    alive = own_control_plane.user_kubeconfig(RUN_ACCOUNT, namespace, 60)
    answer = own_control_plane.kubectl("auth", "whoami", "-o", "json", kubeconfig=alive)
    assert f"system:serviceaccount:{namespace}:{RUN_ACCOUNT}" in answer
    over = own_control_plane.user_kubeconfig(RUN_ACCOUNT, namespace, -60)
    with pytest.raises(CommandError, match=r"must be logged in|Unauthorized"):
        own_control_plane.kubectl("get", "pods", kubeconfig=over)

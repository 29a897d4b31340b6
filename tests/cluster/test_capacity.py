"""Where chips come from, with the chart's queues: Spot first and ordinary after, nodes asked for, nodes to come."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from octjob.records.status import RunStatus
from octjob.spec.accelerator import parse_accelerator
from octjob.targets.kubernetes.gke import FLEX_START_LABEL, NODE_POOL_LABEL, QUEUED_LABEL, SPOT_LABEL
from octjob.targets.kubernetes.observation.status import SweepView
from tests.cluster.access import ClusterAccess, CommandError
from tests.cluster.autoscaler import Autoscaler
from tests.cluster.nodes import TPU_TAINT, _node, pool_name
from tests.cluster.scripted import Scripted
from tests.cluster.submission import connect, make_ready, octjob, submit_file, write_sweep
from tests.cluster.tenancy import remove_namespace, wait_for_queue

V6E = "v6e-16"
HOSTS = 4
# The label by which GKE tells nodes of ordinary capacity.
ORDINARY = "cloud.google.com/gke-provisioning"
REQUEST = "autoscaling.gke.io/provisioning-request"


@pytest.fixture(scope="module")
def installed(control_plane: ClusterAccess) -> Iterator[str]:
    """The namespace of a release with a queue for each test."""
    name = f"capacity-{uuid.uuid4().hex[:8]}"

    def row(slice_: str, slices: int, capacity: str) -> dict[str, Any]:
        flavor = f"{name}-{capacity.partition('_')[0]}"
        return {"accelerator": slice_, "slices": slices, "capacity": capacity, "flavor": flavor}

    rows = {
        "mixed": [row("v4-32", 1, "spot"), row("v4-32", 1, "on_demand")],
        "queued": [row(V6E, 3, "queued_provisioning")],
        "flex": [row(V6E, 1, "flex_start")],
    }
    queues = [{"name": f"{name}-{key}", "accelerators": of_queue} for key, of_queue in rows.items()]
    local = [{"name": key, "clusterQueue": f"{name}-{key}"} for key in rows]
    cluster = {"queues": queues, "priorityClasses": []}
    values = {"kueue": {"keep": False, "cluster": cluster, "localQueues": local}}
    control_plane.install_chart(name, values)
    make_ready(control_plane, name)
    for queue in queues:
        wait_for_queue(control_plane, queue["name"])
    yield name
    control_plane.helm("uninstall", "octjob", "--namespace", name, "--ignore-not-found")
    remove_namespace(control_plane, name)


@pytest.fixture(autouse=True)
def emptied(control_plane: ClusterAccess, installed: str) -> Iterator[None]:
    """Nothing of one test holds what another waits for."""
    yield
    scope = ("--namespace", installed, "--all", "--wait=false")
    control_plane.kubectl("delete", "jobsets", *scope)
    control_plane.kubectl("delete", "pods", *scope, "--force", "--grace-period=0")
    control_plane.wait_until(
        lambda: not control_plane.list("pods,workloads", installed), "no run is left", 120
    )


@pytest.fixture
def autoscaler(control_plane: ClusterAccess, installed: str) -> Autoscaler:
    try:
        control_plane.list("provisioningrequests", installed)
    except CommandError:
        pytest.skip("this cluster has no ProvisioningRequests")
    return Autoscaler(control_plane, installed)


@pytest.fixture
def spot_and_ordinary(control_plane: ClusterAccess) -> Iterator[None]:
    """The first pool is of Spot nodes, the second of ordinary ones."""
    marks = {pool_name(0): (SPOT_LABEL, "true"), pool_name(1): (ORDINARY, "standard")}
    for pool, (key, value) in marks.items():
        control_plane.kubectl("label", "nodes", "-l", f"{NODE_POOL_LABEL}={pool}", f"{key}={value}")
    yield
    for pool, (key, _) in marks.items():
        control_plane.kubectl("label", "nodes", "-l", f"{NODE_POOL_LABEL}={pool}", f"{key}-")


def test_ordinary_nodes_once_spot_is_exhausted(
    control_plane: ClusterAccess, installed: str, spot_and_ordinary: None, tmp_path: Path
) -> None:
    keys = {"queue": "mixed", "capacity": ["spot", "on_demand"]}
    path = write_sweep(tmp_path, name="mixed", num_configs=1, namespace=installed, **keys)
    assert "capacity: Spot, else on demand" in octjob(control_plane, "plan", "-f", str(path)).out
    checked = octjob(control_plane, "submit", "-f", str(path), "--dry-run")
    assert "compute.capacity" not in checked.out + checked.err
    # Runs that stay, so that nobody's quota comes free.
    runs = Scripted(control_plane, installed, tmp_path, ("a", "b", "c"))
    for name in runs.entries:
        runs.start(name, **keys)

    def placed() -> dict[str, set[tuple[str, str]]]:
        """Flavor to the pools and the added node label of the pods of the run that was admitted to it."""
        found: dict[str, set[tuple[str, str]]] = {}
        flavors = {one.jobset: one.flavor for one in _look(control_plane, installed, "demo")}
        for pod in _bound(control_plane, installed, "demo"):
            selector = pod["spec"]["nodeSelector"]
            flavor = flavors[pod["metadata"]["labels"]["jobset.sigs.k8s.io/jobset-name"]]
            added = "spot" if SPOT_LABEL in selector else selector.get(ORDINARY, "")
            found.setdefault(flavor, set()).add((pod["spec"]["nodeName"].rpartition("-")[0], added))
        return found

    control_plane.wait_until(lambda: len(_bound(control_plane, installed, "demo")) == 8, "8 pods have nodes")
    spot, ordinary = f"{installed}-spot", f"{installed}-on"
    assert placed() == {
        spot: {(f"gke-{pool_name(0)}", "spot")},
        ordinary: {(f"gke-{pool_name(1)}", "standard")},
    }
    (waiting,) = (one for one in _look(control_plane, installed, "demo") if not one.flavor)
    assert waiting.state == "Queued"
    said = octjob(control_plane, "status", "demo", "-n", installed).out
    assert f"admitted to: {spot} (1), {ordinary} (1)" in said


def test_nodes_are_asked_for_and_granted_or_refused(
    control_plane: ClusterAccess, installed: str, autoscaler: Autoscaler, tmp_path: Path
) -> None:
    keys = {"queue": "queued", "accelerator": V6E, "capacity": "queued_provisioning", "max_runtime_hours": 3}
    path = write_sweep(tmp_path, name="asked", num_configs=1, namespace=installed, **keys)
    submit_file(connect(control_plane, installed), path, ordered=True)
    asked = control_plane.wait_until(
        lambda: requests if len(requests := autoscaler.requests()) == 3 else None, "all runs ask for nodes"
    )
    for request in asked.values():
        assert request["spec"]["provisioningClassName"] == "queued-provisioning.gke.io"
        assert request["spec"]["parameters"] == {"maxRunDurationSeconds": str(3 * 3600 + 600)}
        (pods,) = request["spec"]["podSets"]
        template = control_plane.get("podtemplate", pods["podTemplateRef"]["name"], installed)
        assert template is not None
        assert pods["count"] == HOSTS
        assert template["template"]["spec"]["nodeSelector"][QUEUED_LABEL] == "true"
    (granted, first), (refused, second), (lost, third) = asked.items()

    def reason(jobset: str) -> str:
        return next(one.reason for one in _look(control_plane, installed, "asked") if one.jobset == jobset)

    assert reason(granted) == "asked for nodes, not granted yet"
    autoscaler.accept(first, "position 3 of 7 in the zone")
    control_plane.wait_until(lambda: "position 3 of 7" in reason(granted), "the autoscaler's words are shown")
    assert "asked for nodes, not granted yet" in reason(granted)

    _make_pool(control_plane, "queued", {QUEUED_LABEL: "true", FLEX_START_LABEL: "true", REQUEST: "resize-1"})
    autoscaler.provision(first, {"ResizeRequestName": "resize-1"})
    control_plane.wait_until(
        lambda: len(_bound(control_plane, installed, "asked")) == HOSTS, "the run is on its nodes"
    )
    for pod in _bound(control_plane, installed, "asked"):
        assert pod["metadata"]["labels"]["jobset.sigs.k8s.io/jobset-name"] == granted
        assert pod["spec"]["nodeSelector"][REQUEST] == "resize-1"
        assert pod["spec"]["nodeName"].startswith("gke-queued-")

    autoscaler.refuse(second, "no v6e in zone us-east5-b")
    words = "its nodes were refused: no v6e in zone us-east5-b; asked again in "
    control_plane.wait_until(lambda: reason(refused).startswith(words), "the refusal is shown")
    # With no further try the run is given up.
    once = {"spec": {"retryStrategy": {"backoffLimitCount": 0}}}
    control_plane.kubectl(
        *("patch", "provisioningrequestconfig", "octjob-nodes", "--type=merge", "-p", json.dumps(once))
    )
    autoscaler.refuse(third, "no v6e anywhere")

    def given_up() -> RunStatus | None:
        runs = _look(control_plane, installed, "asked")
        return next((one for one in runs if (one.jobset, one.state) == (lost, "PutOut")), None)

    ended = control_plane.wait_until(given_up, "the run is put out")
    assert ended.reason == "was put out by Kueue: admission check octjob-nodes: no v6e anywhere"
    assert "octjob resume asked/" in ended.hint


def test_a_pool_that_is_scaled_to_zero_is_not_called_broken(
    control_plane: ClusterAccess, installed: str, tmp_path: Path
) -> None:
    keys = {"queue": "flex", "accelerator": V6E, "capacity": "flex_start"}
    path = write_sweep(tmp_path, name="flex", num_configs=1, namespace=installed, **keys)
    submit_file(connect(control_plane, installed), path)

    def waits() -> str:
        runs = _look(control_plane, installed, "flex")
        return next((one.reason for one in runs if "has no node" in one.reason), "")

    reason = control_plane.wait_until(waits, "a run's pod has no node")
    assert reason.endswith("no such node is there now: the cluster's autoscaler is expected to make some")
    assert "nodes of pool" not in reason


def _look(cluster: ClusterAccess, namespace: str, sweep: str) -> list[RunStatus]:
    return SweepView(connect(cluster, namespace), sweep).look().runs


def _bound(cluster: ClusterAccess, namespace: str, sweep: str) -> list[dict[str, Any]]:
    pods = cluster.list("pods", namespace, f"octjob.dev/sweep={sweep}")
    return [one for one in pods if one["spec"].get("nodeName")]


def _make_pool(cluster: ClusterAccess, pool: str, labels: dict[str, str]) -> None:
    slice_ = parse_accelerator(V6E)
    capacity = {"cpu": "180", "memory": "720Gi", "google.com/tpu": str(slice_.chips_per_host)}
    taints = [TPU_TAINT, {"key": QUEUED_LABEL, "value": "true", "effect": "NoSchedule"}]
    labels = {NODE_POOL_LABEL: pool, **slice_.node_selector, **labels}
    names = [f"gke-{pool}-{index}" for index in range(slice_.hosts)]
    cluster.apply(*(_node(name, labels, capacity, taints) for name in names))
    cluster.kubectl("wait", "--for=condition=Ready", *(f"node/{name}" for name in names), "--timeout=60s")

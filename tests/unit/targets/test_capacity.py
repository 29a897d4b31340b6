"""A run's capacity on a cluster: its pods, what its queue offers, and what became of an ask for nodes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from doubles.cluster_runs import jobset, pod_spec
from doubles.kube_documents import NOW, condition, stamp

from octjob.spec.compute import Compute
from octjob.targets.kubernetes import gke
from octjob.targets.kubernetes.capacity import capacity_of, check_offer, grows_from_none
from octjob.targets.kubernetes.kueue import MAX_RUN_DURATION
from octjob.targets.kubernetes.observation.pools import absent
from octjob.targets.kubernetes.observation.provisioning import (
    asked,
    asking_checks,
    by_checks,
    flavor_of,
    put_back,
    waits_for_checks,
)
from octjob.targets.kubernetes.refusal import ClusterError
from octjob.targets.kubernetes.submission.preflight import check_nodes

SLICE = {"cloud.google.com/gke-tpu-accelerator", "cloud.google.com/gke-tpu-topology"}
SPOT = {gke.SPOT_LABEL: "true"}
QUEUED = {gke.QUEUED_LABEL: "true"}
Document = dict[str, Any]


@pytest.mark.parametrize(
    ("compute", "labels", "tolerated"),
    [
        ({}, {}, set()),
        ({"capacity": "spot"}, SPOT, {gke.SPOT_LABEL}),
        ({"capacity": ["spot", "on_demand"]}, {}, {gke.SPOT_LABEL}),
        ({"capacity": "flex_start"}, {gke.FLEX_START_LABEL: "true"}, {gke.FLEX_START_LABEL}),
        ({"capacity": "queued_provisioning"}, QUEUED, {gke.QUEUED_LABEL}),
        (
            {"capacity": ["reservation", "spot", "queued_provisioning"], "reservation": "oct"},
            {},
            {gke.SPOT_LABEL, gke.QUEUED_LABEL},
        ),
        (
            {"reservation": "projects/p/reservations/oct/reservationBlocks/b"},
            {
                gke.RESERVATION_LABEL: "oct",
                gke.RESERVATION_PROJECT_LABEL: "p",
                gke.RESERVATION_BLOCK_LABEL: "b",
            },
            set(),
        ),
    ],
)
def test_pods_are_pinned_to_one_capacity_and_free_among_several(
    compute: Document, labels: Document, tolerated: set[str]
) -> None:
    pod = pod_spec(jobset(accelerator="v6e-16", **compute))
    assert {key: value for key, value in pod["nodeSelector"].items() if key not in SLICE} == labels
    assert {one["key"] for one in pod["tolerations"]} == {gke.TPU, *tolerated}


def test_the_short_keys_render_what_capacity_renders() -> None:
    assert jobset(spot=True) == jobset(capacity="spot")
    assert jobset(reservation="p/oct") == jobset(capacity="reservation", reservation="p/oct")


def test_nodes_are_asked_for_a_while_longer_than_a_run_may_take() -> None:
    def seconds(hours: float) -> str:
        document = jobset(accelerator="v6e-16", capacity="queued_provisioning", max_runtime_hours=hours)
        found: str = document["metadata"]["annotations"][MAX_RUN_DURATION]
        return found

    assert seconds(3) == str(3 * 3600 + 600)
    assert seconds(168) == str(168 * 3600)
    assert (
        MAX_RUN_DURATION not in jobset(accelerator="v6e-16", capacity="flex_start")["metadata"]["annotations"]
    )


def test_what_labels_say() -> None:
    assert capacity_of({}) == "on_demand"
    assert capacity_of(SPOT) == "spot"
    assert capacity_of({gke.FLEX_START_LABEL: "true", **QUEUED}) == "queued_provisioning"
    assert capacity_of({gke.RESERVATION_LABEL: "oct"}) == "reservation"
    assert grows_from_none({gke.COMPUTE_CLASS_LABEL: "tpu"})
    assert not grows_from_none(SPOT)


def _flavor(name: str, **labels: str) -> Document:
    return {"metadata": {"name": name}, "spec": {"nodeLabels": labels}}


def _queue(**spec: Any) -> Document:
    return {"metadata": {"name": "q"}, "spec": spec}


def test_a_queue_that_offers_something_else_is_named() -> None:
    wanted = Compute.model_validate({"capacity": ["spot", "on_demand"]})
    spot, ordinary = _flavor("s", **SPOT), _flavor("o")
    assert check_offer(wanted, _queue(), [spot, ordinary]) == []
    (order,) = check_offer(wanted, _queue(), [ordinary, spot])
    assert "Spot, else on demand, but ClusterQueue q prefers on demand, then Spot" in order
    lacks, more = check_offer(wanted, _queue(), [spot, _flavor("r", **{gke.RESERVATION_LABEL: "oct"})])
    assert "has no flavor of on demand" in lacks
    assert "may also give the runs reservation" in more
    assert check_offer(Compute.model_validate({"spot": True}), _queue(), [spot]) == []
    reserved = Compute.model_validate({"capacity": ["reservation", "spot"], "reservation": "oct"})
    ours, other = (_flavor(name, **{gke.RESERVATION_LABEL: name}) for name in ("oct", "theirs"))
    assert check_offer(reserved, _queue(), [ours, spot]) == []
    (wrong,) = check_offer(reserved, _queue(), [other, spot])
    assert "compute.reservation: oct, but flavor theirs of ClusterQueue q" in wrong


def test_somebody_must_ask_for_queued_nodes() -> None:
    wanted = Compute.model_validate({"capacity": "queued_provisioning"})
    flavor = _flavor("f", **QUEUED)
    with pytest.raises(ClusterError, match="has no admission check on flavor f"):
        check_offer(wanted, _queue(), [flavor])
    with pytest.raises(ClusterError, match="on flavor f"):
        check_offer(wanted, _checked("c", onFlavors=["other"]), [flavor])
    for queue in (_checked("c", onFlavors=["f"]), _checked("c"), _queue(admissionChecks=["c"])):
        assert check_offer(wanted, queue, [flavor]) == []


def _checked(name: str, **rule: Any) -> Document:
    return _queue(admissionChecksStrategy={"admissionChecks": [{"name": name, **rule}]})


def _workload(*checks: Document, **status: Any) -> Document:
    reserved = {**condition("QuotaReserved", True, "QuotaReserved", ""), "lastTransitionTime": stamp(750)}
    return {"status": {"conditions": [reserved], "admissionChecks": list(checks), **status}}


def test_an_ask_for_nodes_in_words() -> None:
    pending = {"name": "nodes", "state": "Pending", "message": ""}
    other = {"name": "budget", "state": "Pending", "message": ""}
    assert waits_for_checks(_workload(pending))
    assert not waits_for_checks(_workload({**pending, "state": "Ready"}))
    assert asked(_workload(pending), {"nodes"}, NOW) == "asked for nodes, not granted yet since 12 min"
    accepted = {**pending, "message": "third in line"}
    assert asked(_workload(accepted), {"nodes"}, NOW).endswith("since 12 min: third in line")
    again = {**pending, "state": "Retry", "message": "Retrying after failure: none"}
    held = _workload(again, requeueState={"requeueAt": stamp(-55)})
    assert asked(held, {"nodes"}, NOW) == "its nodes were refused: none; asked again in 55 s"
    # What is not known to be an ask for nodes is not called one.
    assert asked(_workload(pending), (), NOW) == ""
    assert asked(_workload(pending, other), {"nodes"}, NOW) == ""
    checks = [
        {"metadata": {"name": name}, "spec": {"controllerName": by}}
        for name, by in (("nodes", "kueue.x-k8s.io/provisioning-request"), ("budget", "example.org/budget"))
    ]
    assert asking_checks(checks) == {"nodes"}


def test_a_refusal_is_the_autoscalers_own_words() -> None:
    again = (
        'Evicted due to AdmissionCheck in Retry state: "nodes" (Retrying after failure: none (yet) in "b")'
    )
    workload = _workload(requeueState={"requeueAt": stamp(-55)})
    assert put_back(workload, again, NOW) == 'its nodes were refused: none (yet) in "b"; asked again in 55 s'
    lost = 'The workload is deactivated due to AdmissionCheck in Rejected state: "nodes" (none)'
    assert by_checks(lost) == "admission check nodes: none"
    two = 'AdmissionChecks in Rejected state: "budget"; "nodes" (none)'
    assert by_checks(two) == "admission check budget: no reason; admission check nodes: none"
    assert by_checks("something else") == ""
    assert put_back(_workload(), "At least one check failed", NOW) == "put back: At least one check failed"


def test_the_flavor_that_a_run_was_admitted_to() -> None:
    assigned = [{"name": "w", "flavors": {"google.com/tpu": "s", "memory": "any"}}]
    assert flavor_of(_workload(admission={"podSetAssignments": assigned}), (gke.TPU,)) == "s"
    assert flavor_of(_workload(), (gke.TPU,)) == flavor_of(None, (gke.TPU,)) == ""


def test_no_node_of_a_kind_is_no_broken_pool() -> None:
    pod = pod_spec(jobset(spot=True))
    taints = [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]
    node: Document = {"metadata": {"labels": pod["nodeSelector"]}, "spec": {"taints": taints}}
    assert absent([node], pod, suspended=False) == ""
    assert "autoscaler is expected to make some" in absent([], pod, suspended=False)
    assert "asks no autoscaler" in absent([], pod, suspended=True)
    other = {**node, "spec": {"taints": [{"key": gke.QUEUED_LABEL, "value": "true", "effect": "NoSchedule"}]}}
    assert absent([other], pod, suspended=False)


def test_nodes_that_an_autoscaler_makes_from_none_are_waited_for_not_refused() -> None:
    ordinary = pod_spec(jobset(accelerator="v5litepod-16"))["nodeSelector"]
    cluster: Any = SimpleNamespace(
        list=lambda *_: [{"metadata": {"labels": ordinary}}], context="", namespace="oct"
    )
    selector = pod_spec(jobset(accelerator="v6e-16"))["nodeSelector"]
    with pytest.raises(ClusterError, match="no node pool has tpu-v6e-slice 4x4; there are"):
        check_nodes(cluster, selector, None)
    (note,) = check_nodes(cluster, {**selector, gke.COMPUTE_CLASS_LABEL: "chips"}, None)
    assert note.startswith("no node has tpu-v6e-slice 4x4 compute-class=chips now: runs wait until")

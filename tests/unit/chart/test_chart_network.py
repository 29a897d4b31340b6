"""The chart's NetworkPolicy, asked packet by packet: peers of a slice and storage get through, nothing else does."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from doubles.cluster_runs import container, jobset

from octjob.targets.kubernetes.documents.derived import child_pod
from tests.cluster.charts import CHART, Document, helm_template

pytestmark = pytest.mark.chart

RUN = {"app.kubernetes.io/name": "octjob", "app.kubernetes.io/component": "run"}
COLLECTOR = {"app.kubernetes.io/name": "octjob", "app.kubernetes.io/component": "collector"}
STRANGER = {"app": "notebook"}

Labels = dict[str, str]
# A pod of a namespace, or an address outside.
Peer = tuple[str, Labels] | str


@pytest.fixture(scope="module")
def policies() -> list[Document]:
    return [one for one in helm_template(CHART) if one["kind"] == "NetworkPolicy"]


def selects(selector: Document, labels: Labels) -> bool:
    assert selector.keys() <= {"matchLabels"}
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def is_peer(peer: Document, other: Peer) -> bool:
    if isinstance(other, str):
        block = peer.get("ipBlock")
        address = ip_address(other)
        return bool(block) and (
            address in ip_network(block["cidr"])
            and not any(address in ip_network(part) for part in block.get("except", ()))
        )
    namespace, labels = other
    if "ipBlock" in peer:
        return False
    own = {"kubernetes.io/metadata.name": namespace}
    inside = selects(peer["namespaceSelector"], own) if "namespaceSelector" in peer else namespace == "oct"
    return inside and selects(peer.get("podSelector", {}), labels)


def has_port(rule: Document, protocol: str, port: int) -> bool:
    return any(
        one["protocol"] == protocol and one["port"] <= port <= one.get("endPort", one["port"])
        for one in rule["ports"]
    )


def allowed(
    policies: list[Document], labels: Labels, direction: str, other: Peer, port: int, protocol: str = "TCP"
) -> bool:
    """Whether a pod of namespace oct may talk to `other` (egress) or hear from it (ingress)."""
    mine = [one["spec"] for one in policies if selects(one["spec"]["podSelector"], labels)]
    mine = [spec for spec in mine if direction.capitalize() in spec["policyTypes"]]
    if not mine:
        return True
    side = {"egress": "to", "ingress": "from"}[direction]
    rules: list[Any] = [rule for spec in mine for rule in spec.get(direction, ())]
    return any(
        has_port(rule, protocol, port) and any(is_peer(peer, other) for peer in rule[side]) for rule in rules
    )


def test_the_pods_of_a_run_are_those_that_the_policies_mean() -> None:
    assert RUN.items() <= child_pod(jobset(), "oct")["metadata"]["labels"].items()


@pytest.mark.parametrize("port", [8471, 8431, 8476, 12355, 43210])
@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_the_hosts_of_a_slice_reach_each_other(policies: list[Document], direction: str, port: int) -> None:
    assert allowed(policies, RUN, direction, ("oct", RUN), port)


def test_every_port_of_the_container_is_open_to_peers(policies: list[Document]) -> None:
    for one in container(jobset())["ports"]:
        assert allowed(policies, RUN, "ingress", ("oct", RUN), one["containerPort"])


@pytest.mark.parametrize("labels", [RUN, COLLECTOR])
@pytest.mark.parametrize(
    ("address", "port", "protocol"),
    [
        ("142.250.74.123", 443, "TCP"),  # storage.googleapis.com, public
        ("199.36.153.8", 443, "TCP"),  # private.googleapis.com
        ("169.254.169.254", 80, "TCP"),  # metadata server, Dataplane V2
        ("169.254.169.254", 8080, "TCP"),
        ("169.254.169.252", 988, "TCP"),  # metadata server behind Calico
        ("169.254.169.252", 987, "TCP"),
        ("169.254.20.10", 53, "UDP"),  # NodeLocal DNSCache
        ("169.254.169.254", 53, "UDP"),  # Cloud DNS for GKE
    ],
)
def test_storage_identity_and_names_are_reached(
    policies: list[Document], labels: Labels, address: str, port: int, protocol: str
) -> None:
    assert allowed(policies, labels, "egress", address, port, protocol)


def test_names_are_asked_in_kube_system(policies: list[Document]) -> None:
    for protocol in ("UDP", "TCP"):
        assert allowed(policies, RUN, "egress", ("kube-system", {"k8s-app": "kube-dns"}), 53, protocol)
    assert not allowed(policies, RUN, "egress", ("kube-system", {"k8s-app": "metrics"}), 443)


@pytest.mark.parametrize(
    ("other", "port"),
    [
        ("10.128.0.7", 443),
        ("172.20.0.1", 443),
        ("192.168.1.1", 443),
        ("100.64.3.3", 443),
        ("142.250.74.123", 80),
        ("142.250.74.123", 22),
        ("169.254.169.254", 443),
        ("169.254.169.254", 22),
        (("oct", RUN), 22),
        (("oct", STRANGER), 8471),
        (("elsewhere", RUN), 8471),
        (("elsewhere", STRANGER), 443),
    ],
)
def test_nothing_else_is_reached(policies: list[Document], other: Peer, port: int) -> None:
    assert not allowed(policies, RUN, "egress", other, port)


@pytest.mark.parametrize(
    ("other", "port"),
    [
        (("oct", STRANGER), 8471),
        (("oct", COLLECTOR), 8431),
        (("elsewhere", RUN), 8471),
        (("oct", RUN), 443),
        ("8.8.8.8", 8471),
    ],
)
def test_nobody_else_gets_in(policies: list[Document], other: Peer, port: int) -> None:
    assert not allowed(policies, RUN, "ingress", other, port)


def test_other_pods_of_the_namespace_are_cut_off(policies: list[Document]) -> None:
    assert not allowed(policies, STRANGER, "egress", "142.250.74.123", 443)
    assert not allowed(policies, STRANGER, "ingress", ("oct", RUN), 80)


def test_metrics_are_scraped_only_by_those_named() -> None:
    values = CHART / "ci/full-values.yaml"
    found = [one for one in helm_template(CHART, "--values", values) if one["kind"] == "NetworkPolicy"]
    assert allowed(found, RUN, "ingress", ("gmp-system", {}), 8431)
    assert not allowed(found, RUN, "ingress", ("gmp-system", {}), 8471)
    assert allowed(found, RUN, "egress", "10.0.0.5", 3128)

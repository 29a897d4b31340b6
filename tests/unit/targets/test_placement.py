"""Who keeps a run in one node pool, by what flavors offer; and which pools cannot hold one."""

from __future__ import annotations

from typing import Any

import pytest
from doubles.cluster_runs import make_run, make_settings
from hypothesis import given
from hypothesis import strategies as st

from octjob.errors import SpecError
from octjob.spec.compute import Compute
from octjob.targets.kubernetes.documents.manifest import SPEC_HASH, render_jobset
from octjob.targets.kubernetes.documents.settings import offline_warnings, resolve_settings
from octjob.targets.kubernetes.gke import NODE_POOL_LABEL
from octjob.targets.kubernetes.jobset import EXCLUSIVE_KEY
from octjob.targets.kubernetes.kueue import REQUIRED_TOPOLOGY, SLICE_REQUIRED_TOPOLOGY, SLICE_SIZE
from octjob.targets.kubernetes.observation.pools import broken_pools, of_run
from octjob.targets.kubernetes.submission.placement import Offer, decide, offer

TPU = {"cloud.google.com/gke-tpu-topology": "2x2x4"}
Document = dict[str, Any]


def annotations(*, offered: bool = False, **compute: Any) -> tuple[str | None, str | None, str]:
    """What asks for one pool of JobSet and of Kueue, and the hash."""
    document = render_jobset(make_run(), make_settings(**compute), required_topology=offered)
    template = document["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    own = document["metadata"]["annotations"]
    return own.get(EXCLUSIVE_KEY), template["metadata"]["annotations"].get(REQUIRED_TOPOLOGY), own[SPEC_HASH]


def test_one_of_the_two_asks_and_the_hash_is_of_what_the_sweep_says() -> None:
    plain, offered = annotations(), annotations(offered=True)
    assert plain[:2] == (NODE_POOL_LABEL, None)
    assert offered[:2] == (None, NODE_POOL_LABEL)
    assert plain[2] == offered[2] == annotations(topology="exclusive")[2]
    required = annotations(topology="required")
    assert required[:2] == offered[:2]
    assert required == annotations(topology="required", offered=True)
    assert required[2] != plain[2]


def test_kueue_is_asked_for_a_pool_for_each_slice() -> None:
    document = render_jobset(make_run(), make_settings(slices=3), required_topology=True)
    (replicated,) = document["spec"]["replicatedJobs"]
    asked = replicated["template"]["spec"]["template"]["metadata"]["annotations"]
    assert REQUIRED_TOPOLOGY not in asked
    assert (asked[SLICE_REQUIRED_TOPOLOGY], asked[SLICE_SIZE]) == (NODE_POOL_LABEL, "4")
    assert EXCLUSIVE_KEY not in document["metadata"]["annotations"]
    assert annotations(slices=3)[0] == NODE_POOL_LABEL


def test_a_part_of_a_pool_is_kueues_to_give() -> None:
    settings = make_settings(accelerator="v6e-16", part_of="v6e-64", slices=2)
    document = render_jobset(make_run(), settings)
    assert document == render_jobset(make_run(), settings, required_topology=True)
    asked = document["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["metadata"]["annotations"]
    assert asked["cloud.google.com/gke-tpu-slice-topology"] == "4x4"
    assert (asked[SLICE_REQUIRED_TOPOLOGY], asked[SLICE_SIZE]) == (
        "cloud.google.com/gke-tpu-slice-4x4-id",
        "4",
    )
    assert EXCLUSIVE_KEY not in document["metadata"]["annotations"]
    assert offline_warnings(settings) == []
    with pytest.raises(SpecError, match=r"compute\.topology: exclusive gives a run a whole node pool"):
        make_settings(accelerator="v6e-16", part_of="v6e-64", topology="exclusive")
    with pytest.raises(SpecError, match=r"compute\.part_of: has no effect without compute\.queue"):
        make_settings(accelerator="v6e-16", part_of="v6e-64", queue=None)


def test_flavors_by_the_levels_of_their_topology() -> None:
    flavors = [
        _named(name, topologyName=topology) for name, topology in (("a", "x"), ("b", "y"), ("c", None))
    ]
    levels = {"x": [NODE_POOL_LABEL, "kubernetes.io/hostname"], "y": ["kubernetes.io/hostname"]}
    topologies = [
        _named(name, levels=[{"nodeLabel": label} for label in labels]) for name, labels in levels.items()
    ]
    assert offer(flavors, topologies) == Offer(("a",), ("b",), ("c",))


@pytest.mark.parametrize(
    ("offers", "topology", "required", "words"),
    [
        (Offer(pooled=("a",)), "auto", True, ""),
        (Offer(pooled=("a",), plain=("b",)), "auto", True, "passed over: b"),
        (Offer(plain=("b",)), "auto", False, ""),
        (Offer(unpooled=("b",)), "auto", False, "a Topology with the level cloud.google.com/gke-nodepool"),
        (Offer(pooled=("a",)), "exclusive", False, "set compute.topology: auto"),
        (Offer(pooled=("a",), plain=("b",)), "exclusive", False, ""),
        (Offer(pooled=("a",)), "required", True, ""),
    ],
)
def test_placement_by_what_is_offered(offers: Offer, topology: str, required: bool, words: str) -> None:
    found = decide(offers, topology)
    assert found.required == required
    assert len(found.warnings) == bool(words)
    assert words in "".join(found.warnings)


def test_without_a_queue_the_key_has_no_effect() -> None:
    keys = {"accelerator": "v4-32", "image": "x@sha256:0", "topology": "required"}
    with pytest.raises(SpecError, match=r"compute\.topology: has no effect without compute\.queue"):
        resolve_settings(Compute.model_validate(keys))


def test_a_rendering_says_what_it_leaves_open() -> None:
    (text,) = offline_warnings(make_settings(queue="tpu"))
    assert "rendered as exclusive" in text
    assert offline_warnings(make_settings(queue="tpu", topology="required")) == []
    assert offline_warnings(make_settings(queue=None)) == []


def test_pools_that_lack_a_node() -> None:
    nodes = [_node("p0", 0), _node("p0", 1), _node("p1", 0), _node("p1", 1, ready=False)]
    nodes += [_node("p2", 0), _node("p2", 1), _node("other", 0, labels={})]
    found = broken_pools(nodes[1:], TPU, 2)
    assert [str(one) for one in found] == [
        "1 of 2 nodes of pool p0 are there",
        "1 of 2 nodes of pool p1 are ready",
    ]
    pod = {"spec": {"nodeName": "p1-0"}}
    assert [one.name for one in of_run(found, [pod, {"spec": {}}])] == ["p1"]
    assert of_run(found, [{"spec": {"nodeName": "p2-0"}}]) == []
    cordoned = [_node("p2", 0), {**_node("p2", 1), "spec": {"unschedulable": True}}]
    assert [str(one) for one in broken_pools(cordoned, TPU, 2)] == ["1 of 2 nodes of pool p2 are ready"]


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(st.booleans(), min_size=1, max_size=4)))
def test_a_pool_is_broken_unless_all_its_hosts_are_ready(pools: dict[str, list[bool]]) -> None:
    nodes = [_node(name, index, ready=ready) for name, of in pools.items() for index, ready in enumerate(of)]
    found = {one.name for one in broken_pools(nodes, TPU, 4)}
    assert found == {name for name, of in pools.items() if sum(of) < 4}


def _node(pool: str, index: int, *, ready: bool = True, labels: dict[str, str] = TPU) -> Document:
    return {
        "metadata": {"name": f"{pool}-{index}", "labels": {**labels, NODE_POOL_LABEL: pool}},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def _named(name: str, **spec: Any) -> Document:
    return {"metadata": {"name": name}, "spec": {key: value for key, value in spec.items() if value}}

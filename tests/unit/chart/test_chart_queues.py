"""charts/octjob: queues and flavors that admit what octjob submits, and nothing that could not run."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from doubles.cluster_runs import container, jobset, pod_spec

from octjob.spec.accelerator import SLICES
from octjob.spec.gpu import GPUS, GpuNodes
from tests.cluster.charts import (
    CHART,
    Document,
    HelmError,
    kubeconform,
    named,
    of_kind,
    rendered,
)

pytestmark = pytest.mark.chart


@pytest.fixture(scope="module")
def default() -> list[Document]:
    return rendered()


@pytest.fixture(scope="module")
def full() -> list[Document]:
    return rendered(values="full")


def test_the_accelerators_are_octjobs(request: pytest.FixtureRequest) -> None:
    path = CHART / "files/accelerators.yaml"
    text = "".join(re.findall(r"^#.*\n", path.read_text(), re.MULTILINE))
    for row in SLICES:
        name = f"{row.name}/{row.machine_type}" if row.ambiguous else row.name
        text += f"{name}:\n  chips: {row.chips}\n  nodeLabels:\n"
        text += "".join(f"    {key}: {value}\n" for key, value in row.node_selector.items())
    for gpu in GPUS:
        (selector,) = GpuNodes(gpu, 1).node_selector.items()
        text += f"{gpu.names[0]}:\n  machineTypes: [{', '.join(gpu.machines)}]\n"
        text += f"  nodeLabels:\n    {selector[0]}: {selector[1]}\n"
    if request.config.getoption("--update-goldens"):
        path.write_text(text)
    assert path.read_text() == text, "pytest --update-goldens writes it anew"


def test_flavors_know_node_pools_where_that_is_wanted(default: list[Document]) -> None:
    assert not of_kind(default, "Topology")
    documents = rendered("kueue.cluster.topology=true")
    assert kubeconform(documents) == []
    (topology,) = of_kind(documents, "Topology")
    levels = [level["nodeLabel"] for level in topology["spec"]["levels"]]
    assert levels == ["cloud.google.com/gke-nodepool", "kubernetes.io/hostname"]
    names = {one["spec"]["topologyName"] for one in of_kind(documents, "ResourceFlavor")}
    assert names == {topology["metadata"]["name"]}


def test_flavors_of_gpus_know_no_pools() -> None:
    documents = rendered("kueue.cluster.topology=true", values="full")
    unplaced = [one for one in of_kind(documents, "ResourceFlavor") if "topologyName" not in one["spec"]]
    assert {one["metadata"]["name"] for one in unplaced} == {"h100", "l4-g2-standard-16"}


def test_what_holds_a_runs_place_outlives_an_uninstall(default: list[Document]) -> None:
    kept = {"ClusterQueue", "LocalQueue", "ResourceFlavor", "WorkloadPriorityClass"}
    policies = {
        (one["kind"], one["metadata"].get("annotations", {}).get("helm.sh/resource-policy"))
        for one in default
        if one["kind"] in kept
    }
    assert policies == {(kind, "keep") for kind in kept}
    for one in rendered("kueue.keep=false"):
        assert "helm.sh/resource-policy" not in one["metadata"].get("annotations", {})


def test_priority_classes_have_names_of_their_own(default: list[Document]) -> None:
    names = [one["metadata"]["name"] for one in of_kind(default, "WorkloadPriorityClass")]
    assert names == ["octjob-low", "octjob-normal", "octjob-high"]
    renamed = rendered('kueue.cluster.priorityClasses=[{"name": "mine", "value": 5}]')
    assert [one["metadata"]["name"] for one in of_kind(renamed, "WorkloadPriorityClass")] == ["mine"]


def admitted_to(documents: list[Document], queue: str, run: Document) -> list[str]:
    """Flavors of a ClusterQueue that Kueue 0.19 gives a run: kueue pkg/scheduler/flavorassigner, labels and taints.

    Of the run's nodeSelector only those keys count that the flavor has itself.
    """
    (group,) = named(documents, "ClusterQueue", queue)["spec"]["resourceGroups"]
    pod = run["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    tolerated = {(one["key"], one["value"], one["effect"]) for one in pod["tolerations"]}
    found = []
    for name in [one["name"] for one in group["flavors"]]:
        flavor = named(documents, "ResourceFlavor", name)["spec"]
        labels = flavor["nodeLabels"]
        wanted = {key: value for key, value in pod["nodeSelector"].items() if key in labels}
        taints = {(one["key"], one["value"], one["effect"]) for one in flavor["nodeTaints"]}
        if wanted.items() <= labels.items() and taints <= tolerated:
            found.append(name)
    return found


@pytest.mark.parametrize(
    ("queue", "compute", "flavors"),
    [
        ("octjob", {}, ["v4-32"]),
        ("octjob", {"accelerator": "v5litepod-16"}, ["v5litepod-16"]),
        ("octjob", {"accelerator": "v6e-8", "machine_type": "ct6e-standard-8t"}, ["trillium-8"]),
        ("octjob", {"accelerator": "v6e-8", "machine_type": "ct6e-standard-4t"}, []),
        ("octjob", {"accelerator": "v4-64"}, []),
        ("octjob-spot", {"spot": True}, ["v4-32-spot"]),
        ("octjob-spot", {}, []),
        ("octjob-reserved", {"reservation": "shared-project/oct"}, ["v4-32-oct"]),
        ("octjob-reserved", {"reservation": "shared-project/other"}, []),
        ("nightly", {}, ["v4-32"]),
        ("gpus", {"accelerator": "h100:8x2"}, ["h100"]),
        ("gpus", {"accelerator": "l4:1", "machine_type": "g2-standard-16"}, ["l4-g2-standard-16"]),
        ("gpus", {"accelerator": "l4:1", "machine_type": "g2-standard-4"}, []),
        ("gpus", {"accelerator": "a100:8"}, []),
        ("gpus", {}, []),
    ],
)
def test_a_run_gets_the_flavor_of_its_slice(
    full: list[Document], queue: str, compute: dict[str, Any], flavors: list[str]
) -> None:
    assert admitted_to(full, queue, jobset(**compute)) == flavors


def test_no_queue_mixes_capacities(full: list[Document]) -> None:
    capacity = ("cloud.google.com/gke-spot", "cloud.google.com/reservation-name")
    for queue in of_kind(full, "ClusterQueue"):
        (group,) = queue["spec"]["resourceGroups"]
        labels = [
            named(full, "ResourceFlavor", one["name"])["spec"]["nodeLabels"] for one in group["flavors"]
        ]
        assert len({tuple(one.get(key) for key in capacity) for one in labels}) == 1


MIXED = (
    'kueue.cluster.queues=[{"name": "q", "accelerators": ['
    '{"accelerator": "v6e-16", "slices": 2, "capacity": "spot"}, {"accelerator": "v6e-16", "slices": 1},'
    '{"accelerator": "v6e-16", "slices": 1, "capacity": "flex_start"},'
    '{"accelerator": "v6e-16", "slices": 1, "capacity": "queued_provisioning"}]}]'
)
IN_ORDER = ["v6e-16-spot", "v6e-16-on-demand", "v6e-16-flex-start", "v6e-16-queued"]


@pytest.mark.parametrize(
    ("compute", "flavors"),
    [
        ({}, ["v6e-16-on-demand"]),
        ({"spot": True}, ["v6e-16-spot"]),
        ({"capacity": ["spot", "on_demand"]}, ["v6e-16-spot", "v6e-16-on-demand"]),
        ({"capacity": "queued_provisioning"}, ["v6e-16-queued"]),
        ({"capacity": ["queued_provisioning", "flex_start", "on_demand", "spot"]}, IN_ORDER),
    ],
)
def test_one_queue_of_several_capacities_gives_a_run_those_it_names(
    compute: dict[str, Any], flavors: list[str]
) -> None:
    documents = rendered(MIXED)
    run = jobset(accelerator="v6e-16", **compute)
    (group,) = named(documents, "ClusterQueue", "q")["spec"]["resourceGroups"]
    labels = {name: named(documents, "ResourceFlavor", name)["spec"]["nodeLabels"] for name in IN_ORDER}
    # Kueue overlooks only what no flavor of the queue speaks of.
    keys = {key for one in labels.values() for key in one}
    wanted = {key: value for key, value in pod_spec(run)["nodeSelector"].items() if key in keys}
    given = [name for name in admitted_to(documents, "q", run) if wanted.items() <= labels[name].items()]
    assert [one["name"] for one in group["flavors"]] == IN_ORDER
    assert given == flavors


def test_nodes_are_asked_for_where_a_queue_has_such_capacity(default: list[Document]) -> None:
    assert not of_kind(default, "AdmissionCheck")
    documents = rendered(MIXED)
    assert kubeconform(documents) == []
    (check,) = of_kind(documents, "AdmissionCheck")
    (config,) = of_kind(documents, "ProvisioningRequestConfig")
    assert check["spec"]["parameters"]["name"] == config["metadata"]["name"]
    assert config["spec"]["provisioningClassName"] == "queued-provisioning.gke.io"
    spec = named(documents, "ClusterQueue", "q")["spec"]
    (rule,) = spec["admissionChecksStrategy"]["admissionChecks"]
    assert rule == {"name": check["metadata"]["name"], "onFlavors": ["v6e-16-queued"]}
    assert spec["flavorFungibility"] == {"whenCanPreempt": "TryNextFlavor"}


@pytest.mark.parametrize(
    ("queue", "message"),
    [
        ('"spot": true, "capacity": "on_demand"', "spot means capacity spot, but capacity says on_demand"),
        ('"capacity": "reservation"', "which reservation is not said"),
    ],
)
def test_a_queue_that_contradicts_itself_is_refused(queue: str, message: str) -> None:
    row = '{"accelerator": "v6e-16", "slices": 1}'
    with pytest.raises(HelmError, match=message):
        rendered(f'kueue.cluster.queues=[{{"name": "q", {queue}, "accelerators": [{row}]}}]')


def test_a_flavor_of_one_block_of_a_reservation_is_what_a_run_selects() -> None:
    text = "projects/p/reservations/oct/reservationBlocks/b1"
    row = f'{{"accelerator": "v6e-16", "slices": 1, "reservation": "{text}"}}'
    documents = rendered(f'kueue.cluster.queues=[{{"name": "q", "accelerators": [{row}]}}]')
    (flavor,) = of_kind(documents, "ResourceFlavor")
    run = jobset(accelerator="v6e-16", reservation=text)
    assert flavor["spec"]["nodeLabels"] == pod_spec(run)["nodeSelector"]


def test_quota_is_whole_slices_of_the_chips_that_pods_ask_for(default: list[Document]) -> None:
    (group,) = named(default, "ClusterQueue", "octjob")["spec"]["resourceGroups"]
    (flavor,) = group["flavors"]
    run = jobset()
    chips = int(container(run)["resources"]["limits"]["google.com/tpu"])
    pods = run["spec"]["replicatedJobs"][0]["template"]["spec"]["parallelism"]
    assert flavor["resources"] == [{"name": "google.com/tpu", "nominalQuota": str(2 * pods * chips)}]
    assert {*container(run)["resources"]["requests"]} <= {*group["coveredResources"]}
    assert named(default, "LocalQueue", "tpu")["spec"]["clusterQueue"] == "octjob"


def test_gpus_are_counted_as_they_are(full: list[Document]) -> None:
    (group,) = named(full, "ClusterQueue", "gpus")["spec"]["resourceGroups"]
    quota = {one["name"]: one["resources"][0] for one in group["flavors"]}
    assert quota["h100"] == {"name": "nvidia.com/gpu", "nominalQuota": "16"}
    (limit,) = container(jobset(accelerator="h100:8x2"))["resources"]["limits"].items()
    assert limit == ("nvidia.com/gpu", "8")


@pytest.mark.parametrize(
    ("accelerators", "said"),
    [
        ('[{"accelerator": "v4-32", "gpus": 4}]', "octjob: v4-32: TPUs are counted in `slices`"),
        ('[{"accelerator": "h100", "slices": 4}]', "octjob: h100: GPUs are counted in `gpus`"),
        (
            '[{"accelerator": "v4-32", "slices": 1}, {"accelerator": "h100", "gpus": 8}]',
            "octjob: TPUs and GPUs are counted in resources of their own; give each a queue",
        ),
        (
            '[{"accelerator": "l4", "machineType": "a3-highgpu-8g", "gpus": 8}]',
            "there is no l4/a3-highgpu-8g; there is: l4",
        ),
    ],
)
def test_what_counts_nothing_is_refused(accelerators: str, said: str) -> None:
    with pytest.raises(HelmError) as caught:
        rendered(f'kueue.cluster.queues=[{{"name": "octjob", "accelerators": {accelerators}}}]')
    assert said in str(caught.value)


def test_flavors_cover_the_same_resources_as_their_queue(full: list[Document]) -> None:
    for queue in of_kind(full, "ClusterQueue"):
        (group,) = queue["spec"]["resourceGroups"]
        for flavor in group["flavors"]:
            assert [one["name"] for one in flavor["resources"]] == group["coveredResources"]
    local = {one["metadata"]["name"]: one["spec"]["clusterQueue"] for one in of_kind(full, "LocalQueue")}
    assert set(local.values()) == {queue["metadata"]["name"] for queue in of_kind(full, "ClusterQueue")}


@pytest.mark.parametrize(
    ("api", "served", "cohort"),
    [
        (None, "v1beta2", "cohortName"),
        ("kueue.x-k8s.io/v1beta1", "v1beta1", "cohort"),
        ("kueue.x-k8s.io/v1beta1,kueue.x-k8s.io/v1beta2", "v1beta2", "cohortName"),
    ],
)
def test_the_version_of_kueue_that_is_served_is_used(api: str | None, served: str, cohort: str) -> None:
    documents = rendered("kueue.cluster.cohort=research", api=api)
    kueues = [one for one in documents if one["apiVersion"].startswith("kueue.x-k8s.io/")]
    assert len(kueues) == 6
    assert {one["apiVersion"] for one in kueues} == {f"kueue.x-k8s.io/{served}"}
    assert named(documents, "ClusterQueue", "octjob")["spec"][cohort] == "research"
    assert kubeconform(documents) == []


def test_without_kueue_there_is_nothing_of_kueues_but_the_right_to_look_at_it() -> None:
    others = [one for one in rendered(values="no-kueue") if one["kind"] not in ("Role", "ClusterRole")]
    assert "kueue" not in json.dumps(others)

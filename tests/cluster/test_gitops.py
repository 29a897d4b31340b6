"""Sweeps and the chart from a repository: applied as Argo CD does, admitted by Kueue, applied again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from octjob.targets.kubernetes.documents.yamltext import to_yaml
from tests.cluster import argocd
from tests.cluster.access import ClusterAccess, CommandError
from tests.cluster.charts import helm_template
from tests.cluster.nodes import TPU_LABELS, TPU_TAINT
from tests.cluster.scripted import SLEEP, container
from tests.cluster.submission import octjob, write_sweep
from tests.cluster.tenancy import KUEUE, kube_object, wait_for_queue

Document = dict[str, Any]
ROOT = Path(__file__).parents[2]
QUEUE = "gitops"
ADDED = {"key": "example.org/maintenance", "operator": "Exists", "effect": "NoSchedule"}


@pytest.fixture
def queue(control_plane: ClusterAccess, namespace: str) -> Iterator[str]:
    """A queue whose flavor adds a label and a toleration to what it admits, of a name of its own."""
    name = f"{QUEUE}-{namespace}"
    flavor = {"nodeLabels": TPU_LABELS, "nodeTaints": [TPU_TAINT], "tolerations": [ADDED]}
    resources = [{"name": "google.com/tpu", "nominalQuota": "32"}]
    group = {
        "coveredResources": ["google.com/tpu"],
        "flavors": [{"name": name, "resources": resources}],
    }
    control_plane.apply(
        kube_object(KUEUE, "ResourceFlavor", name, spec=flavor),
        kube_object(KUEUE, "ClusterQueue", name, spec={"namespaceSelector": {}, "resourceGroups": [group]}),
        kube_object(KUEUE, "LocalQueue", QUEUE, namespace, spec={"clusterQueue": name}),
    )
    yield QUEUE
    control_plane.kubectl("delete", "clusterqueue,resourceflavor", name, "--wait=false")


@pytest.fixture
def runs(control_plane: ClusterAccess, namespace: str, queue: str, tmp_path: Path) -> list[Document]:
    """JobSets as they lie in Git, with what Argo CD adds to know its own; their pods do nothing."""
    sweep = write_sweep(tmp_path, num_configs=1, queue=queue, secrets=None, namespace=namespace)
    ended = octjob(control_plane, "render", "-f", str(sweep), "-o", str(tmp_path / "rendered"))
    assert ended.code == 0, ended.err
    kustomized = control_plane.kubectl("kustomize", str(tmp_path / "rendered"))
    documents = [one for one in yaml.safe_load_all(kustomized) if one]
    for one in documents:
        container(one)["command"] = ["python", "-u", "-c", SLEEP]
    return [argocd.tracked(one, "octjob-phase3") for one in documents]


def apply(cluster: ClusterAccess, documents: list[Document], manager: str) -> None:
    text = "---\n".join(to_yaml(document) for document in documents)
    cluster.kubectl(
        "apply", "--server-side", "--force-conflicts", f"--field-manager={manager}", "-f", "-", stdin=text
    )


def live(cluster: ClusterAccess, documents: list[Document], namespace: str) -> list[Document]:
    """The objects of these names as they are now, with who owns which field."""
    found = []
    for one in documents:
        scope = ("-n", one["metadata"].get("namespace", namespace))
        version = one["apiVersion"]
        group = f".{version.partition('/')[0]}" if "/" in version else ""
        kind = f"{one['kind'].lower()}.{version.rpartition('/')[2]}{group}" if group else one["kind"].lower()
        text = cluster.kubectl(
            "get", kind, one["metadata"]["name"], *scope, "-o", "json", "--show-managed-fields"
        )
        found.append(json.loads(text))
    return found


def settled(cluster: ClusterAccess, namespace: str) -> Document:
    """What a restart or a lost admission would change."""
    jobsets = {one["metadata"]["uid"]: one["spec"] for one in cluster.list("jobsets", namespace)}
    workloads = {
        one["metadata"]["uid"]: one.get("status", {}).get("admission")
        for one in cluster.list("workloads", namespace)
    }
    pods = sorted(one["metadata"]["uid"] for one in cluster.list("pods", namespace))
    return {"jobsets": jobsets, "workloads": workloads, "pods": pods}


def admitted(cluster: ClusterAccess, namespace: str) -> None:
    """Both slices are taken, with all their pods there."""

    def taken() -> bool:
        going = [one for one in cluster.list("jobsets", namespace) if not one["spec"].get("suspend")]
        return len(going) == 2 and len(cluster.list("pods", namespace)) == 8

    cluster.wait_until(taken, "both slices are taken", 300)


@pytest.mark.timeout(900)
def test_a_second_sync_ends_and_suspends_nothing(
    control_plane: ClusterAccess, namespace: str, runs: list[Document]
) -> None:
    apply(control_plane, runs, argocd.MANAGER)
    admitted(control_plane, namespace)
    before = settled(control_plane, namespace)
    there = live(control_plane, runs, namespace)
    going = [one for one in there if not one["spec"].get("suspend")]
    for one in going:
        template = one["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
        assert ADDED in template["tolerations"], "Kueue wrote into the JobSet"

    application = argocd.application(ROOT / "k8s/gitops/argocd/sweep.yaml")
    compared = argocd.compare(control_plane, application, runs, there)
    assert [one.out_of_sync for one in compared] == [False] * 3
    apply(control_plane, [one.sync for one in compared], argocd.MANAGER)
    assert settled(control_plane, namespace) == before

    # Without the ignored fields Argo CD would want Kueue's toleration away, and never get it.
    plain = argocd.compare(control_plane, {"spec": {"syncPolicy": {}}}, runs, there)
    assert [one.out_of_sync for one in plain] == [True] * 3
    with pytest.raises(CommandError, match="field is immutable"):
        apply(control_plane, runs, argocd.MANAGER)
    assert settled(control_plane, namespace) == before


def test_the_chart_stays_in_sync(control_plane: ClusterAccess, namespace: str) -> None:
    application = argocd.application(ROOT / "k8s/gitops/argocd/chart.yaml")
    values = control_plane.data / f"{namespace}.yaml"
    name = f"oct-{namespace}"
    queues = [{"name": name, "accelerators": [{"accelerator": "v4-32", "slices": 2, "flavor": name}]}]
    # Priority classes are the whole cluster's, where other tests' releases own them.
    cluster = {"queues": queues, "priorityClasses": []}
    own = {"kueue": {"cluster": cluster, "localQueues": [{"name": "chart", "clusterQueue": name}]}}
    values.write_text(yaml.safe_dump({**application["spec"]["source"]["helm"]["valuesObject"], **own}))
    path = ROOT / application["spec"]["source"]["path"]
    # Argo CD tells helm what the cluster serves.
    documents = helm_template(
        path, "--values", values, "--api-versions", "kueue.x-k8s.io/v1beta2", namespace=namespace
    )
    wanted = [argocd.tracked(one, "octjob") for one in documents]
    apply(control_plane, wanted, argocd.MANAGER)
    wait_for_queue(control_plane, name)
    there = live(control_plane, wanted, namespace)
    compared = argocd.compare(control_plane, application, wanted, there)
    assert [one.predicted for one in compared if one.out_of_sync] == []
    apply(control_plane, wanted, argocd.MANAGER)

    again = live(control_plane, wanted, namespace)
    assert [one.get("spec") for one in again] == [one.get("spec") for one in there]
    assert [one["metadata"]["uid"] for one in again] == [one["metadata"]["uid"] for one in there]
    control_plane.kubectl("delete", "clusterqueue,resourceflavor", name, "--wait=false")

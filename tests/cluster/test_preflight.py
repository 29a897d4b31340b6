"""What `octjob submit` says before it creates anything: one line, and a hint with the command that mends it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.access import ClusterAccess, Document, condition_status
from tests.cluster.nodes import TPU_LABELS
from tests.cluster.submission import (
    CANARY,
    HELD,
    SUBMITTER,
    Ended,
    grant,
    jobset_uids,
    make_ready,
    octjob,
    write_sweep,
)
from tests.cluster.tenancy import FLAVOR, QUEUE, SUBMIT_ACCOUNT

KUEUE = "kueue.x-k8s.io/v1beta2"
Submit = Callable[..., Ended]


@pytest.fixture
def submit(control_plane: ClusterAccess, namespace: str, tmp_path: Path) -> Iterator[Submit]:
    """`octjob submit --dry-run` of a sweep with these keys of `compute`, in a namespace that has all it needs."""
    make_ready(control_plane, namespace)

    def run(
        *flags: str, kubeconfig: Path | None = None, in_namespace: str = namespace, **compute: Any
    ) -> Ended:
        path = write_sweep(tmp_path, **compute)
        place = ("-n", in_namespace) if in_namespace else ()
        ended = octjob(
            control_plane, "submit", "-f", str(path), "--dry-run", *place, *flags, kubeconfig=kubeconfig
        )
        assert CANARY not in ended.out + ended.err
        return ended

    yield run
    assert jobset_uids(control_plane, namespace) == {}


def refused(ended: Ended, message: str, hint: str, code: int = 4) -> None:
    """One `error:` line and one `hint:`."""
    lines = [line for line in ended.err.splitlines() if not line.startswith("warning: ")]
    assert [line.partition(":")[0] for line in lines] == ["error", "hint"], ended.err
    assert message in lines[0]
    assert hint in lines[1]
    assert ended.code == code


@pytest.fixture
def cluster_queue(control_plane: ClusterAccess, namespace: str) -> Iterator[Callable[..., str]]:
    """Makes a ClusterQueue and the LocalQueue `own` that leads to it."""
    made: list[str] = []

    def active(kind: str, name: str, wanted: tuple[str, ...]) -> None:
        """Kueue may know the two in either order; octjob is asked once it has looked at both."""
        place = namespace if kind == "localqueue" else None
        control_plane.wait_until(
            lambda: condition_status(control_plane.get(kind, name, place), "Active") in wanted,
            f"Kueue has looked at {kind} {name}",
        )

    def make(
        *, chips: str = "32", flavor: str = FLAVOR, queue_spec: Document | None = None, **spec: Any
    ) -> str:
        resource = {"name": "google.com/tpu", "nominalQuota": chips, **spec.pop("quota", {})}
        group = {
            "coveredResources": ["google.com/tpu"],
            "flavors": [{"name": flavor, "resources": [resource]}],
        }
        content = {"namespaceSelector": {}, "resourceGroups": [group], **spec}
        local = {"clusterQueue": namespace, **(queue_spec or {})}
        control_plane.apply(
            {"apiVersion": KUEUE, "kind": "ClusterQueue", "metadata": {"name": namespace}, "spec": content},
            {
                "apiVersion": KUEUE,
                "kind": "LocalQueue",
                "metadata": {"name": "own", "namespace": namespace},
                "spec": local,
            },
        )
        made.append(namespace)
        active("clusterqueue", namespace, ("True", "False"))
        if (
            condition_status(control_plane.get("clusterqueue", namespace), "Active") == "True"
            and not queue_spec
        ):
            active("localqueue", "own", ("True",))
        return "own"

    yield make
    for name in made:
        control_plane.kubectl("-n", name, "delete", "localqueue", "own", "--ignore-not-found")
        control_plane.kubectl("delete", "clusterqueue", name, "--wait=false")


def test_nothing_to_say(submit: Submit) -> None:
    ended = submit(queue=QUEUE)
    warnings = [line for line in ended.err.splitlines() if "directory of the pod's own" not in line]
    assert (ended.code, warnings) == (0, [])


def test_no_cluster(submit: Submit, tmp_path: Path) -> None:
    refused(submit(kubeconfig=tmp_path / "nowhere"), "no cluster", "get-credentials", code=2)


def test_no_such_context(submit: Submit) -> None:
    refused(
        submit("--context", "nope"), "no context 'nope' in the kubeconfig; there are", "get-contexts", code=2
    )


def test_a_cluster_that_does_not_answer(submit: Submit, control_plane: ClusterAccess, tmp_path: Path) -> None:
    text = control_plane.kubeconfig.read_text()
    server = control_plane.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
    away = tmp_path / "away.yaml"
    away.write_text(text.replace(server, "https://127.0.0.1:1"))
    refused(submit(kubeconfig=away), "https://127.0.0.1:1 does not answer", "version` must answer")


def test_no_rights(submit: Submit, control_plane: ClusterAccess, namespace: str) -> None:
    ended = submit(kubeconfig=control_plane.user_kubeconfig(SUBMIT_ACCOUNT, namespace))
    refused(ended, "no right to list jobsets.jobset.x-k8s.io", "auth can-i list jobsets.jobset.x-k8s.io")


def test_some_rights_missing(submit: Submit, control_plane: ClusterAccess, namespace: str) -> None:
    grant(control_plane, namespace, SUBMIT_ACCOUNT, {"jobsets.jobset.x-k8s.io": ["list", "create"]})
    ended = submit(kubeconfig=control_plane.user_kubeconfig(SUBMIT_ACCOUNT, namespace))
    missing = "no right to patch jobsets.jobset.x-k8s.io, create jobs.batch, list jobs.batch, create pods"
    refused(ended, missing, "auth can-i patch jobsets.jobset.x-k8s.io")


def test_what_may_not_be_read_is_said(submit: Submit, control_plane: ClusterAccess, namespace: str) -> None:
    grant(control_plane, namespace, SUBMIT_ACCOUNT, SUBMITTER)
    ended = submit(
        kubeconfig=control_plane.user_kubeconfig(SUBMIT_ACCOUNT, namespace),
        queue=QUEUE,
        priority="high",
        cache_disk="volumes",
    )
    assert ended.code == 0
    assert "warning: PersistentVolumeClaim volumes was not checked: no right to get it" in ended.err
    assert "warning: Secrets octjob-b2, octjob-wandb: not checked" in ended.err
    assert f"warning: ClusterQueue {QUEUE} may not be read" in ended.err
    assert "warning: ServiceAccount octjob-run was not checked" in ended.err
    assert "warning: WorkloadPriorityClass high was not checked" in ended.err
    assert "warning: whether a node pool has tpu-v4-podslice 2x2x4 was not checked" in ended.err


def test_no_namespace(submit: Submit) -> None:
    refused(submit(in_namespace="nowhere"), "namespace nowhere is not there", "create namespace nowhere")


def test_the_claim_of_a_disk_is_there_and_for_many(
    control_plane: ClusterAccess, namespace: str, submit: Submit
) -> None:
    refused(submit(cache_disk="volumes"), "PersistentVolumeClaim volumes", "get pvc")
    for mode in ("ReadWriteOnce", "ReadOnlyMany"):
        spec = {"accessModes": [mode], "resources": {"requests": {"storage": "10Gi"}}}
        meta = {"name": mode.lower(), "namespace": namespace}
        control_plane.apply(
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}
        )
    refused(submit(cache_disk="readwriteonce"), "is ReadWriteOnce, which nodes cannot share", "ReadOnlyMany")
    ended = submit(cache_disk="readonlymany")
    assert ended.code == 0, ended.err
    assert "PersistentVolumeClaim readonlymany is Pending: runs wait until it is Bound" in ended.err


def test_no_service_account(submit: Submit) -> None:
    refused(submit(service_account="nobody"), "no ServiceAccount nobody", "create serviceaccount nobody")


def test_all_missing_secrets_and_keys_at_once(
    submit: Submit, control_plane: ClusterAccess, namespace: str
) -> None:
    control_plane.kubectl("-n", namespace, "delete", "secret", "octjob-wandb")
    drop = json.dumps({"data": {"B2_APPLICATION_KEY": None}})
    control_plane.kubectl("-n", namespace, "patch", "secret", "octjob-b2", "--type=merge", "-p", drop)
    message = (
        "Secret octjob-b2 has no value for B2_APPLICATION_KEY; no Secret octjob-wandb (keys WANDB_API_KEY)"
    )
    refused(submit(), message, "create secret generic octjob-b2 --from-env-file=FILE")


def test_no_queue(submit: Submit) -> None:
    refused(
        submit(queue="tqu"),
        "compute.queue: no LocalQueue tqu in namespace test-",
        "get localqueues",
    )
    assert f"there are {HELD}, {QUEUE}" in submit(queue="tqu").err


def test_without_a_queue_runs_start_at_once(submit: Submit) -> None:
    ended = submit(queue=None)
    assert ended.code == 0
    assert "no compute.queue: all 6 runs start at once and ask for 96 chips, 16 each" in ended.err


def test_a_stopped_queue_is_said(submit: Submit) -> None:
    ended = submit(queue=HELD)
    assert ended.code == 0
    assert f"warning: LocalQueue {HELD} is stopped (stopPolicy Hold)" in ended.err


def test_a_queue_that_leads_nowhere(submit: Submit, cluster_queue: Callable[..., str]) -> None:
    own = cluster_queue(queue_spec={"clusterQueue": "nowhere"})
    refused(submit(queue=own), "ClusterQueue nowhere is not there", "edit localqueue own")


def test_a_run_larger_than_the_quota(submit: Submit, cluster_queue: Callable[..., str]) -> None:
    own = cluster_queue(chips="12")
    refused(submit(queue=own), "ExceedsMaxQuota: a run needs 16 google.com/tpu", "edit clusterqueue")


def test_a_run_that_must_borrow(submit: Submit, cluster_queue: Callable[..., str]) -> None:
    own = cluster_queue(chips="12", cohortName="everyone")
    ended = submit(queue=own)
    assert ended.code == 0
    assert "runs wait until cohort everyone lends the rest" in ended.err


def test_a_run_that_may_not_borrow_enough(submit: Submit, cluster_queue: Callable[..., str]) -> None:
    own = cluster_queue(chips="12", cohortName="everyone", quota={"borrowingLimit": "3"})
    refused(submit(queue=own), "ExceedsMaxQuota", "raise the quota")


def test_a_flavor_that_does_not_exist(
    submit: Submit, control_plane: ClusterAccess, namespace: str, cluster_queue: Callable[..., str]
) -> None:
    own = cluster_queue(flavor="missing")

    def noticed() -> bool:
        queue = control_plane.get("clusterqueue", namespace)
        return bool((queue or {}).get("status", {}).get("conditions"))

    control_plane.wait_until(noticed, "Kueue has seen the queue")
    refused(submit(queue=own), "is not active: FlavorNotFound", "describe clusterqueue")


def test_cpu_that_the_queue_does_not_cover(
    submit: Submit, control_plane: ClusterAccess, namespace: str
) -> None:
    """Fact sheet, section 7, trap 2: such pods would never be admitted."""
    limits = [{"type": "Container", "defaultRequest": {"cpu": "1"}, "default": {"memory": "1Gi"}}]
    control_plane.apply(
        {
            "apiVersion": "v1",
            "kind": "LimitRange",
            "metadata": {"name": "defaults", "namespace": namespace},
            "spec": {"limits": limits},
        }
    )
    refused(submit(queue=QUEUE), f"ClusterQueue {QUEUE} has no quota for cpu, memory", "coveredResources")


def test_no_priority(submit: Submit) -> None:
    refused(
        submit(queue=QUEUE, priority="urgent"),
        "no WorkloadPriorityClass urgent; there are high, low",
        "get workloadpriorityclasses",
    )
    assert submit(queue=QUEUE, priority="high").code == 0


def test_a_topology_that_no_flavor_has(submit: Submit) -> None:
    refused(
        submit(queue=QUEUE, accelerator="v4-64"),
        "has no flavor for gke-tpu-accelerator=tpu-v4-podslice, gke-tpu-topology=2x4x4; its flavors are v4 (",
        "Set compute.accelerator",
    )


def test_a_topology_that_no_node_pool_has(submit: Submit) -> None:
    message = "no node pool has tpu-v5p-slice 2x2x2; there are tpu-v4-podslice 2x2x4 (8 nodes)"
    refused(
        submit(queue=None, accelerator="v5p-16"), message, "get nodes -L cloud.google.com/gke-tpu-topology"
    )
    spot = "no node pool has tpu-v4-podslice 2x2x4 gke-spot=true"
    refused(submit(queue=None, spot=True), spot, "compute.accelerator")


def test_a_flavor_stands_for_a_pool_without_nodes(
    submit: Submit, control_plane: ClusterAccess, namespace: str, cluster_queue: Callable[..., str]
) -> None:
    labels = {**TPU_LABELS, "cloud.google.com/gke-tpu-topology": "2x4x4"}
    control_plane.apply(
        {
            "apiVersion": KUEUE,
            "kind": "ResourceFlavor",
            "metadata": {"name": namespace},
            "spec": {"nodeLabels": labels},
        }
    )
    assert submit(queue=cluster_queue(flavor=namespace), accelerator="v4-64").code == 0


def test_spot_in_a_queue_that_promises_none(submit: Submit) -> None:
    ended = submit(queue=QUEUE, spot=True)
    assert ended.code == 0
    assert "no node has tpu-v4-podslice 2x2x4 gke-spot=true now" in ended.err


def test_a_flavor_whose_taint_is_not_tolerated(
    submit: Submit, control_plane: ClusterAccess, namespace: str, cluster_queue: Callable[..., str]
) -> None:
    taint = {"key": "team", "value": "other", "effect": "NoSchedule"}
    control_plane.apply(
        {
            "apiVersion": KUEUE,
            "kind": "ResourceFlavor",
            "metadata": {"name": namespace},
            "spec": {"nodeLabels": TPU_LABELS, "nodeTaints": [taint]},
        }
    )
    refused(submit(queue=cluster_queue(flavor=namespace)), "has no flavor for", "compute.queue")


def test_an_image_without_digest_is_a_warning(submit: Submit) -> None:
    ended = submit(image="europe-docker.pkg.dev/project/octjob/octjob:latest")
    assert ended.code == 0
    assert "warning: compute.image:" in ended.err
    assert "docker buildx imagetools inspect" in ended.err


def test_a_pod_that_the_namespace_does_not_allow(submit: Submit) -> None:
    ended = submit(privileged=True)
    refused(ended, 'violates PodSecurity "restricted', "Set compute.privileged: false")
    assert "error: run a.c0-" in ended.err


def test_a_namespace_quota_that_is_used_up_for_now_is_a_warning(
    submit: Submit, control_plane: ClusterAccess, namespace: str
) -> None:
    def limit(chips: int) -> None:
        hard = {"requests.google.com/tpu": str(chips)}
        control_plane.apply(
            {
                "apiVersion": "v1",
                "kind": "ResourceQuota",
                "metadata": {"name": "chips", "namespace": namespace},
                "spec": {"hard": hard},
            }
        )

        def counted() -> bool:
            quota = control_plane.get("resourcequota", "chips", namespace) or {}
            return quota.get("status", {}).get("hard") == hard

        control_plane.wait_until(counted, "the quota is counted")

    limit(16)
    control_plane.kubectl("-n", namespace, "run", "other", "--image=x", f"--overrides={OTHER_POD}")
    ended = submit()
    assert (ended.code, "ResourceQuota chips is used up for now" in ended.err) == (0, True)
    control_plane.kubectl("-n", namespace, "delete", "pod", "other", "--force", "--grace-period=0")
    limit(3)
    refused(submit(), "exceeded quota: chips", "octjob render")


_CONTAINER = {
    "name": "other",
    "image": "x",
    "resources": {"limits": {"google.com/tpu": "16"}},
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}
OTHER_POD = json.dumps(
    {
        "spec": {
            "containers": [_CONTAINER],
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        }
    }
)


def test_options_of_the_other_target(submit: Submit) -> None:
    refused(submit("--concurrency", "2"), "--concurrency has no effect", "Leave out", code=2)
    refused(submit("--target", "local"), "--dry-run has no effect with target local", "--namespace", code=2)

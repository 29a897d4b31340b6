"""`compute.pod` on a real control plane: what a sweep adds reaches its pods, and what it may not is refused first."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.access import ClusterAccess
from tests.cluster.submission import jobset_uids, make_ready, octjob, write_sweep
from tests.cluster.tenancy import QUEUE

PATIENCE_S = 120.0
POD: dict[str, Any] = {
    "metadata": {"labels": {"example.com/team": "retina"}, "annotations": {"example.com/note": "a: b"}},
    "spec": {
        "priorityClassName": "system-node-critical",
        "imagePullSecrets": [{"name": "registry"}],
        "tolerations": [{"key": "example.com/dedicated", "operator": "Exists", "effect": "NoSchedule"}],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "containers": [
            {
                "name": "train",
                "envFrom": [{"configMapRef": {"name": "site", "optional": True}}],
                "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
            }
        ],
        "initContainers": [
            {
                "name": "proxy",
                "image": "example.com/proxy:1",
                "restartPolicy": "Always",
                "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
            }
        ],
    },
}


@pytest.fixture(autouse=True)
def _ready(control_plane: ClusterAccess, namespace: str) -> None:
    make_ready(control_plane, namespace)


def named(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [one for one in items if one["name"] == name]
    return found


def test_admitted_pods_carry_what_the_sweep_adds(
    control_plane: ClusterAccess, namespace: str, tmp_path: Path
) -> None:
    spec = {key: value for key, value in POD["spec"].items() if key != "priorityClassName"}
    path = write_sweep(tmp_path, num_configs=1, queue=QUEUE, pod={**POD, "spec": spec})
    ended = octjob(control_plane, "submit", "-f", str(path), "-n", namespace)
    assert ended.code == 0, ended.err
    pods = control_plane.wait_until(
        lambda: control_plane.list("pods", namespace, "example.com/team=retina"), "pods are there", PATIENCE_S
    )
    assert pods is not None
    pod = pods[0]
    assert pod["metadata"]["labels"]["octjob.dev/sweep"] == "phase3"
    assert pod["metadata"]["annotations"]["example.com/note"] == "a: b"
    assert {"google.com/tpu", "example.com/dedicated"} <= {
        one.get("key") for one in pod["spec"]["tolerations"]
    }
    assert named(pod["spec"]["imagePullSecrets"], "registry")
    assert named(pod["spec"]["volumes"], "scratch")["emptyDir"] == {}
    sidecar = named(pod["spec"]["initContainers"], "proxy")
    assert sidecar["restartPolicy"] == "Always"
    (train,) = pod["spec"]["containers"]
    assert train["command"][:2] == ["octjob", "train"]
    assert named(train["volumeMounts"], "scratch")["mountPath"] == "/scratch"
    assert named(train["volumeMounts"], "shm")["mountPath"] == "/dev/shm"
    again = octjob(control_plane, "submit", "-f", str(path), "-n", namespace)
    assert (again.code, "already there" in again.out) == (0, True), again.out + again.err


def test_another_pod_is_another_setting(control_plane: ClusterAccess, namespace: str, tmp_path: Path) -> None:
    def submit(**compute: Any) -> Any:
        path = write_sweep(tmp_path, num_configs=1, **compute)
        return octjob(control_plane, "submit", "-f", str(path), "-n", namespace)

    assert submit().code == 0
    before = jobset_uids(control_plane, namespace)
    ended = submit(pod={"spec": {"tolerations": POD["spec"]["tolerations"]}})
    assert ended.code == 2
    assert re.search(r"3 runs are on the cluster with other settings: .*tolerations", ended.err), ended.err
    assert jobset_uids(control_plane, namespace) == before


@pytest.mark.parametrize(
    ("spec", "code", "message", "hint"),
    [
        ({"hostNetwork": True}, 2, r"phase3\.yaml:\d+: compute\.pod\.spec\.hostNetwork: ", "Remove it."),
        (
            {"volumes": [{"name": "scratch", "emptyDri": {}}]},
            4,
            r"compute\.pod\.spec\.volumes\[0\]\.emptyDri: no field that the JobSet .* knows; nothing was created",
            "kubectl explain pod.spec --recursive",
        ),
        (
            {"containers": [{"name": "train", "volumeMounts": [{"name": "nowhere", "mountPath": "/x"}]}]},
            4,
            r"run \S+: .*volumeMounts\[\d\]\.name: Not found: \"nowhere\"",
            "Nothing was created",
        ),
        (
            {"volumes": [{"name": "node", "hostPath": {"path": "/"}}]},
            4,
            r"violates PodSecurity \"restricted:latest\": restricted volume types .*hostPath",
            "Correct compute.pod, or let the namespace allow it",
        ),
        (
            {"containers": [{"name": "train", "resources": {"limits": {"ephemeral-storage": "9Gi"}}}]},
            4,
            r"has no quota for ephemeral-storage, which the pods ask for \(from compute\.pod or a LimitRange",
            "coveredResources",
        ),
    ],
)
def test_what_is_refused_is_refused_before_anything_is_created(
    control_plane: ClusterAccess,
    namespace: str,
    tmp_path: Path,
    spec: dict[str, Any],
    code: int,
    message: str,
    hint: str,
) -> None:
    path = write_sweep(tmp_path, pod={"spec": spec})
    ended = octjob(control_plane, "submit", "-f", str(path), "-n", namespace)
    assert ended.code == code, ended.err
    (error,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert re.search(message, error), error
    assert hint in ended.err
    assert jobset_uids(control_plane, namespace) == {}
    assert not list((tmp_path / "out").rglob("*.json"))

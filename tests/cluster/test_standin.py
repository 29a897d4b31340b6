"""The kubelet stand-in does what a kubelet does, as far as the API server and `kubectl` can tell."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.access import ClusterAccess, CommandError, Document
from tests.cluster.controlplane import ControlPlane
from tests.cluster.kubelet.environment import expand, slice_variables
from tests.cluster.tenancy import RUN_ACCOUNT

CPU_NODE = "gke-default-pool-0"

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
UNTIL_TERM = """\
import signal, sys
signal.signal(15, lambda *_: sys.exit({code}))
print('up', flush=True)
signal.pause()
"""
STUBBORN = """\
import os, signal, time
signal.signal(15, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(99)
"""


class Pods:
    """Pods of one namespace."""

    def __init__(self, cluster: ClusterAccess, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace

    def start(self, name: str, code: str, node: str = CPU_NODE, **container: Any) -> None:
        """A pod that runs Python `code`."""
        spec = {
            "name": "train",
            "image": "nothing",
            "command": ["python", "-c", code],
            "securityContext": RESTRICTED,
            "terminationMessagePolicy": "FallbackToLogsOnError",
            **container,
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": self.namespace, "annotations": {"a/b": "noted"}},
            "spec": {
                "nodeName": node,
                "restartPolicy": "Never",
                "serviceAccountName": RUN_ACCOUNT,
                "automountServiceAccountToken": False,
                "tolerations": [{"operator": "Exists"}],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
                "containers": [{**spec, "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}],
            },
        }
        self.cluster.kubectl("create", "-f", "-", stdin=json.dumps(pod))

    def get(self, name: str) -> Document | None:
        return self.cluster.get("pod", name, self.namespace)

    def wait(self, name: str, phase: str) -> Document:
        """The pod as soon as it is in that phase."""

        def there() -> Document | None:
            pod = self.get(name)
            return pod if pod and pod["status"]["phase"] == phase else None

        found = self.cluster.wait_until(there, f"pod {name} is {phase}")
        assert found is not None
        return found

    def ended(self, name: str, phase: str) -> Document:
        """How its container ended."""
        terminated: Document = self.wait(name, phase)["status"]["containerStatuses"][0]["state"]["terminated"]
        return terminated

    def logs(self, name: str, *flags: str) -> str:
        return self.cluster.kubectl("logs", name, "-n", self.namespace, *flags)

    def delete(self, name: str, *flags: str) -> None:
        self.cluster.kubectl("delete", "pod", name, "-n", self.namespace, *flags)


@pytest.fixture
def pods(control_plane: ClusterAccess, namespace: str) -> Pods:
    return Pods(control_plane, namespace)


def test_environment_is_the_pods_and_nothing_of_ours(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "mine")
    secret = ("create", "secret", "generic", "keys", "-n", pods.namespace, "--from-literal=KEY=canary")
    pods.cluster.kubectl(*secret)
    env = [
        {"name": "PLAIN", "value": "x"},
        {"name": "BOTH", "value": "$(PLAIN)y"},
        {"name": "HOME", "value": "/tmp"},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "NOTE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['a/b']"}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "KEY"}}},
        {"name": "MAYBE", "valueFrom": {"secretKeyRef": {"name": "no", "key": "no", "optional": True}}},
    ]
    pods.start("env", "import json, os; print(json.dumps(dict(os.environ)))", env=env)
    pods.wait("env", "Succeeded")
    seen = json.loads(pods.logs("env"))
    expected = {"PLAIN": "x", "BOTH": "xy", "POD": "env", "NODE": CPU_NODE, "NOTE": "noted", "KEY": "canary"}
    assert {key: seen.get(key) for key in expected} == expected
    assert seen["HOME"].endswith("/volumes/tmp")
    assert seen["TMPDIR"] == seen["HOME"]
    assert seen.keys() - expected.keys() <= {
        "HOME",
        "TMPDIR",
        "PATH",
        "OMP_NUM_THREADS",
        "OCTJOB_DEVICE",
        "LC_CTYPE",
    }


def test_a_running_pod_is_ready_and_its_log_can_be_followed(pods: Pods) -> None:
    pods.start("runs", "import time\nfor n in range(5): print(n, flush=True); time.sleep(0.5)")
    status = pods.wait("runs", "Running")["status"]
    assert {one["type"]: one["status"] for one in status["conditions"]}["Ready"] == "True"
    assert status["containerStatuses"][0]["state"]["running"]["startedAt"]
    assert pods.logs("runs", "--follow") == "0\n1\n2\n3\n4\n"
    assert pods.logs("runs", "--tail", "2") == "3\n4\n"
    stamped = pods.logs("runs", "--tail", "1", "--timestamps")
    assert stamped.split()[0] > status["startTime"]


@pytest.mark.parametrize(
    ("code", "exit_code", "reason"),
    [
        ("pass", 0, "Completed"),
        ("raise SystemExit(3)", 3, "Error"),
        ("import os; os.kill(os.getpid(), 9)", 137, "Error"),
    ],
)
def test_how_a_process_ends(pods: Pods, code: str, exit_code: int, reason: str) -> None:
    pods.start("ends", code)
    ended = pods.ended("ends", "Failed" if exit_code else "Succeeded")
    assert (ended["exitCode"], ended["reason"]) == (exit_code, reason)
    assert ended["startedAt"] <= ended["finishedAt"]


def test_a_program_that_is_not_there(pods: Pods) -> None:
    pods.start("nothing", "", command=["no-such-program"])
    ended = pods.ended("nothing", "Failed")
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "no-such-program" in ended["message"]


def test_last_words_are_the_file_else_the_end_of_the_log(pods: Pods) -> None:
    path = {"name": "WORDS", "value": "/dev/termination-log"}
    pods.start("file", "import os; open(os.environ['WORDS'], 'w').write('w' * 9999); exit(1)", env=[path])
    pods.start("log", "print('first'); exit(4)")
    pods.start("fine", "print('first')")
    assert pods.ended("file", "Failed")["message"] == "w" * 4096
    assert pods.ended("log", "Failed")["message"] == "first\n"
    assert "message" not in pods.ended("fine", "Succeeded")


def test_deletion_lets_the_process_end_and_tells_its_exit_code(pods: Pods, tmp_path: Path) -> None:
    pods.start("going", UNTIL_TERM.format(code=75))
    pods.wait("going", "Running")
    # A finalizer holds the object, as the Job controller's does, so that its last status can be read.
    hold = '{"metadata": {"finalizers": ["octjob.dev/test"]}}'
    pods.cluster.kubectl("patch", "pod", "going", "-n", pods.namespace, "--type=merge", "-p", hold)
    pods.cluster.wait_until(lambda: "up" in pods.logs("going"), "its handler is there")
    pods.delete("going", "--grace-period=30", "--wait=false")
    assert pods.ended("going", "Failed")["exitCode"] == 75
    release = '{"metadata": {"finalizers": null}}'
    pods.cluster.kubectl("patch", "pod", "going", "-n", pods.namespace, "--type=merge", "-p", release)
    pods.cluster.wait_until(lambda: pods.get("going") is None, "it is gone")


def test_what_ignores_sigterm_is_killed_after_the_grace_period(pods: Pods) -> None:
    pods.start("stubborn", STUBBORN)
    pods.wait("stubborn", "Running")
    pods.cluster.wait_until(lambda: pods.logs("stubborn"), "it is up")
    number = int(pods.logs("stubborn"))
    started = time.monotonic()
    pods.delete("stubborn", "--grace-period=2")
    assert time.monotonic() - started > 1
    assert not alive(number)


def test_a_missing_secret_or_key_waits_until_it_is_there(pods: Pods) -> None:
    env = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "late", "key": "KEY"}}}]
    pods.start("waits", "import os; print(os.environ['KEY'])", env=env)

    def waiting() -> str:
        statuses = (pods.get("waits") or {})["status"].get("containerStatuses") or [{"state": {}}]
        found = statuses[0]["state"].get("waiting", {})
        return f"{found.get('reason')}: {found.get('message')}"

    said = 'CreateContainerConfigError: secret "late" not found'
    pods.cluster.wait_until(lambda: waiting() == said, said)
    scope = ("-n", pods.namespace)
    pods.cluster.kubectl("create", "secret", "generic", "late", *scope, "--from-literal=OTHER=x")
    said = f"CreateContainerConfigError: couldn't find key KEY in Secret {pods.namespace}/late"
    pods.cluster.wait_until(lambda: waiting() == said, said)
    pods.cluster.kubectl("patch", "secret", "late", *scope, "-p", '{"stringData": {"KEY": "value"}}')
    pods.wait("waits", "Succeeded")
    assert pods.logs("waits") == "value\n"


def test_a_pod_that_never_started_can_be_deleted(pods: Pods) -> None:
    pods.start("never", "pass", envFrom=[{"secretRef": {"name": "missing"}}])
    pods.wait("never", "Pending")
    pods.delete("never", "--timeout=10s")


def test_a_node_that_goes_takes_its_processes_with_it(pods: Pods) -> None:
    node = "gke-gone-0"
    fake = {"kwok.x-k8s.io/node": "fake"}
    document = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "annotations": fake}}
    pods.cluster.apply(document)
    pods.start("stays", "import os, time; print(os.getpid(), flush=True); time.sleep(99)", node=node)
    pods.wait("stays", "Running")
    pods.cluster.wait_until(lambda: pods.logs("stays"), "it is up")
    number = int(pods.logs("stays"))
    pods.cluster.kubectl("delete", "node", node)
    pods.cluster.wait_until(lambda: not alive(number), "its process is gone")
    # Nobody on that node can say how it ended; telling is the pod garbage collector's business.
    left = pods.get("stays")
    assert left is None or "terminated" not in left["status"]["containerStatuses"][0]["state"]


def test_pods_outlive_an_api_server_that_is_away(
    own_control_plane: ControlPlane, pods: Pods, tmp_path: Path
) -> None:
    go, gone = tmp_path / "go", tmp_path / "gone"
    short = f"""
import pathlib, time
while not pathlib.Path({str(go)!r}).exists():
    time.sleep(0.05)
pathlib.Path({str(gone)!r}).touch()
"""
    pods.start("long", UNTIL_TERM.format(code=75))
    pods.wait("long", "Running")
    pods.start("short", short)
    pods.wait("short", "Running")
    own_control_plane.stop_component("apiserver", signal.SIGKILL)
    go.touch()  # "short" ends with nobody to tell.
    pods.cluster.wait_until(gone.exists, "short is about to end")
    own_control_plane.start_component("apiserver")
    pods.wait("short", "Succeeded")
    pods.start("new", "pass")
    pods.wait("new", "Succeeded")
    assert pods.wait("long", "Running")["status"]["containerStatuses"][0]["restartCount"] == 0


def test_logs_of_what_is_not_there(pods: Pods) -> None:
    pods.start("one", "print('x')")
    pods.wait("one", "Succeeded")
    with pytest.raises(CommandError, match="container other is not valid"):
        pods.logs("one", "-c", "other")


def test_slice_variables_are_those_of_gke() -> None:
    pod = {
        "metadata": {"annotations": {"batch.kubernetes.io/job-completion-index": "2"}},
        "spec": {
            "hostname": "a-b-w-0-2",
            "subdomain": "a-b",
            "nodeSelector": {"cloud.google.com/gke-tpu-topology": "2x2x4"},
        },
    }
    container = {"resources": {"limits": {"google.com/tpu": "4"}}}
    assert slice_variables(pod, container) == {
        "TPU_WORKER_ID": "2",
        "TPU_WORKER_HOSTNAMES": "a-b-w-0-0.a-b,a-b-w-0-1.a-b,a-b-w-0-2.a-b,a-b-w-0-3.a-b",
        "TPU_TOPOLOGY": "2x2x4",
        "TPU_SKIP_MDS_QUERY": "true",
    }
    assert slice_variables(pod, {}) == {}


def test_references_expand_as_in_kubernetes() -> None:
    assert expand("$(A)-$(B)-$$(A)-$A", {"A": "x"}) == "x-$(B)-$(A)-$A"


def alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True

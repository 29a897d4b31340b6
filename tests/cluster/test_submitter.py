"""Every command with the chart's submitter role and nothing else, and what is said where a role has less."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doubles.tiny_sweep import fill_bucket, save_checkpoint, sweep_file

from tests.cluster.access import ClusterAccess
from tests.cluster.controlplane import ControlPlane
from tests.cluster.leftovers import removed_with_this_process
from tests.cluster.scripted import Scripted
from tests.cluster.submission import IMAGE, grant, octjob
from tests.cluster.tenancy import RUN_ACCOUNT, SUBMIT_ACCOUNT, kube_object, remove_namespace

# What the chart makes least of.
LEAST: dict[str, Any] = {
    "kueue": {"enabled": False},
    "rbac": {"clusterRead": False, "readSecrets": False},
    "secrets": [],
    "serviceAccounts": {"submitter": {"create": True}},
}
# A role made by hand for a cluster without Kueue.
WITHOUT_KUEUE = {
    "jobsets.jobset.x-k8s.io": ["create", "get", "list", "patch", "delete"],
    "jobs.batch": ["create", "get", "list", "patch", "delete"],
    "pods": ["create", "get", "list"],
    "pods/log": ["get"],
    "events": ["list"],
    "serviceaccounts": ["get"],
}


@pytest.fixture(scope="module")
def no_kueue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server that knows JobSets and no Kueue; nothing carries them out."""
    data = tmp_path_factory.mktemp("no-kueue")
    with removed_with_this_process(data):
        plane = ControlPlane.create(data)
        try:
            plane.start_without_kueue()
            yield plane
        finally:
            plane.stop()


def write_sweep(folder: Path) -> str:
    """A sweep file of one run without a queue."""
    fill_bucket(folder / "bucket").write()
    save_checkpoint(folder / "a.pt")
    compute = {
        "target": "kubernetes",
        "accelerator": "v4-32",
        "image": IMAGE,
        "service_account": RUN_ACCOUNT,
        "prepare": {"pods": 2, "cpu": 1, "memory": "1Gi"},
    }
    data = {"source": f"{folder}/bucket", "shared_cache": "float16"}
    return str(sweep_file(folder, {"probe": {}}, data=data, compute=compute))


def errors_of_every_command(
    cluster: ClusterAccess, namespace: str, account: str, folder: Path
) -> dict[str, list[str]]:
    """By command what it calls an error, of an account that submits; one run `demo/a` is there."""
    kubeconfig = cluster.user_kubeconfig(account, namespace)
    Scripted(cluster, namespace, folder, ("a",)).start("a", queue=None)
    sweep = write_sweep(folder)
    commands = {
        "plan": ["-f", sweep, "-n", namespace],
        "prepare": ["-f", sweep, "--dry-run", "-n", namespace],
        "submit": ["-f", sweep, "--dry-run", "-n", namespace],
        "status": ["demo", "-n", namespace],
        "queue": ["demo", "-n", namespace],
        "logs": ["demo/a.linear", "-n", namespace],
        "collect": ["demo", "-n", namespace],
        "retry": ["demo", "-n", namespace],
        "cancel": ["demo", "--yes", "--no-wait", "-n", namespace],
    }
    said = {}
    for command, arguments in commands.items():
        ended = octjob(cluster, command, *arguments, kubeconfig=kubeconfig)
        lines = [line for line in ended.err.splitlines() if not line.startswith("warning: ")]
        said[command] = lines if ended.code else []
    return said


# There are no pods, no results and nothing that has failed.
EXPECTED = {
    "logs": "no log is left",
    "collect": "no run has finished",
    "retry": "nothing has failed",
}


def require_no_refusal(said: dict[str, list[str]]) -> None:
    assert not {command: lines for command, lines in said.items() if "no right" in " ".join(lines)}
    assert not {command: lines for command, lines in said.items() if lines and command not in EXPECTED}


def test_the_least_that_the_chart_grants_is_enough_beside_anothers_kueue(
    control_plane: ClusterAccess, tmp_path: Path
) -> None:
    name = f"least-{uuid.uuid4().hex[:8]}"
    control_plane.install_chart(name, LEAST)
    try:
        require_no_refusal(errors_of_every_command(control_plane, name, "octjob-submitter", tmp_path))
    finally:
        control_plane.helm("uninstall", "octjob", "--namespace", name)
        remove_namespace(control_plane, name)


def test_the_least_that_the_chart_grants_is_enough_without_kueue(
    no_kueue: ControlPlane, tmp_path: Path
) -> None:
    no_kueue.install_chart("least", LEAST)
    require_no_refusal(errors_of_every_command(no_kueue, "least", "octjob-submitter", tmp_path))


def test_a_role_that_does_not_name_kueue_is_enough_where_there_is_none(
    no_kueue: ControlPlane, tmp_path: Path
) -> None:
    no_kueue.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "by-hand"}})
    for account in (RUN_ACCOUNT, SUBMIT_ACCOUNT):
        no_kueue.apply(kube_object("v1", "ServiceAccount", account, "by-hand"))
    grant(no_kueue, "by-hand", SUBMIT_ACCOUNT, WITHOUT_KUEUE)
    require_no_refusal(errors_of_every_command(no_kueue, "by-hand", SUBMIT_ACCOUNT, tmp_path))


@pytest.mark.parametrize(
    ("right", "command"),
    [
        ("list workloads.kueue.x-k8s.io", ["status", "demo"]),
        ("list workloads.kueue.x-k8s.io", ["queue", "demo"]),
        ("list pods", ["status", "demo"]),
        ("list jobsets.jobset.x-k8s.io", ["status", "demo"]),
        ("list pods", ["logs", "demo/a.linear"]),
        ("delete jobsets.jobset.x-k8s.io", ["cancel", "demo", "--yes"]),
    ],
)
def test_a_right_that_is_missing_is_named_in_one_line(
    control_plane: ClusterAccess, namespace: str, tmp_path: Path, right: str, command: list[str]
) -> None:
    verb, _, kind = right.partition(" ")
    rules = {**WITHOUT_KUEUE, "workloads.kueue.x-k8s.io": ["list"], "localqueues.kueue.x-k8s.io": ["get"]}
    rules[kind] = [one for one in rules[kind] if one != verb]
    grant(control_plane, namespace, SUBMIT_ACCOUNT, {one: verbs for one, verbs in rules.items() if verbs})
    Scripted(control_plane, namespace, tmp_path, ("a",)).start("a")
    kubeconfig = control_plane.user_kubeconfig(SUBMIT_ACCOUNT, namespace)
    ended = octjob(control_plane, *command, "-n", namespace, kubeconfig=kubeconfig)
    error, hint = ended.err.splitlines()
    assert f"no right to {right} in namespace {namespace}" in error
    assert f"auth can-i {right} -n {namespace}` must say yes" in hint
    assert ended.code == 4

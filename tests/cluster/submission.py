"""A small sweep as a user writes it, and what a namespace must have before it can be submitted."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from octjob.cli import run as run_command
from octjob.spec.expand import plan_sweep
from octjob.storage.open import open_store
from octjob.targets.kubernetes.api import Cluster
from octjob.targets.kubernetes.documents.settings import resolve_settings
from octjob.targets.kubernetes.submission.batch import WAVE_S, OnBatch
from octjob.targets.kubernetes.submission.submit import Submitted, submit
from tests.cluster.access import ClusterAccess
from tests.cluster.tenancy import QUEUE, RUN_ACCOUNT

# Its runs are queued like any, and stay so: these tests are not about what runs do.
HELD = "held"

IMAGE = f"europe-docker.pkg.dev/project/octjob/octjob@sha256:{'0123456789abcdef' * 4}"
# Looked for in everything that octjob prints and creates.
CANARY = "canary-7f3a9c1e"
SECRETS = {"octjob-b2": ("B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY"), "octjob-wandb": ("WANDB_API_KEY",)}


def write_sweep(folder: Path, *, num_configs: int = 2, name: str = "phase3", **compute: Any) -> Path:
    """A sweep of 3 checkpoints x `num_configs` configs; None leaves a key of `compute` out."""
    keys = {
        "target": "kubernetes",
        "accelerator": "v4-32",
        "image": IMAGE,
        "queue": HELD,
        "secrets": list(SECRETS),
        "service_account": RUN_ACCOUNT,
        **compute,
    }
    content = {
        "name": name,
        "output": str(folder / "out"),
        "checkpoints": {letter: f"gs://bucket/{letter}.pt" for letter in "abc"},
        "configs": {f"c{i}": {"overrides": {"train.epochs": i + 1}} for i in range(num_configs)},
        "data": {"source": "b2://bucket/dataset"},
        "compute": {key: value for key, value in keys.items() if value is not None},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def make_ready(cluster: ClusterAccess, namespace: str) -> None:
    """The Secrets that the sweep names, every value the canary, and the queue `held`."""
    cluster.apply(
        {
            "apiVersion": "kueue.x-k8s.io/v1beta2",
            "kind": "LocalQueue",
            "metadata": {"name": HELD, "namespace": namespace},
            "spec": {"clusterQueue": QUEUE, "stopPolicy": "Hold"},
        },
        *(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": namespace},
                "stringData": dict.fromkeys(keys, CANARY),
            }
            for name, keys in SECRETS.items()
        ),
    )


def grant(cluster: ClusterAccess, namespace: str, account: str, rules: dict[str, list[str]]) -> None:
    """Rights in one namespace; rules: `<plural>.<group>` (or the plural of a core kind) to verbs."""
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": account, "namespace": namespace},
        "rules": [
            {"apiGroups": [kind.partition(".")[2]], "resources": [kind.partition(".")[0]], "verbs": verbs}
            for kind, verbs in rules.items()
        ],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": account, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }
    cluster.apply(role, binding)


SUBMITTER = {
    "jobsets.jobset.x-k8s.io": ["create", "get", "list", "patch", "delete"],
    "jobs.batch": ["create", "get", "list"],
    "pods": ["create", "get", "list"],
    "events": ["get", "list"],
    "localqueues.kueue.x-k8s.io": ["get", "list"],
}


@dataclass(frozen=True)
class Ended:
    """How a call of `octjob` ended."""

    code: int
    out: str
    err: str


def octjob(cluster: ClusterAccess, *arguments: str, kubeconfig: Path | None = None) -> Ended:
    """`octjob ARGUMENTS` in this process, with the administrator's kubeconfig or another."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setenv("KUBECONFIG", str(kubeconfig or cluster.kubeconfig))
        code = run_command(list(arguments))
    return Ended(code, out.getvalue(), err.getvalue())


def connect(cluster: ClusterAccess, namespace: str, kubeconfig: Path | None = None) -> Cluster:
    """octjob's own connection to the cluster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(kubeconfig or cluster.kubeconfig))
        return Cluster.connect(None, namespace)


def submit_file(
    cluster: Cluster, path: Path, listener: OnBatch = lambda *_: None, ordered: bool = False, **options: bool
) -> Submitted:
    """`submit` of a sweep file, all runs at once unless told otherwise."""
    plan = plan_sweep(path)
    settings = resolve_settings(plan.compute)
    store, wave_s = open_store(plan.output), WAVE_S if ordered else None
    return submit(plan, cluster, store, settings, listener=listener, wave_s=wave_s, **options)


def jobset_uids(cluster: ClusterAccess, namespace: str) -> dict[str, str]:
    """Run id to uid of its JobSet; fails where a run has two."""
    found = cluster.list("jobsets", namespace)
    uids = {each["metadata"]["annotations"]["octjob.dev/run"]: each["metadata"]["uid"] for each in found}
    assert len(uids) == len(found)
    return uids


def stored_specs(folder: Path, name: str = "phase3") -> set[str]:
    """Run ids with a spec in the sweep's store."""
    return {path.parent.name for path in (folder / "out" / name / "runs").glob("*/spec.json")}


def finish(folder: Path, run_id: str, name: str = "phase3") -> None:
    """Make a run a finished one, as far as submit looks."""
    path = folder / "out" / name / "runs" / run_id / "result.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({}))

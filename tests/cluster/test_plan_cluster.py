"""`octjob plan` of a sweep that is partly on the cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from octjob.records.layout import run_key
from octjob.spec.expand import plan_sweep
from octjob.storage.open import open_store
from octjob.targets.kubernetes.outlook.outlook import look
from octjob.targets.kubernetes.resources import JOBSETS
from tests.cluster.access import ClusterAccess
from tests.cluster.submission import HELD, connect, grant, make_ready, octjob, submit_file, write_sweep
from tests.cluster.tenancy import SUBMIT_ACCOUNT

READER = {"jobsets.jobset.x-k8s.io": ["list"], "localqueues.kueue.x-k8s.io": ["get"]}
NUM_RUNS = 6
CHIPS_OF_QUOTA = 32


@pytest.fixture
def sweep(control_plane: ClusterAccess, namespace: str, tmp_path: Path) -> Path:
    """A submitted sweep of six runs: one finished, one removed from the cluster."""
    make_ready(control_plane, namespace)
    path = write_sweep(tmp_path, namespace=namespace)
    cluster = connect(control_plane, namespace)
    submit_file(cluster, path)
    runs = plan_sweep(path).runs
    store = open_store(runs[0].output)
    result = {
        **{
            key: {} for key in ("evaluation", "train", "data", "checkpoint_report", "training", "environment")
        },
        "run_id": runs[0].run_id,
        "sweep": "phase3",
        "checkpoint": "a",
        "config": "c0",
        "mode": "probe",
        "notes": [],
        "started_at": 0.0,
        "finished_at": 1800.0,
        "duration_s": 1800.0,
        "attempts": 1,
    }
    store.put(run_key(runs[0].run_id, "result.json"), json.dumps(result).encode())
    gone = next(one for one in cluster.list(JOBSETS) if runs[1].run_id in str(one["metadata"]["annotations"]))
    cluster.delete(JOBSETS, gone["metadata"]["name"])
    control_plane.wait_until(lambda: len(cluster.list(JOBSETS)) == NUM_RUNS - 1, "one is gone")
    return path


def test_the_plan_shows_states_quota_and_chip_hours(
    control_plane: ClusterAccess, namespace: str, sweep: Path
) -> None:
    ended = octjob(control_plane, "plan", "-f", str(sweep), "-o", "json")
    assert ended.code == 0, ended.err
    shown = json.loads(ended.out)
    states = [run["state"] for run in shown["runs"]]
    assert states == ["Succeeded", "Pending", "Queued", "Queued", "Queued", "Queued"]
    assert shown["cluster"]["namespace"] == namespace
    quota = shown["cluster"]["quota"]
    assert (quota["queue"], quota["chips"]) == (HELD, CHIPS_OF_QUOTA)
    cost = shown["chip_hours"]
    assert cost["at_most"] == 5 * 16 * 72
    # Two further runs of config c0, half an hour each on 16 chips.
    assert (cost["estimate"], cost["num_estimated"]) == (16.0, 2)
    table = octjob(control_plane, "plan", "-f", str(sweep)).out
    assert "cluster: 1 Succeeded, 1 Pending, 4 Queued" in table
    assert f"of {CHIPS_OF_QUOTA} chips in use" in table


def test_the_runs_take_two_list_calls(control_plane: ClusterAccess, namespace: str, sweep: Path) -> None:
    cluster = connect(control_plane, namespace)
    before = cluster.num_calls
    assert len(look(cluster, plan_sweep(sweep)).states) == NUM_RUNS - 1
    # JobSets; Kueue's served versions; Workloads; LocalQueue; ClusterQueue.
    assert cluster.num_calls - before == 5


def test_what_may_not_be_read_is_said(control_plane: ClusterAccess, namespace: str, sweep: Path) -> None:
    grant(control_plane, namespace, SUBMIT_ACCOUNT, READER)
    kubeconfig = control_plane.user_kubeconfig(SUBMIT_ACCOUNT, namespace)
    ended = octjob(control_plane, "plan", "-f", str(sweep), kubeconfig=kubeconfig)
    assert ended.code == 0, ended.err
    assert "ClusterQueue tpu may not be read" in ended.out


def test_an_unreachable_cluster_is_a_warning_unless_it_was_named(
    control_plane: ClusterAccess, sweep: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.yaml"
    text = control_plane.kubeconfig.read_text()
    server = connect(control_plane, "default").server
    broken.write_text(text.replace(server, "https://127.0.0.1:1"))
    ended = octjob(control_plane, "plan", "-f", str(sweep), kubeconfig=broken)
    assert ended.code == 0
    assert ended.err.startswith("warning: the cluster was not asked: ")
    assert "cluster: ?" in ended.out
    assert sum(line.split()[5:6] == ["?"] for line in ended.out.splitlines()) == NUM_RUNS - 1
    shown = json.loads(octjob(control_plane, "plan", "-f", str(sweep), "-o", "json", kubeconfig=broken).out)
    assert [run["state"] for run in shown["runs"]] == ["Succeeded", *[None] * (NUM_RUNS - 1)]
    assert "does not answer" in shown["cluster"]["error"]
    named = octjob(control_plane, "plan", "-f", str(sweep), "-n", "x", kubeconfig=broken)
    assert named.code == 4

"""`octjob cancel`, `pause`, `resume`, `retry` and `collect --wait` against real JobSet and Kueue.

The pods run small commands in place of `octjob train`: they note in a file what happened to them.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from octjob.records.layout import run_key, write_sweep
from octjob.records.schema import RunEntry, SweepRecord
from octjob.records.state import RunState
from octjob.storage.open import open_store
from octjob.targets.kubernetes import retry as retrying
from octjob.targets.kubernetes.api import Cluster
from octjob.targets.kubernetes.documents.fields import differing_fields
from octjob.targets.kubernetes.documents.manifest import render_jobset
from octjob.targets.kubernetes.phase import phase
from octjob.targets.kubernetes.refusal import Refused
from octjob.targets.kubernetes.resources import JOBSETS
from octjob.targets.kubernetes.retry import RETRY, retry
from octjob.targets.kubernetes.select import annotation, parse_target, select
from tests.cluster.access import ClusterAccess
from tests.cluster.submission import Ended, connect, octjob
from tests.cluster.tenancy import QUEUE
from tests.doubles.cluster_runs import make_run, make_settings, pod_spec

SERVER_METADATA = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid", "finalizers")
# Notes a line when it starts and one when it is told to stop; 75 is octjob's "saved, start me again".
UNTIL_STOPPED = """\
import os, signal, sys
def note(word):
    if os.environ['JOB_COMPLETION_INDEX'] == '0':
        print(word, file=open({log!r}, 'a'), flush=True)
def stop(*_):
    note('saved')
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
note('started')
signal.pause()
"""
FAILS = "raise SystemExit(3)"
WORKS = "raise SystemExit(0)"


class Sweep:
    """A sweep `phase3` on the cluster whose pods run Python code."""

    def __init__(self, access: ClusterAccess, namespace: str, folder: Path) -> None:
        self.access, self.namespace, self.folder = access, namespace, folder
        self.output = f"file://{folder}/phase3"
        self.store = open_store(self.output)
        self.cluster: Cluster = connect(access, namespace)
        self.runs: list[RunEntry] = []

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def add(self, config: str, code: str, sweep: str = "phase3", **compute: Any) -> str:
        """A run of this config; returns its id."""
        run_id = f"multi_domain.{config}-0bc9311{len(self.runs)}"
        run = make_run(config, output=self.output, run_id=run_id, sweep=sweep)
        settings = make_settings(secrets=None, **{"max_restarts": 0, **compute})
        jobset = render_jobset(run, settings)
        pod_spec(jobset)["containers"][0]["command"] = ["python", "-c", code]
        self.cluster.apply(JOBSETS, jobset)
        self.runs.append(RunEntry(run_id=run_id, checkpoint="multi_domain", config=config))
        record = SweepRecord(name="phase3", baseline=None, class_names=("a", "b"), runs=tuple(self.runs))
        write_sweep(self.store, record, update=True)
        return run_id

    def jobset(self, run_id: str) -> dict[str, Any] | None:
        found = [one for one in self.cluster.list(JOBSETS) if annotation(one, "run") == run_id]
        assert len(found) <= 1
        return found[0] if found else None

    def wait_for_state(self, run_id: str, wanted: RunState) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            jobset = self.jobset(run_id)
            return jobset if jobset and phase(jobset).state == wanted else None

        jobset = self.access.wait_until(reached, f"{run_id} is {wanted}", 90.0)
        assert jobset is not None
        return jobset

    def wait_for_log(self, lines: Sequence[str]) -> None:
        def there() -> bool:
            return self.log.exists() and self.log.read_text().split() == list(lines)

        self.access.wait_until(there, f"log says {lines}", 60.0)

    def octjob(self, *arguments: str) -> Ended:
        return octjob(self.access, *arguments, "-n", self.namespace)

    def until_stopped(self, config: str) -> str:
        return self.add(config, UNTIL_STOPPED.format(log=str(self.log)))


@pytest.fixture
def sweep(control_plane: ClusterAccess, namespace: str, tmp_path: Path) -> Sweep:
    return Sweep(control_plane, namespace, tmp_path)


def test_cancel_lets_a_run_save_and_waits_until_it_is_gone(sweep: Sweep) -> None:
    run = sweep.until_stopped("logistic")
    other = sweep.add("finetune", WORKS)
    sweep.wait_for_log(["started"])
    sweep.wait_for_state(other, "NoResult")
    ended = sweep.octjob("cancel", "phase3", "--yes", "-o", "json")
    assert ended.code == 0, ended.err
    actions = {one["run"]: (one["action"], one["reason"]) for one in json.loads(ended.out)[0]["runs"]}
    assert actions[run] == ("cancelled", "")
    assert actions[other][0] == "unchanged"
    assert actions[other][1].startswith("has ended without a result")
    assert sweep.log.read_text().split() == ["started", "saved"]
    assert sweep.jobset(run) is None
    assert sweep.jobset(other) is not None
    assert sweep.access.list("pods", sweep.namespace, f"octjob.dev/run={run}") == []
    # Submitted again, it is a new JobSet of the same name, and starts.
    sweep.runs.pop()
    sweep.runs.pop()
    assert sweep.until_stopped("logistic") == run
    sweep.wait_for_log(["started", "saved", "started"])


def test_a_whole_sweep_is_not_cancelled_unasked(sweep: Sweep) -> None:
    run = sweep.until_stopped("logistic")
    ended = sweep.octjob("cancel", "phase3")
    assert ended.code == 2
    assert "Cancel 1 run of sweep phase3" in ended.err
    assert "--yes" in ended.err
    assert sweep.jobset(run) is not None


def test_pause_frees_the_quota_and_resume_goes_on(sweep: Sweep) -> None:
    run = sweep.until_stopped("logistic")
    sweep.wait_for_log(["started"])
    assert sweep.octjob("pause", run).out == f"paused {run}\n"
    sweep.wait_for_log(["started", "saved"])
    uid = sweep.wait_for_state(run, "Queued")["metadata"]["uid"]
    assert "is paused already; nothing done" in sweep.octjob("pause", run).out
    queue = sweep.access.get("localqueue", QUEUE, sweep.namespace)
    sweep.access.wait_until(
        lambda: (
            (sweep.access.get("localqueue", QUEUE, sweep.namespace) or {})["status"]["admittedWorkloads"] == 0
        ),
        "no quota is held",
    )
    assert queue is not None
    assert sweep.octjob("resume", "phase3").out == f"resumed {run}\n"
    sweep.wait_for_log(["started", "saved", "started"])
    jobset = sweep.wait_for_state(run, "Running")
    assert jobset["metadata"]["uid"] == uid
    assert jobset["status"].get("restartsCountTowardsMax", 0) == 0


def test_a_run_without_a_queue_cannot_be_paused(sweep: Sweep) -> None:
    run = sweep.add("logistic", UNTIL_STOPPED.format(log=str(sweep.log)), queue=None)
    ended = sweep.octjob("pause", run)
    assert (ended.code, ended.out) == (2, "")
    assert "not queued by Kueue" in ended.err


def test_retry_creates_the_same_jobset_again(sweep: Sweep, tmp_path: Path) -> None:
    marker = tmp_path / "mended"
    run = sweep.add("logistic", f"import os; raise SystemExit(0 if os.path.exists({str(marker)!r}) else 3)")
    other = sweep.until_stopped("finetune")
    sweep.store.put(run_key(run, "checkpoint/last.pt"), b"state")
    failed = sweep.wait_for_state(run, "Failed")
    sweep.wait_for_log(["started"])
    refused = sweep.octjob("retry", other)
    assert refused.code == 2
    assert f"run {other}: is running, so there is nothing to retry" in refused.err
    marker.touch()
    ended = sweep.octjob("retry", "phase3", "--failed")
    assert ended.code == 0, ended.err
    assert ended.out == f"retried {run}\nleft alone: 1 (is running)\n"
    again = sweep.wait_for_state(run, "NoResult")
    assert again["metadata"]["uid"] != failed["metadata"]["uid"]
    assert differing_fields(wishes(again), wishes(failed)) == []
    assert differing_fields(wishes(failed), wishes(again)) == []
    assert sweep.store.get(run_key(run, "checkpoint/last.pt")) == b"state"
    assert not sweep.store.exists(run_key(run, RETRY))


def wishes(jobset: dict[str, Any]) -> dict[str, Any]:
    """What a JobSet asks for, but for the name of the Workload that Kueue notes in its pods."""
    metadata = {key: value for key, value in jobset["metadata"].items() if key not in SERVER_METADATA}
    pod = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    pod["metadata"]["annotations"].pop("kueue.x-k8s.io/workload", None)
    return {"metadata": metadata, "spec": jobset["spec"]}


def test_the_nodes_that_kueue_chose_do_not_bind_the_next_attempt(sweep: Sweep) -> None:
    """The flavor's node labels are in the failed JobSet's pods, and not in the one that replaces it."""
    run = sweep.add("logistic", FAILS)
    live = sweep.wait_for_state(run, "Failed")
    asked = set(pod_spec(render_jobset(make_run(), make_settings()))["nodeSelector"])
    workload = next(iter(sweep.access.list("workloads", sweep.namespace)))
    pod_spec(live)["nodeSelector"]["cloud.google.com/gke-nodepool"] = "pool-1"
    pod_spec(live)["schedulingGates"] = [{"name": "kueue.x-k8s.io/topology"}]
    document = retrying.original(live, workload)
    assert set(pod_spec(document)["nodeSelector"]) == asked
    assert "schedulingGates" not in pod_spec(document)
    assert "suspend" not in document["spec"]
    assert not {*SERVER_METADATA, "ownerReferences"} & set(document["metadata"])


def test_a_retry_that_was_cut_off_is_completed_by_the_next(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = sweep.add("logistic", FAILS)
    kept = sweep.until_stopped("finetune")
    failed = sweep.wait_for_state(run, "Failed")

    def refuse(*_: object, **__: object) -> None:
        raise Refused("the network went away")

    with monkeypatch.context() as patch:
        patch.setattr(Cluster, "apply", refuse)
        with pytest.raises(Refused):
            retry(sweep.cluster, select(sweep.cluster, parse_target("phase3")), sweep.store)
    assert sweep.jobset(run) is None
    ended = sweep.octjob("retry", "phase3")
    assert f"retried {run} (an earlier retry was cut off)" in ended.out
    again = sweep.wait_for_state(run, "Failed")
    assert differing_fields(wishes(again), wishes(failed)) == []
    assert differing_fields(wishes(failed), wishes(again)) == []
    assert sweep.jobset(kept) is not None
    assert not sweep.store.exists(run_key(run, RETRY))


def test_a_finished_run_is_never_retried(sweep: Sweep) -> None:
    """Its result is there, though its JobSet failed afterwards."""
    run = sweep.add("logistic", FAILS)
    uid = sweep.wait_for_state(run, "Failed")["metadata"]["uid"]
    sweep.store.put(run_key(run, "result.json"), b"{}")
    assert sweep.octjob("retry", "phase3").out == f"{run} has a result; nothing done\n"
    assert "has a result" in sweep.octjob("retry", run).err
    found = sweep.jobset(run)
    assert found is not None
    assert found["metadata"]["uid"] == uid


def test_a_run_of_two_sweeps_must_be_told_apart(sweep: Sweep) -> None:
    sweep.add("logistic", FAILS)
    sweep.add("logistic", FAILS, sweep="phase4")
    ended = sweep.octjob("cancel", "multi_domain.logistic")
    assert ended.code == 2
    assert "phase3/multi_domain.logistic or phase4/multi_domain.logistic" in ended.err
    near = sweep.octjob("cancel", "phase3/multi_domain.logistik")
    assert near.code == 4
    assert "there is multi_domain.logistic-0bc93110" in near.err
    assert "get jobsets -l app.kubernetes.io/name=octjob" in near.err


def test_collect_waits_for_what_the_cluster_knows(sweep: Sweep) -> None:
    """The pods are killed before they can write anything, so only the JobSet says that the run failed."""
    run = sweep.add("logistic", FAILS)
    ended = sweep.octjob("collect", "phase3", "--wait", "--timeout", "2m", "--no-publish")
    assert ended.code == 5, ended.err
    assert "1 runs: 1 to come" in ended.err
    assert f"1 of 1 runs failed: {run}" in ended.err
    early = sweep.until_stopped("finetune")
    late = sweep.octjob("collect", "phase3", "--wait", "--timeout", "0s")
    assert late.code == 75
    assert "1 to come, 1 failed" in late.err
    assert sweep.jobset(early) is not None


def test_pods_that_end_without_a_result_are_taken_on_by_every_command(sweep: Sweep) -> None:
    run = sweep.add("logistic", WORKS)
    sweep.wait_for_state(run, "NoResult")
    assert_failed_and_mended(sweep, run, "NoResult", "has ended without a result")
    assert "has ended without a result" in sweep.octjob("cancel", run).out
    leave_by_the_hint(sweep, run)


def test_a_run_over_its_time_is_taken_on_by_every_command(sweep: Sweep) -> None:
    run = sweep.add("logistic", UNTIL_STOPPED.format(log=str(sweep.log)), max_runtime_hours=0.002)
    sweep.wait_for_log(["started", "saved"])
    sweep.access.wait_until(lambda: state_of(sweep, run)["state"] == "OutOfTime", "Kueue put it out", 60.0)
    assert_failed_and_mended(sweep, run, "OutOfTime", "ran longer than compute.max_runtime_hours allows")
    assert sweep.octjob("resume", run).code == 2
    leave_by_the_hint(sweep, run)
    sweep.access.wait_until(lambda: state_of(sweep, run)["state"] == "OutOfTime", "and once more", 60.0)
    assert sweep.octjob("cancel", run).out == f"cancelled {run}\n"
    assert sweep.jobset(run) is None


def state_of(sweep: Sweep, run: str) -> dict[str, Any]:
    document = json.loads(sweep.octjob("status", "phase3", "-o", "json").out)
    (one,) = (one for one in document["runs"] if one["run_id"] == run)
    return dict(one)


def assert_failed_and_mended(sweep: Sweep, run: str, state: RunState, reason: str) -> None:
    """Status, wait and logs say the same of it."""
    one = state_of(sweep, run)
    assert one["state"] == state
    assert reason in one["message"]
    waited = sweep.octjob("collect", "phase3", "--wait", "--timeout", "2m", "--no-publish")
    assert waited.code == 5
    assert f"1 of 1 runs failed: {run}" in waited.err
    assert sweep.octjob("logs", run, "--follow").code in (0, 4)


def leave_by_the_hint(sweep: Sweep, run: str) -> None:
    """Type what status hints at; the run then has another JobSet."""
    before = sweep.jobset(run)
    found = re.search(r"`octjob ([^`]+)`", state_of(sweep, run)["hint"])
    assert before is not None
    assert found is not None
    ended = octjob(sweep.access, *shlex.split(found[1]))
    assert (ended.code, ended.out) == (0, f"retried {run}\n"), ended.err
    after = sweep.jobset(run)
    assert after is not None
    assert after["metadata"]["uid"] != before["metadata"]["uid"]

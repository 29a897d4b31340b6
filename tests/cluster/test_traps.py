"""The traps of running a TPU slice by JobSet and Kueue, most costly first; each has a test that fails if it springs.

Where another module has the test, it is named here; `unit`, `e2e` and `cluster` are the folders of tests.

 1. restartPolicy left out: JobSet is accepted, its Job refused
        here; cluster/test_submit.py::test_a_job_that_is_refused_later_is_found
        unit/targets/test_jobset.py::test_trap_restart_policy_is_never_where_there_is_a_pod_failure_policy
 2. CPU or memory requested in a queue that covers chips only: never admitted
        here; cluster/test_preflight.py::test_cpu_that_the_queue_does_not_cover
        unit/targets/test_jobset.py::test_trap_nothing_but_chips_is_requested
 3. exit 0 on SIGTERM: the index counts as done, the slice hangs after it is resumed
        e2e/test_kill_and_resume.py::test_a_polite_signal_is_answered_with_75_and_the_state_saved
        unit/run/test_hosts.py::test_a_signal_before_the_end_is_75
        cluster/test_faults.py::test_preempted_by_a_higher_priority_it_saves_waits_and_finishes
 4. hostNetwork: loses Workload Identity
        unit/targets/test_jobset.py::test_trap_no_host_network; the namespaces of the cluster tests refuse it
        (`restricted`)
 5. Kueue's preemption counts towards maxRestarts
        cluster/test_faults.py::test_preempted_by_a_higher_priority_it_saves_waits_and_finishes
 6. completions left out: pod names unchecked, and the Job refused
        here; unit/targets/test_jobset.py::test_trap_completions_are_explicit
 7. labels of a JobSet do not reach its pods
        here; unit/targets/test_jobset.py::test_trap_labels_are_on_job_and_pod_too
 8. onPodConditions without status: refused by JobSet 0.10
        unit/targets/test_jobset.py::test_trap_pod_conditions_name_their_status (the JobSet of these tests is newer)
 9. a restart deletes pods and what `kubectl logs` knew
        cluster/test_faults.py::test_killed_processes_count_and_the_run_goes_on
10. a JobSet cannot be changed
        here; cluster/test_submit.py::test_a_changed_image_says_so_and_touches_nothing
11. a v4-32 is 32 cores, 16 chips, 4 hosts
        here; unit/spec/test_accelerator.py::test_a_v4_32_is_16_chips_in_4_hosts
12. TPU_WORKER_ID 0 need not be the leader
        here; unit/targets/test_jobset.py::test_trap_the_cluster_alone_says_which_worker_a_pod_is
13. "follower pod node selector not set" is the symptom of a leader that is Pending
        here
14. rule names with a hyphen are refused; patterns that are no regular expression are accepted
        here; unit/targets/test_jobset.py::test_trap_rule_names_and_patterns_are_what_jobset_accepts
        cluster/test_faults.py, where every kind of end has to find its rule
15. Spot gives 15 s, whatever the grace period says
        e2e/test_kill_and_resume.py::test_a_polite_signal_is_answered_with_75_and_the_state_saved (within 5 s)
        e2e/test_kill_and_resume.py::test_killed_at_ten_random_moments_the_run_ends_with_the_same_result
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from doubles.cluster_runs import make_run, pod_spec

from octjob.run.hosts import read_host
from octjob.targets.kubernetes.api import Cluster
from octjob.targets.kubernetes.documents.manifest import Manifest
from octjob.targets.kubernetes.refusal import Refused
from octjob.targets.kubernetes.resources import JOBSETS
from octjob.targets.kubernetes.submission.dryrun import dry_run
from tests.cluster.access import ClusterAccess, CommandError, Document, condition_status
from tests.cluster.scripted import Scripted, container
from tests.cluster.submission import connect, octjob

PATIENCE_S = 120.0
Change = Callable[[Manifest], Any]


@pytest.fixture
def sweep(control_plane: ClusterAccess, namespace: str, tmp_path: Path) -> Scripted:
    return Scripted(control_plane, namespace, tmp_path, ("a",))


@pytest.fixture
def cluster(control_plane: ClusterAccess, namespace: str) -> Cluster:
    return connect(control_plane, namespace)


def job_spec(jobset: Manifest) -> Document:
    found: Document = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    return found


def rules(jobset: Manifest) -> list[Document]:
    found: list[Document] = jobset["spec"]["failurePolicy"]["rules"]
    return found


def status_of(sweep: Scripted) -> dict[str, Any]:
    ended = octjob(sweep.cluster, "status", "demo", "-o", "json", "-n", sweep.namespace)
    assert ended.code == 0, ended.err
    (one,) = json.loads(ended.out)["runs"]
    found: dict[str, Any] = one
    return found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda js: pod_spec(js).pop("restartPolicy"), "restartPolicy", id="1, restartPolicy"),
        pytest.param(lambda js: job_spec(js).pop("completions"), "completions", id="6, completions"),
    ],
)
def test_what_jobset_accepts_and_job_refuses_is_seen_before_submitting(
    sweep: Scripted, cluster: Cluster, change: Change, words: str
) -> None:
    jobset = sweep.jobset("a")
    assert dry_run(cluster, None, make_run(), jobset) == []
    change(jobset)
    cluster.apply(JOBSETS, jobset, dry_run=True)
    with pytest.raises(Refused, match=rf"run {make_run().run_id}: .*{words}") as caught:
        dry_run(cluster, None, make_run(), jobset)
    assert "\n" not in caught.value.message
    assert "Nothing was created" in caught.value.hint


def test_14_jobset_refuses_a_hyphen_in_the_name_of_a_rule(sweep: Scripted, cluster: Cluster) -> None:
    jobset = sweep.jobset("a")
    rules(jobset)[1]["name"] = "restart-me"
    with pytest.raises(Refused, match="restart-me"):
        cluster.apply(JOBSETS, jobset, dry_run=True)


def test_14_jobset_accepts_patterns_that_are_no_regular_expression(sweep: Scripted, cluster: Cluster) -> None:
    """So ours have to be right before they get there."""
    jobset = sweep.jobset("a")
    rules(jobset)[0]["onJobFailureMessagePatterns"] = ["("]
    accepted = cluster.apply(JOBSETS, jobset, dry_run=True)
    assert rules(accepted)[0]["onJobFailureMessagePatterns"] == ["("]


def test_2_a_run_that_asks_for_cpu_is_never_admitted_and_status_says_so(sweep: Scripted) -> None:
    jobset = sweep.jobset("a")
    container(jobset)["resources"]["requests"]["cpu"] = "1"
    sweep.cluster.apply(jobset)

    def refused() -> dict[str, Any] | None:
        status = status_of(sweep)
        return status if status["state"] == "Queued" and status["stuck"] else None

    status = sweep.cluster.wait_until(refused, "Kueue has looked at it", PATIENCE_S)
    assert status is not None
    assert "cpu" in status["reason"]
    (workload,) = sweep.cluster.list("workloads", sweep.namespace)
    assert condition_status(workload, "QuotaReserved") == "False"


def test_7_and_11_four_pods_with_16_chips_are_found_by_the_labels_of_their_run(sweep: Scripted) -> None:
    sweep.start("a")
    run = f"octjob.dev/run={sweep.entries['a'].run_id}"

    def running() -> list[Document]:
        pods = sweep.cluster.list("pods", sweep.namespace, run)
        return pods if [condition_status(pod, "Ready") for pod in pods] == 4 * ["True"] else []

    pods = sweep.cluster.wait_until(running, "four pods run", PATIENCE_S)
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 4
    assert {pod["metadata"]["labels"]["octjob.dev/sweep"] for pod in pods} == {"demo"}
    (workload,) = sweep.cluster.list("workloads", sweep.namespace)
    (assigned,) = workload["status"]["admission"]["podSetAssignments"]
    assert (assigned["count"], assigned["resourceUsage"]) == (4, {"google.com/tpu": "16"})

    def said() -> bool:
        return sweep.cluster.kubectl("-n", sweep.namespace, "logs", "-l", run).split() == 4 * ["up"]

    sweep.cluster.wait_until(said, "`kubectl logs -l` shows all four", PATIENCE_S)


def test_10_a_changed_jobset_is_refused_by_the_server(sweep: Scripted) -> None:
    sweep.start("a")
    with pytest.raises(CommandError, match="immutable"):
        sweep.start("a", image="octjob:other")


def test_12_the_leader_is_completion_index_0_whatever_the_tpu_worker_is() -> None:
    environ = {"OCTJOB_NUM_HOSTS": "4", "JOB_COMPLETION_INDEX": "0", "TPU_WORKER_ID": "3"}
    assert read_host(environ).is_leader
    assert not read_host({**environ, "JOB_COMPLETION_INDEX": "3", "TPU_WORKER_ID": "0"}).is_leader


def test_13_status_shows_what_the_leader_waits_for(sweep: Scripted) -> None:
    """No node has this topology, and no queue holds the run back."""
    sweep.start("a", accelerator="v4-64", queue=None)

    def symptom() -> bool:
        events = sweep.cluster.list("events", sweep.namespace)
        return any("follower pod" in event.get("message", "") for event in events)

    sweep.cluster.wait_until(symptom, "followers are refused", PATIENCE_S)

    def cause() -> dict[str, Any] | None:
        status = status_of(sweep)
        assert status["state"] == "Starting"
        assert "follower" not in status["reason"]
        return status if status["reason"].startswith("worker 0 has no node: 0/") else None

    sweep.cluster.wait_until(cause, "status names the leader's trouble", PATIENCE_S)

"""`octjob submit` against a real API server, JobSet and Kueue: what is created, and what never twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from octjob.spec.expand import plan_sweep
from octjob.targets.kubernetes.api import Cluster
from octjob.targets.kubernetes.documents.manifest import Manifest, render_jobset
from octjob.targets.kubernetes.documents.settings import resolve_settings
from octjob.targets.kubernetes.refusal import ClusterError
from octjob.targets.kubernetes.resources import JOBSETS
from octjob.targets.kubernetes.submission.verify import verify
from tests.cluster.access import ClusterAccess
from tests.cluster.submission import (
    CANARY,
    connect,
    finish,
    jobset_uids,
    make_ready,
    octjob,
    stored_specs,
    submit_file,
    write_sweep,
)
from tests.cluster.tenancy import QUEUE

NUM_RUNS = 6
CONSTANT_CALLS = 23


@pytest.fixture(autouse=True)
def _ready(control_plane: ClusterAccess, namespace: str) -> None:
    make_ready(control_plane, namespace)


@pytest.fixture
def cluster(control_plane: ClusterAccess, namespace: str) -> Cluster:
    return connect(control_plane, namespace)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write_sweep(tmp_path)


def test_every_run_gets_a_jobset_a_job_and_a_spec(
    control_plane: ClusterAccess, namespace: str, cluster: Cluster, sweep: Path, tmp_path: Path
) -> None:
    done = submit_file(cluster, sweep)
    runs = {run.run_id for run in plan_sweep(sweep).runs}
    assert {run.run_id for run in done.created} == runs == set(jobset_uids(control_plane, namespace))
    assert stored_specs(tmp_path) == runs
    assert len(control_plane.list("jobs", namespace, "octjob.dev/sweep=phase3")) == NUM_RUNS


def test_two_calls_a_run(control_plane: ClusterAccess, namespace: str, tmp_path: Path) -> None:
    """Looks at the Jobs come on top, two a second until all are there, whatever the number of runs."""
    calls = []
    for num_configs in (1, 11):
        cluster = connect(control_plane, namespace)
        path = write_sweep(tmp_path, num_configs=num_configs, name=f"sweep{num_configs}")
        counts: list[int] = []
        submit_file(cluster, path, lambda what, done, total, c=cluster, n=counts: n.append(c.num_calls))
        calls.append(counts[-1])
    assert calls[1] - calls[0] == 2 * 30
    assert calls[0] <= 2 * 3 + CONSTANT_CALLS


def test_the_same_sweep_again_changes_nothing(
    control_plane: ClusterAccess, namespace: str, cluster: Cluster, sweep: Path
) -> None:
    submit_file(cluster, sweep)
    before = jobset_uids(control_plane, namespace)
    calls = cluster.num_calls
    again = submit_file(cluster, sweep)
    assert (len(again.there), len(again.created)) == (NUM_RUNS, 0)
    assert jobset_uids(control_plane, namespace) == before
    # Schema, the queue and its flavors, JobSets, Workloads, and one look at the Jobs.
    assert cluster.num_calls - calls <= 8


def test_what_kubectl_applied_is_not_submitted_again(
    control_plane: ClusterAccess, namespace: str, cluster: Cluster, sweep: Path, tmp_path: Path
) -> None:
    assert octjob(control_plane, "render", "-f", str(sweep), "-o", str(tmp_path / "rendered")).code == 0
    control_plane.kubectl("apply", "-n", namespace, "-k", str(tmp_path / "rendered"))
    before = jobset_uids(control_plane, namespace)
    again = submit_file(cluster, sweep)
    assert len(again.there) == NUM_RUNS
    assert jobset_uids(control_plane, namespace) == before
    # Its pods need their specs all the same.
    assert stored_specs(tmp_path) == set(before)


@pytest.mark.parametrize("first", [None, "own"])
def test_where_the_namespace_is_named_does_not_matter(
    control_plane: ClusterAccess, namespace: str, cluster: Cluster, tmp_path: Path, first: str | None
) -> None:
    names = [namespace if first else None, None if first else namespace]
    submit_file(cluster, write_sweep(tmp_path, namespace=names[0]))
    before = jobset_uids(control_plane, namespace)
    assert len(submit_file(cluster, write_sweep(tmp_path, namespace=names[1])).there) == NUM_RUNS
    assert jobset_uids(control_plane, namespace) == before


def test_finished_runs_are_not_submitted(
    control_plane: ClusterAccess, namespace: str, cluster: Cluster, sweep: Path, tmp_path: Path
) -> None:
    first = plan_sweep(sweep).runs[0].run_id
    finish(tmp_path, first)
    done = submit_file(cluster, sweep)
    assert [run.run_id for run in done.finished] == [first]
    assert len(done.created) == NUM_RUNS - 1
    assert first not in jobset_uids(control_plane, namespace)


def test_a_deleted_run_comes_back(
    control_plane: ClusterAccess, namespace: str, cluster: Cluster, sweep: Path
) -> None:
    submit_file(cluster, sweep)
    name = control_plane.list("jobsets", namespace)[0]["metadata"]["name"]
    control_plane.kubectl("-n", namespace, "delete", "jobset", name, "--cascade=foreground")
    done = submit_file(cluster, sweep)
    assert (len(done.there), len(done.created)) == (NUM_RUNS - 1, 1)


def test_a_run_on_its_way_out_is_waited_for(
    control_plane: ClusterAccess, namespace: str, cluster: Cluster, sweep: Path
) -> None:
    submit_file(cluster, sweep)
    name = control_plane.list("jobsets", namespace)[0]["metadata"]["name"]
    hold = json.dumps({"metadata": {"finalizers": ["octjob.dev/test"]}})
    control_plane.kubectl("-n", namespace, "patch", "jobset", name, "--type=merge", "-p", hold)
    control_plane.kubectl("-n", namespace, "delete", "jobset", name, "--wait=false")
    try:
        with pytest.raises(ClusterError, match="still being deleted"):
            submit_file(cluster, sweep)
    finally:
        release = json.dumps({"metadata": {"finalizers": None}})
        control_plane.kubectl("-n", namespace, "patch", "jobset", name, "--type=merge", "-p", release)


def test_a_changed_image_says_so_and_touches_nothing(
    control_plane: ClusterAccess, namespace: str, cluster: Cluster, sweep: Path, tmp_path: Path
) -> None:
    submit_file(cluster, sweep)
    before = jobset_uids(control_plane, namespace)
    changed = write_sweep(tmp_path, image="europe-docker.pkg.dev/project/octjob/octjob:v2")
    ended = octjob(control_plane, "submit", "-f", str(changed), "-n", namespace)
    assert ended.code == 2
    assert f"{NUM_RUNS} runs are on the cluster with other settings" in ended.err
    assert "containers[0].image" in ended.err
    assert "octjob:v2" in ended.err
    kept = octjob(control_plane, "submit", "-f", str(changed), "-n", namespace, "--update")
    assert kept.code == 0
    assert "6 there with other settings" in kept.out
    assert jobset_uids(control_plane, namespace) == before


def test_a_changed_sweep_is_refused_before_anything_happens(
    control_plane: ClusterAccess, namespace: str, cluster: Cluster, sweep: Path, tmp_path: Path
) -> None:
    submit_file(cluster, sweep)
    larger = write_sweep(tmp_path, num_configs=3)
    ended = octjob(control_plane, "submit", "-f", str(larger), "-n", namespace)
    assert ended.code == 2
    assert "3 runs new or changed" in ended.err
    assert len(jobset_uids(control_plane, namespace)) == NUM_RUNS
    more = octjob(control_plane, "submit", "-f", str(larger), "-n", namespace, "--update")
    assert "9 runs: 3 created, 6 already there" in more.out


def test_runs_queue_in_the_sweeps_order(
    control_plane: ClusterAccess, namespace: str, cluster: Cluster, sweep: Path
) -> None:
    """By Kueue's own key: priority, then the second in which the Workload was made."""
    done = submit_file(cluster, sweep, ordered=True)
    uids = jobset_uids(control_plane, namespace)

    def queued() -> list[str]:
        workloads = control_plane.list("workloads", namespace)
        workloads.sort(key=lambda one: one["metadata"]["creationTimestamp"])
        return [one["metadata"]["labels"]["kueue.x-k8s.io/job-uid"] for one in workloads]

    wanted = [uids[run.run_id] for run in done.created]
    control_plane.wait_until(lambda: len(queued()) == NUM_RUNS, "all are queued")
    assert queued() == wanted


def test_superseded_runs_are_named_marked_and_cancelled_on_demand(
    control_plane: ClusterAccess, namespace: str, cluster: Cluster, sweep: Path, tmp_path: Path
) -> None:
    submit_file(cluster, sweep)
    before = jobset_uids(control_plane, namespace)
    text = sweep.read_text()
    changed = yaml.safe_load(text)
    changed["configs"]["c1"]["overrides"]["train.epochs"] = 7
    sweep.write_text(yaml.safe_dump(changed))
    place = ("-f", str(sweep), "-n", namespace, "--update")
    ended = octjob(control_plane, "submit", *place)
    assert ended.code == 0, ended.err
    assert (
        "3 runs of an earlier submission are no longer in phase3 and hold a slice or wait for one"
        in ended.err
    )
    assert len(jobset_uids(control_plane, namespace)) == NUM_RUNS + 3
    document = json.loads(octjob(control_plane, "status", "phase3", "-n", namespace, "-o", "json").out)
    old = {one["run_id"] for one in document["runs"] if one["superseded"]}
    assert len(old) == 3
    assert old < set(before)
    text = octjob(control_plane, "status", "phase3", "-n", namespace).out
    assert text.count("(stuck) (superseded)") == 3
    dry = octjob(control_plane, "submit", *place, "--cancel-superseded", "--dry-run")
    assert "would be cancelled" in dry.err
    assert old < set(jobset_uids(control_plane, namespace))
    gone = octjob(control_plane, "submit", *place, "--cancel-superseded", "-o", "json")
    assert {(one["run"], one["state"]) for one in json.loads(gone.out)["superseded"]} == {
        (run, "cancelled") for run in old
    }
    control_plane.wait_until(
        lambda: not old & set(jobset_uids(control_plane, namespace)), "they are gone", 30
    )
    assert len(jobset_uids(control_plane, namespace)) == NUM_RUNS


def test_a_failed_run_is_left_to_retry(
    control_plane: ClusterAccess, namespace: str, cluster: Cluster, sweep: Path
) -> None:
    submit_file(cluster, sweep)
    before = jobset_uids(control_plane, namespace)
    name = control_plane.list("jobsets", namespace)[0]["metadata"]["name"]
    status = json.dumps({"status": {"terminalState": "Failed"}})
    control_plane.kubectl(
        "-n", namespace, "patch", "jobset", name, "--type=merge", "--subresource=status", "-p", status
    )
    ended = octjob(control_plane, "submit", "-f", str(sweep), "-n", namespace)
    assert (ended.code, "1 ended without a result" in ended.out) == (0, True)
    assert f"octjob retry phase3 --failed -n {namespace}" in ended.out
    assert jobset_uids(control_plane, namespace) == before


def test_dry_run_creates_and_stores_nothing(
    control_plane: ClusterAccess, namespace: str, sweep: Path, tmp_path: Path
) -> None:
    ended = octjob(control_plane, "submit", "-f", str(sweep), "-n", namespace, "--dry-run")
    assert (ended.code, "6 runs: 6 would be created" in ended.out) == (0, True)
    assert jobset_uids(control_plane, namespace) == {}
    assert not (tmp_path / "out").exists()


def test_output_for_people_and_for_programs(
    control_plane: ClusterAccess, namespace: str, sweep: Path
) -> None:
    first = octjob(control_plane, "submit", "-f", str(sweep), "-n", namespace)
    assert first.out.splitlines() == [
        "phase3: 6 runs: 6 created",
        f"  octjob status phase3 --watch -n {namespace}",
        f"  kubectl -n {namespace} get jobsets -l octjob.dev/sweep=phase3",
    ]
    document = json.loads(
        octjob(control_plane, "submit", "-f", str(sweep), "-n", namespace, "-o", "json").out
    )
    assert {run["state"] for run in document["runs"]} == {"already there"}
    assert {run["run"]: run["jobset"] for run in document["runs"]} == {
        each["metadata"]["annotations"]["octjob.dev/run"]: each["metadata"]["name"]
        for each in control_plane.list("jobsets", namespace)
    }


def test_no_secret_value_anywhere(
    control_plane: ClusterAccess, namespace: str, sweep: Path, tmp_path: Path
) -> None:
    ended = octjob(control_plane, "submit", "-f", str(sweep), "-n", namespace)
    objects = control_plane.list("jobsets,jobs,workloads,events", namespace)
    stored = "".join(path.read_text() for path in (tmp_path / "out").rglob("*.json"))
    assert CANARY not in ended.out + ended.err + json.dumps(objects) + stored


def test_names_longer_than_labels_work(control_plane: ClusterAccess, namespace: str, tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    path.write_text(path.read_text().replace("a: gs://", f"{'long_' * 12}a: gs://"))
    ended = octjob(control_plane, "submit", "-f", str(path), "-n", namespace)
    assert "6 runs: 6 created" in ended.out
    assert any("long_" * 12 in run_id for run_id in jobset_uids(control_plane, namespace))


def rendered(sweep: Path, namespace: str) -> Manifest:
    plan = plan_sweep(sweep)
    document = render_jobset(plan.runs[0], resolve_settings(plan.compute))
    document["metadata"]["namespace"] = namespace
    return document


def test_a_job_that_is_refused_later_is_found(
    control_plane: ClusterAccess, namespace: str, cluster: Cluster, sweep: Path
) -> None:
    jobset = rendered(sweep, namespace)
    pod = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    # JobSet's webhook accepts this; the Job with its podFailurePolicy is refused.
    pod["restartPolicy"] = "OnFailure"
    cluster.apply(JOBSETS, jobset)
    control_plane.wait_until(
        lambda: [
            one
            for one in control_plane.list("events", namespace)
            if "restartPolicy" in one.get("message", "")
        ],
        "JobSet says that the Job is refused",
    )
    with pytest.raises(
        ClusterError, match=r"1 of 1 runs were created but have no Job; run a\.c0-.*restartPolicy"
    ):
        verify(cluster, "phase3", [jobset], timeout_s=3)


def test_a_jobset_that_nobody_takes_care_of_is_found(namespace: str, cluster: Cluster, sweep: Path) -> None:
    jobset = rendered(sweep, namespace)
    jobset["spec"]["managedBy"] = "example.com/nobody"
    cluster.apply(JOBSETS, jobset)
    with pytest.raises(ClusterError, match="JobSet's controller seems to be away"):
        verify(cluster, "phase3", [jobset], timeout_s=1)


def test_a_run_that_lost_its_start_is_noticed_by_the_next_submit(
    control_plane: ClusterAccess, namespace: str, cluster: Cluster, tmp_path: Path
) -> None:
    """Created by a submit that was cut off before it looked."""
    sweep = write_sweep(tmp_path, queue=QUEUE)
    jobset = rendered(sweep, namespace)
    jobset["spec"]["managedBy"] = "example.com/nobody"
    cluster.apply(JOBSETS, jobset)
    ended = octjob(control_plane, "submit", "-f", str(sweep), "-n", namespace)
    assert ended.code == 4
    assert "1 of 6 runs were created but have no Job" in ended.err

"""A sweep's status from a cluster and its store: how the two are joined, what it costs, and how it is watched."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
from doubles.kube_documents import NOW, Document, admitted, condition, jobset, pending, pod, pods, workload
from doubles.sweep_results import beat, entry, finish, labels, skilled, submit
from doubles.sweep_results import sweep as sweep_record
from rich.console import Console

from octjob.cli import run as octjob
from octjob.cli.status_table import status_json, status_rich, status_text
from octjob.cli.watch import NO_ANSWER_S, REFUSED_S, watch
from octjob.errors import AccessError
from octjob.records.layout import PROGRESS, RESULT, run_key, write_sweep
from octjob.records.status import RunStatus
from octjob.storage import ObjectStore
from octjob.targets.kubernetes.observation.status import SweepView
from octjob.targets.kubernetes.outlook.standing import on_cluster
from octjob.targets.kubernetes.refusal import Forbidden, NotServed, Unreachable
from octjob.targets.kubernetes.select import NoSuchTarget

QUOTA = "insufficient unused quota for google.com/tpu in flavor v4, 16 more needed"


class FakeCluster:
    """Answers lists from documents, and counts them."""

    namespace, context, flags = "team", "test", " -n team"

    def __init__(self, **documents: list[Document]) -> None:
        self.documents = documents
        self.calls: Counter[str] = Counter()
        self.not_served: tuple[str, ...] = ()

    def list(self, resource: Any, selector: str = "", *, fields: str = "") -> list[Document]:
        self.calls[resource.plural] += 1
        if resource.plural in self.not_served:
            raise NotServed(f"{resource.plural} is not served")
        return self.documents.get(resource.plural, [])


def view(cluster: Any, store: ObjectStore, text: str = "demo") -> SweepView:
    return SweepView(cluster, text, open_at=lambda uri: store)


@pytest.fixture
def store(file_store: ObjectStore) -> ObjectStore:
    submit(file_store, [entry(name) for name in ("done", "runs", "waits", "bad", "gone", "new")])
    beat(file_store, entry("done"), "finished")
    finish(file_store, entry("done"), skilled(labels(), 3, 0))
    beat(file_store, entry("runs"), "training", at=NOW - 5)
    beat(file_store, entry("gone"), "interrupted", at=NOW - 500)
    return file_store


@pytest.fixture
def cluster() -> FakeCluster:
    suspended = condition("Suspended")
    running = jobset("runs", jobs="ready")
    return FakeCluster(
        jobsets=[
            running,
            jobset("waits", suspended, suspend=True, jobs="suspended"),
            jobset("bad", jobs="", suspend=True),
        ],
        workloads=[
            admitted("runs"),
            workload("waits", pending(QUOTA)),
            workload("bad", pending(QUOTA), age_s=1),
            workload("someone-elses", pending(QUOTA), age_s=999),
        ],
        pods=pods(running),
        events=[
            event("JobSet", jobset("bad")["metadata"]["name"], "JobCreationFailed", "ports: Duplicate value"),
            event("JobSet", jobset("waits")["metadata"]["name"], "JobCreationFailed", "long ago"),
            event("JobSet", jobset("bad")["metadata"]["name"], "Other", "no matter"),
        ],
    )


def event(kind: str, name: str, reason: str, message: str, moment: str = "2023-11-14T22:13:20Z") -> Document:
    return {
        "metadata": {"creationTimestamp": moment},
        "involvedObject": {"kind": kind, "name": name},
        "reason": reason,
        "message": message,
    }


def states(runs: list[RunStatus]) -> dict[str, str]:
    return {one.checkpoint: one.state for one in runs}


def test_an_event_from_before_the_jobset_is_not_its_own(cluster: FakeCluster, store: ObjectStore) -> None:
    job = f"{jobset('bad')['metadata']['name']}-w-0"
    cluster.documents["events"].append(
        event("Job", job, "FailedCreate", "quota", moment="2001-01-01T00:00:00Z")
    )
    assert states(view(cluster, store).look(NOW).runs)["bad"] == "Invalid"
    created = cluster.documents["jobsets"][2]["metadata"]["creationTimestamp"]
    same_second = created.replace("Z", ".000001Z")
    cluster.documents["events"].append(event("Job", job, "FailedCreate", "quota", moment=same_second))
    assert states(view(cluster, store).look(NOW).runs)["bad"] == "Queued"


def test_cluster_and_store_are_joined(cluster: FakeCluster, store: ObjectStore) -> None:
    look = view(cluster, store).look(NOW)
    assert states(look.runs) == {
        "done": "Succeeded",
        "runs": "Running",
        "waits": "Queued",
        "bad": "Invalid",
        "gone": "Interrupted",
        "new": "Pending",
    }
    by_name = {one.checkpoint: one for one in look.runs}
    assert (by_name["runs"].epoch, by_name["runs"].num_epochs) == (3, 50)
    # The queue is the namespace's, not the sweep's.
    assert (by_name["waits"].position, by_name["waits"].queue_length) == (2, 3)
    assert "ports: Duplicate value" in by_name["bad"].message
    assert not look.final


def test_three_lists_and_events_only_for_an_invalid_run(cluster: FakeCluster, store: ObjectStore) -> None:
    view(cluster, store).look(NOW)
    assert cluster.calls == {"jobsets": 1, "workloads": 1, "pods": 1, "events": 1}
    del cluster.documents["jobsets"][2]
    cluster.calls.clear()
    view(cluster, store).look(NOW)
    assert cluster.calls == {"jobsets": 1, "workloads": 1, "pods": 1}


def test_without_kueue_jobsets_run_all_the_same(cluster: FakeCluster, store: ObjectStore) -> None:
    cluster.not_served = ("workloads",)
    assert states(view(cluster, store).look(NOW).runs)["runs"] == "Running"


def test_a_single_run_by_its_name(cluster: FakeCluster, store: ObjectStore) -> None:
    look = view(cluster, store, "demo/runs.linear").look(NOW)
    assert states(look.runs) == {"runs": "Running"}


def test_jobsets_removed_after_their_end_leave_the_store(cluster: FakeCluster, store: ObjectStore) -> None:
    watching = view(cluster, store)
    watching.look(NOW)
    cluster.documents.clear()
    assert states(watching.look(NOW).runs)["done"] == "Succeeded"
    with pytest.raises(NoSuchTarget):
        view(cluster, store).look(NOW)


def test_pods_of_an_earlier_jobset_of_that_name_are_not_this_ones(
    cluster: FakeCluster, store: ObjectStore
) -> None:
    for one in cluster.documents["pods"]:
        one["metadata"]["labels"]["jobset.sigs.k8s.io/jobset-uid"] = "before"
    assert states(view(cluster, store).look(NOW).runs)["runs"] == "Starting"


def test_jobsets_that_were_applied_by_other_means_are_shown(
    cluster: FakeCluster, file_store: ObjectStore
) -> None:
    runs = view(cluster, file_store).look(NOW).runs
    assert states(runs) == {"runs": "Running", "waits": "Queued", "bad": "Invalid"}


def test_finished_runs_are_read_once(cluster: FakeCluster, store: ObjectStore) -> None:
    watching = view(cluster, store)
    first = watching.look(NOW).runs[0]
    store.put(run_key(first.run_id, RESULT), b"{")
    assert watching.look(NOW).runs[0] == first


def test_thousand_runs_in_under_three_seconds(file_store: ObjectStore) -> None:
    entries = [entry(f"c{n}") for n in range(1000)]
    submit(file_store, entries)
    beat(file_store, entries[0], "training", at=NOW)
    progress = file_store.get(run_key(entries[0].run_id, PROGRESS))
    finish(file_store, entries[0], skilled(labels(), 3, 0))
    result = file_store.get(run_key(entries[0].run_id, RESULT))
    for one in entries[1:]:
        file_store.put(run_key(one.run_id, PROGRESS), progress)
    for one in entries[1:500]:
        file_store.put(run_key(one.run_id, RESULT), result)
    runs = [jobset(one.checkpoint, jobs="ready") for one in entries[500:]]
    full = FakeCluster(
        jobsets=runs,
        workloads=[admitted(one.checkpoint) for one in entries[500:]],
        pods=[pod(one, index) for one in runs for index in range(4)],
    )
    start = time.process_time()
    look = view(full, file_store).look(NOW)
    assert Counter(states(look.runs).values()) == {"Succeeded": 500, "Running": 500}
    # The limit; it takes about 0.5 s of one core.
    assert time.process_time() - start < 3.0
    assert full.calls.total() == 3


def test_a_run_that_the_sweep_no_longer_has_is_told_from_the_one_in_its_place(
    cluster: FakeCluster, store: ObjectStore
) -> None:
    for name in ("old", "older"):
        cluster.documents["jobsets"].append(jobset(name, jobs="ready"))
        cluster.documents["workloads"].append(admitted(name))
        cluster.documents["pods"] += pods(cluster.documents["jobsets"][-1])
    cluster.documents["jobsets"].append(jobset("past", condition("Completed"), jobs="succeeded"))
    finish(store, entry("past"), skilled(labels(), 3, 0))
    runs = view(cluster, store).look(NOW).runs
    by_name = {one.checkpoint: one for one in runs}
    assert [name for name, one in by_name.items() if one.superseded] == ["old", "older", "past"]
    assert by_name["past"].state == "Succeeded"
    seen = on_cluster(runs)
    waited_for = {*seen.results, *seen.open, *seen.failed, *seen.gone}
    assert waited_for == {one.run_id for one in runs if not one.superseded}
    text = status_text(runs)
    assert "Running (superseded)" in text
    assert "3 Running (2 superseded)" in text
    targets = " ".join(f"demo/{by_name[name].run_id}" for name in ("old", "older"))
    assert f"`octjob cancel {targets} -n team` gives its place to the others." in text
    assert "past.linear Succeeded" not in text
    # Submitted once more, it is the sweep's own again.
    write_sweep(store, sweep_record([entry("old")], None), update=True)
    assert not view(cluster, store, "demo/old.linear").look(NOW).runs[0].superseded


# What is printed


def test_table_says_why_and_joins_equal_reasons(cluster: FakeCluster, store: ObjectStore) -> None:
    cluster.documents["jobsets"].append(jobset("new", condition("Suspended"), suspend=True, jobs="suspended"))
    cluster.documents["workloads"].append(workload("new", pending(QUOTA), age_s=50))
    runs = view(cluster, store).look(NOW).runs
    text = status_text(runs)
    assert text.splitlines()[0] == "1 Succeeded, 1 Running, 1 Interrupted, 2 Queued, 1 Invalid"
    assert "2 runs Queued: waits for quota: 16 more google.com/tpu of flavor v4" in text
    assert "bad.linear invalid: its Job is refused: ports: Duplicate value" in text
    line = next(line for line in text.splitlines() if line.startswith("waits"))
    assert "2 of 4 in queue tpu" in line


def test_wide_adds_nodes_and_reason(cluster: FakeCluster, store: ObjectStore) -> None:
    lines = status_text(view(cluster, store).look(NOW).runs, wide=True).splitlines()
    heading = next(line for line in lines if line.startswith("CHECKPOINT"))
    assert heading.split()[-3:] == ["NODES", "RUN", "REASON"]
    running = next(line for line in lines if line.startswith("runs"))
    assert "gke-v4-32-0-0,gke-v4-32-0-1,gke-v4-32-0-2,gke-v4-32-0-3" in running


def test_flavors_are_counted_where_runs_are_on_several() -> None:
    def text(*flavors: str) -> str:
        return status_text([RunStatus(name, name, "c", "Running", flavor=name) for name in flavors])

    assert "admitted to" not in text("spot", "spot")
    assert text("spot", "ordinary", "spot").endswith("admitted to: spot (2), ordinary (1)\n")


def test_every_state_has_a_colour_and_json(cluster: FakeCluster, store: ObjectStore) -> None:
    from octjob.records.state import STATES

    runs = [RunStatus(f"a.{state}", "a", "linear", state, reason="why") for state in STATES]
    with Console(width=110).capture():
        assert len(status_rich(runs, 110).spans) > len(STATES)
    assert '"nodes": []' in status_json("gs://b/demo", runs)


# Watching


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def one(state: Any) -> list[RunStatus]:
    return [RunStatus("a.linear-1", "a", "linear", state)]


def watched(answers: list[Any], interval_s: float = 5.0) -> list[tuple[str, str]]:
    """What is shown: state and trouble, for these answers in turn; the last one for ever."""
    clock, shown = Clock(), []

    def read() -> tuple[str, list[RunStatus]]:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return "gs://b/demo", answer

    def show(runs: list[RunStatus], trouble: str) -> None:
        shown.append((runs[0].state, trouble))

    watch(read, show, interval_s, sleep=clock.sleep, clock=clock)
    return shown


def test_watch_keeps_the_last_table_while_nobody_answers_and_ends_with_the_last_run() -> None:
    down = Unreachable("context x: https://x does not answer: refused")
    shown = watched([one("Queued"), one("Running"), down, down, one("Running"), one("Succeeded")])
    assert shown == [
        ("Queued", ""),
        ("Running", ""),
        ("Running", "no answer since 5 s: context x: https://x does not answer: refused"),
        ("Running", "no answer since 10 s: context x: https://x does not answer: refused"),
        ("Running", ""),
        ("Succeeded", ""),
    ]


@pytest.mark.parametrize(
    ("error", "patience_s"),
    [
        (Unreachable("down"), NO_ANSWER_S),
        (Forbidden("no right", status=403), REFUSED_S),
        (AccessError("x"), REFUSED_S),
    ],
)
def test_watch_gives_up_in_the_end(error: AccessError, patience_s: float) -> None:
    count = 0

    def read() -> tuple[str, list[RunStatus]]:
        nonlocal count
        count += 1
        if count > 1:
            raise error
        return "gs://b/demo", one("Running")

    clock = Clock()
    with pytest.raises(type(error)):
        watch(read, lambda runs, trouble: None, 5.0, sleep=clock.sleep, clock=clock)
    assert patience_s < clock.now <= patience_s + 10


def test_the_first_look_must_succeed() -> None:
    with pytest.raises(Unreachable):
        watched([Unreachable("down")])


# The command


def test_cluster_that_does_not_answer_is_an_error_with_the_way_around(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}]\n"
        "contexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {token: t}}]\n"
    )
    monkeypatch.setenv("KUBECONFIG", str(config))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    assert octjob(["status", "phase3"]) == 4
    said = capsys.readouterr().err
    assert "http://127.0.0.1:9 does not answer" in said
    assert "octjob status <output>/<sweep>" in said

"""The state of a run, from documents as a real cluster sent them."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from doubles.kube_documents import (
    NOW,
    Document,
    admitted,
    condition,
    ended,
    jobset,
    pending,
    pod,
    pods,
    stamp,
    unscheduled,
    workload,
)
from hypothesis import given
from hypothesis import strategies as st

from octjob.records.status import RunStatus
from octjob.targets.kubernetes.observation.conditions import last_sign
from octjob.targets.kubernetes.observation.pools import Pool
from octjob.targets.kubernetes.observation.seen import Seen, wants_events, wants_nodes
from octjob.targets.kubernetes.observation.state import run_state
from octjob.targets.kubernetes.observation.waiting import Place, places, preemptor, waits_for
from octjob.targets.kubernetes.phase import Handle

QUOTA = (
    "couldn't assign flavors to pod set w: insufficient unused quota for google.com/tpu in flavor v4,"
    " 16 more needed"
)
TOO_MUCH = (
    "couldn't assign flavors to pod set w: insufficient quota for google.com/tpu in flavor v4, previously"
    " considered podsets requests (0) + current podset request (64) > maximum capacity (32)"
)
SUSPENDED = condition("Suspended", True, "SuspendedJobs", "jobset is suspended")
FOLLOWER = (
    'Error creating: admission webhook "validate--v1-pod.x-k8s.io" denied the request: follower pod node'
    " selector for topology domain not found"
)
RETRY = "`octjob retry demo/a.linear-0000abcd -n team`"
FAILED = condition(
    "Failed", True, "FailJobSetFailurePolicyAction", "applying FailJobSet (first failed job: a-w-0)"
)


def known(state: Any = "Pending", **facts: Any) -> RunStatus:
    """A run as the store knows it."""
    return RunStatus("a.linear-0000abcd", "a", "linear", state, **facts)


def beating(**facts: Any) -> RunStatus:
    return known(
        "Running",
        **{
            "stage": "training",
            "epoch": 3,
            "num_epochs": 50,
            "best_metric": 0.4,
            "heartbeat_age_s": 5.0,
            "restart": 0,
            **facts,
        },
    )


def state(
    run: RunStatus,
    js: Document | None,
    wl: Document | None = None,
    of: list[Document] | None = None,
    **more: Any,
) -> RunStatus:
    return run_state(run, Seen(js, wl, of or [], **more), NOW, Handle("demo", run.run_id, " -n team"))


def queued() -> Document:
    return jobset("a", SUSPENDED, suspend=True, jobs="suspended")


# Queued


def test_queued_says_what_is_missing_and_its_place() -> None:
    one = state(known(), queued(), workload("a", pending(QUOTA)), place=Place(3, 12))
    assert (one.state, one.stuck, one.position, one.queue_length, one.queue) == (
        "Queued",
        False,
        3,
        12,
        "tpu",
    )
    assert one.reason == "waits for quota: 16 more google.com/tpu of flavor v4"


@pytest.mark.parametrize(
    ("reason", "message", "words"),
    [
        ("Pending", TOO_MUCH, "asks for 64 google.com/tpu; queue tpu never has more than 32"),
        ("ExceedsMaxQuota", TOO_MUCH, "asks for 64 google.com/tpu; queue tpu never has more than 32"),
        (
            "Pending",
            "couldn't assign flavors to pod set w: flavor v4 doesn't match node affinity",
            "no flavor",
        ),
        ("NoMatchingFlavor", "untolerated taint x in flavor v4", "no flavor"),
        ("Pending", "couldn't assign flavors to pod set w: resource cpu unavailable in ClusterQueue", "cpu"),
        ("Inadmissible", "LocalQueue tpu doesn't exist", "LocalQueue tpu doesn't exist"),
        ("Misconfigured", "ClusterQueue x doesn't exist", "ClusterQueue x doesn't exist"),
        ("Inadmissible", "ClusterQueue tpu is inactive", "is stopped"),
        ("Suspended", "LocalQueue tpu is inactive", "is stopped"),
    ],
)
def test_what_waiting_does_not_mend_is_stuck_and_has_a_hint(reason: str, message: str, words: str) -> None:
    one = state(known(), queued(), workload("a", pending(message, reason)))
    assert (one.state, one.stuck) == ("Queued", True)
    assert words in one.reason
    assert one.hint


@pytest.mark.parametrize("reason", ["Pending", "TopologyPlacementFailed"])
def test_no_whole_pool_names_those_that_lack_nodes(reason: str) -> None:
    message = (
        'couldn\'t assign flavors to pod set w: topology "pools" allows to fit only 3 out of 4 pod(s), flavor v5e'
        " doesn't match node affinity"
    )
    waiting = workload("a", pending(message, reason))
    assert wants_nodes(Seen(queued(), waiting))
    assert not wants_nodes(Seen(queued(), workload("a", pending(QUOTA))))
    one = state(known(), queued(), waiting, broken=[Pool("tpu-0", 4, ("a", "b", "c"), 3)])
    assert (one.state, one.stuck) == ("Queued", False)
    assert one.reason.startswith("no free slice of this topology: ")
    assert one.reason.endswith("; 3 of 4 nodes of pool tpu-0 are there")


def test_a_pod_without_a_node_asks_which_pool_lacks_one() -> None:
    js = jobset("a")
    placed = [pod(js, index) for index in range(3)]
    assert not wants_nodes(Seen(js, admitted("a"), placed))
    pods = [*placed, unscheduled(js, 3, "0/7 nodes are available")]
    assert wants_nodes(Seen(js, admitted("a"), pods))
    one = state(known(), js, admitted("a"), pods, broken=[Pool("tpu-0", 4, ("a", "b", "c"), 3)])
    assert one.reason == "worker 3 has no node: 0/7 nodes are available; 3 of 4 nodes of pool tpu-0 are there"


def test_one_flavor_that_may_become_free_is_worth_waiting_for() -> None:
    message = f"{QUOTA}, flavor v5e doesn't match node affinity"
    assert not state(known(), queued(), workload("a", pending(message))).stuck


def test_workload_without_conditions_waits_behind_others() -> None:
    """StrictFIFO looks at the head of a queue only."""
    one = state(known(), queued(), workload("a"))
    assert (one.state, one.reason) == ("Queued", "not looked at by Kueue yet: it waits behind others")


def test_admission_checks_are_named() -> None:
    held = workload(
        "a", condition("QuotaReserved"), condition("Admitted", False, "UnsatisfiedAdmissionChecks")
    )
    held["status"]["admissionChecks"] = [{"name": "provision", "state": "Pending", "message": "no nodes yet"}]
    assert "provision (no nodes yet)" in state(known(), queued(), held).reason


def test_no_workload_after_a_while_asks_for_kueue() -> None:
    assert "Kueue has made no Workload" in state(known(), queued()).reason
    fresh = jobset("a", suspend=True, jobs="suspended", age_s=1)
    assert state(known(), fresh).reason == "just submitted"


def test_suspended_without_a_queue_is_resumed_by_nobody() -> None:
    one = state(known(), jobset("a", SUSPENDED, suspend=True, jobs="suspended", queue=None))
    assert (one.state, one.stuck) == ("Held", True)


def test_place_is_by_priority_then_age_in_the_same_queue_among_those_that_wait() -> None:
    waiting = [
        workload("young", age_s=1),
        workload("old", age_s=9),
        workload("urgent", age_s=0, priority=1000),
        workload("other", queue="cpu"),
        admitted("runs"),
        workload("paused", active=False),
        workload("done", condition("Finished")),
    ]
    for order in (waiting, waiting[::-1]):
        assert places(order) == {
            "workload-urgent": Place(1, 3),
            "workload-old": Place(2, 3),
            "workload-young": Place(3, 3),
            "workload-other": Place(1, 1),
        }


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=12), st.randoms())
def test_places_are_a_permutation_whatever_the_order(
    items: list[tuple[int, int]], shuffler: random.Random
) -> None:
    waiting = [workload(str(n), priority=p, age_s=age) for n, (p, age) in enumerate(items)]
    found = places(waiting)
    assert sorted(place.position for place in found.values()) == list(range(1, len(items) + 1))
    shuffler.shuffle(waiting)
    assert places(waiting) == found


# Paused, interrupted


def test_paused() -> None:
    evicted = condition("Evicted", True, "Deactivated", "The workload is deactivated")
    one = state(beating(), queued(), workload("a", evicted, active=False), [pod(queued(), 0)])
    assert (one.state, one.stuck) == ("Paused", False)
    assert "1 pods are still ending" in one.reason
    assert "`octjob resume demo/a.linear-0000abcd -n team`" in one.hint
    assert one.epoch == 3


def test_time_limit_is_a_failure_and_not_a_pause() -> None:
    message = "The workload is deactivated due to exceeding the maximum execution time"
    evicted = condition("Evicted", True, "DeactivatedDueToMaximumExecutionTimeExceeded", message)
    one = state(beating(), queued(), workload("a", evicted, active=False))
    assert one.state == "OutOfTime"
    assert "max_runtime_hours" in one.message


def test_put_out_by_kueue_for_another_reason_says_it() -> None:
    message = "The workload is deactivated due to exceeding the maximum number of re-queuing retries"
    evicted = condition("Evicted", True, "DeactivatedDueToRequeuingLimitExceeded", message)
    one = state(known(), queued(), workload("a", evicted, active=False))
    assert (one.state, one.stuck) == ("PutOut", True)
    assert "re-queuing" in one.reason


def test_preempted_run_is_interrupted_and_queued_again() -> None:
    evicted = condition("Evicted", True, "Preempted", "Preempted to accommodate a workload")
    one = state(
        known("Interrupted", epoch=7), queued(), workload("a", pending(QUOTA), evicted), place=Place(1, 2)
    )
    assert (one.state, one.position, one.epoch) == ("Interrupted", 1, 7)
    assert one.reason.startswith("preempted by a run of higher priority; waits for quota")


def test_while_it_is_being_preempted_its_pods_save() -> None:
    evicted = condition("Evicted", True, "Preempted")
    one = state(beating(), jobset("a", suspend=True), admitted("a", evicted), pods(jobset()))
    assert one.state == "Interrupted"
    assert one.reason == "preempted by a run of higher priority; its pods are saving"


def test_submitted_again_after_an_interruption_is_interrupted_not_new() -> None:
    assert state(known("Interrupted"), queued(), workload("a", pending(QUOTA))).state == "Interrupted"


# Starting


def test_leader_without_a_node_is_what_its_followers_wait_for() -> None:
    js = jobset()
    of = [
        unscheduled(js, 0, "0/9 nodes are available: 8 Insufficient google.com/tpu."),
        unscheduled(js, 1, "follower"),
    ]
    one = state(known(), js, admitted(), of[::-1])
    assert (one.state, one.reason) == (
        "Starting",
        "worker 0 has no node: 0/9 nodes are available: 8 Insufficient google.com/tpu.",
    )


def test_missing_secret_key_is_named_with_what_mends_it() -> None:
    js = jobset()
    waiting = {
        "reason": "CreateContainerConfigError",
        "message": "couldn't find key WANDB_API_KEY in Secret team/octjob-wandb",
    }
    one = state(known(), js, admitted(), [pod(js, 0), pod(js, 1, {"waiting": waiting})])
    assert one.state == "Starting"
    assert one.reason == "worker 1: couldn't find key WANDB_API_KEY in Secret team/octjob-wandb"
    assert "WANDB_API_KEY" in one.hint
    assert "`kubectl edit secret octjob-wandb -n team`" in one.hint


def test_image_that_cannot_be_pulled() -> None:
    js = jobset()
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}
    one = state(known(), js, admitted(), [pod(js, 0, {"waiting": waiting})])
    assert one.reason == 'worker 0: ImagePullBackOff: Back-off pulling image "x"'
    assert "compute.image" in one.hint


def test_admitted_and_not_yet_resumed_is_starting() -> None:
    assert state(known(), queued(), admitted()).state == "Starting"


@pytest.mark.parametrize("status", [None, {}])
def test_fresh_jobset_without_conditions_is_not_running(status: Document | None) -> None:
    js = jobset("a", jobs="", age_s=1, queue=None)
    if status is not None:
        js["status"] = status
    assert state(known(), js).state == "Starting"


def test_pod_refused_later_is_told_by_the_jobs_event_but_not_the_followers_wait() -> None:
    js, wl = jobset(), admitted(ago_s=60)
    assert wants_events(Seen(js, wl), NOW)
    events = ['Error creating: pods "x" is forbidden: violates PodSecurity', FOLLOWER]
    one = state(known(), js, wl, events=events)
    assert one.reason == f"no pods yet: {events[0]}"


def test_events_are_not_asked_for_without_need() -> None:
    js = jobset()
    assert not wants_events(Seen(js, admitted(), pods(js)), NOW)
    assert not wants_events(Seen(js, admitted(ago_s=3)), NOW)
    assert not wants_events(Seen(queued(), workload("a", pending(QUOTA))), NOW)
    assert not wants_events(Seen(jobset("a", FAILED, jobs="failed")), NOW)
    assert not wants_events(Seen(None), NOW)


# Invalid


def test_accepted_jobset_with_refused_job_is_invalid() -> None:
    """The trap of the fact sheet: no condition, no status, ever; also while Kueue queues it."""
    text = (
        'job "a-w-0" creation failed with error: Job.batch "a-w-0" is invalid: ports[3].name: Duplicate value'
    )
    js, wl = jobset("a", jobs="", suspend=True), workload("a", pending(QUOTA))
    assert wants_events(Seen(js, wl), NOW)
    one = state(known(), js, wl, events=["older", text])
    assert (one.state, one.final) == ("Invalid", True)
    assert text in one.message
    assert "octjob cancel" in one.hint


def test_a_job_that_jobset_does_not_count_is_not_missing() -> None:
    """One whose pods are being stopped, or were refused, is neither active nor ready nor failed."""
    js = jobset("a", jobs="")
    ending = state(beating(), js, admitted(), [pod(js, 0, ended(137)), *pods(js)[1:]], events=[FOLLOWER])
    assert (ending.state, ending.final) == ("Running", False)
    assert ending.reason.startswith("worker 0: exit 137")
    refused = 'Error creating: pods "x" is forbidden: exceeded quota: chips'
    waiting = state(known(), js, admitted(ago_s=60), events=[refused], has_job=True)
    assert (waiting.state, waiting.reason) == ("Starting", f"no pods yet: {refused}")


def test_no_jobs_is_not_held_against_a_fresh_jobset() -> None:
    js = jobset("a", jobs="", suspend=True, age_s=5)
    assert state(known(), js, workload("a", pending(QUOTA))).state == "Queued"


@pytest.mark.parametrize(
    "events",
    [
        [],
        ["Internal error occurred: failed calling webhook x: connection refused"],
        ['jobs.batch is forbidden: User "jobset" cannot create resource "jobs" in API group "batch"'],
    ],
)
def test_controller_or_webhook_that_is_down_is_not_invalid(events: list[str]) -> None:
    one = state(known(), jobset("a", jobs=""), workload("a", pending(QUOTA)), events=events)
    assert one.state == "Starting"
    assert not one.final
    assert "JobSet has made no Job in 100 s" in one.reason


def test_a_run_that_the_controller_has_not_come_to_yet_is_healthy() -> None:
    """Right after a large submission: others get their Jobs, this one in its turn."""
    at_work = {"jobset_sign": NOW - 5}
    waits = state(known(), jobset("a", jobs="", suspend=True), workload("a", pending(QUOTA)), **at_work)
    assert (waits.state, waits.hint) == ("Queued", "")
    assert waits.reason.startswith("waits for quota")
    let_in = state(known(), jobset("a", jobs=""), admitted(), **at_work)
    assert (let_in.state, let_in.reason) == ("Starting", "JobSet has not come to it yet")
    away = state(known(), jobset("a", jobs=""), admitted(), jobset_sign=NOW - 90)
    assert "has done nothing for 90 s" in away.reason
    assert "kubectl -n jobset-system get pods" in away.hint


def test_kueue_too_is_called_silent_only_when_it_is() -> None:
    late = state(known(), queued(), kueue_sign=NOW - 5)
    assert (late.state, late.reason, late.hint) == ("Queued", "Kueue has not come to it yet", "")
    away = state(known(), queued(), kueue_sign=NOW - 90)
    assert "has done nothing for 90 s" in away.reason
    assert "kueue-system" in away.hint


def test_a_controllers_last_sign_is_its_latest_write_to_a_status() -> None:
    old, new = jobset("a", condition("Suspended", ago_s=50)), jobset("b", jobs="")
    new["metadata"]["managedFields"] = [
        {"manager": "octjob", "time": stamp(1)},
        {"manager": "manager", "subresource": "status", "time": stamp(20)},
    ]
    assert last_sign([old]) == NOW - 50
    assert last_sign([old, new]) == NOW - 20
    assert last_sign([jobset("c", jobs="")]) is None


@pytest.mark.parametrize(
    ("job", "due", "words"),
    [
        ("uid-b", "prioritization in the ClusterQueue", "run b.linear of higher priority"),
        ("uid-z", "prioritization in the ClusterQueue", "JobSet z of higher priority"),
        ("uid-z", "reclamation within the cohort", "JobSet z, by reclamation within the cohort"),
        ("gone", "Fair Sharing within the cohort", "a workload of another namespace (UID workload-gone), by"),
    ],
)
def test_who_took_the_place_is_named(job: str, due: str, words: str) -> None:
    uid = f"workload-{job.removeprefix('uid-')}"
    message = (
        f"Preempted to accommodate a workload (UID: {uid}, JobUID: {job}) due to {due}; preemptor path: /x;"
        " preemptee path: /x"
    )
    put_out = workload("a", pending(QUOTA), condition("Evicted", True, "Preempted", message))
    who = preemptor(put_out, [put_out, admitted("z")], {"uid-b": "b.linear"})
    assert who.startswith(words)
    assert state(known(), queued(), put_out, preemptor=who).reason.startswith(f"preempted by {words}")


def test_nobody_is_named_where_nobody_preempted() -> None:
    for one in (workload("a"), None, workload("a", condition("Evicted", True, "PodsReadyTimeout"))):
        assert preemptor(one, [], {}) == ""


# Running


def test_running_with_the_heartbeats_epoch_and_metric() -> None:
    js = jobset("a", jobs="ready")
    one = state(beating(), js, admitted(), pods(js))
    assert (one.state, one.stage, one.epoch, one.best_metric, one.stalled) == (
        "Running",
        "training",
        3,
        0.4,
        False,
    )
    assert one.nodes == tuple(f"gke-v4-32-0-{n}" for n in range(4))


def test_silence_is_stalled_but_only_since_the_pods_began() -> None:
    js = jobset("a", jobs="ready")
    old = [pod(js, n, {"running": {"startedAt": stamp(700)}}) for n in range(4)]
    assert state(beating(heartbeat_age_s=650.0), js, admitted(), old).stalled
    assert state(known(), js, admitted(), old).stalled
    assert not state(beating(heartbeat_age_s=650.0), js, admitted(), pods(js)).stalled


def test_heartbeat_of_the_attempt_before_is_not_this_ones() -> None:
    js = jobset("a", jobs="ready", status={"restarts": 1, "restartsCountTowardsMax": 1})
    for before in (beating(restart=0), known("Failed", message="old", restart=0), known("Interrupted")):
        one = state(before, js, admitted(), pods(js, restart=1))
        assert (one.state, one.stage, one.message) == ("Running", "starting", "")


def test_some_workers_are_done_before_others() -> None:
    js = jobset("a", jobs="ready")
    of = [pod(js, 0, ended(0)), *pods(js)[1:]]
    assert state(beating(), js, admitted(), of).state == "Running"


def test_container_that_has_just_failed_is_no_failed_run_yet() -> None:
    js = jobset()
    one = state(beating(), js, admitted(), [pod(js, 0, ended(1, "boom")), *pods(js)[1:]])
    assert (one.state, one.final) == ("Running", False)
    assert one.reason == "worker 0: exit 1 (an unexpected error): boom; its other pods are being stopped"


def test_out_of_memory_that_ended_a_run_says_where_and_what_needs_less() -> None:
    one = state(beating(), failed(), None, [pod(failed(), 1, ended(137, reason="OOMKilled"))])
    assert "on node gke-v4-32-0-1" in one.message
    assert "data.num_workers" in one.hint
    assert RETRY in one.hint


def test_the_host_that_is_missing_is_named() -> None:
    js = jobset()
    lost = pod(js, 2)
    lost["status"]["conditions"][0] |= {
        "status": "False",
        "lastTransitionTime": stamp(250),
        "message": "silent",
    }
    one = state(beating(), js, admitted(), [*pods(js)[:2], lost, pod(js, 3)])
    name = lost["metadata"]["name"]
    assert one.reason == (
        f"3 of 4 pods ready; worker 2 (pod {name} on node gke-v4-32-0-2) is not ready since 4 min: silent"
    )
    assert "`kubectl get node gke-v4-32-0-2`" in one.hint
    lost["metadata"]["deletionTimestamp"] = stamp(130)
    one = state(beating(), js, admitted(), [*pods(js)[:2], lost, pod(js, 3)])
    assert f"worker 2 (pod {name} on node gke-v4-32-0-2) is being deleted since 2 min" in one.reason
    assert f"`kubectl delete pod {name} --force -n team`" in one.hint
    none = state(beating(), js, admitted(), pods(js)[1:])
    assert none.reason == "3 of 4 pods ready; worker 0 has no pod yet"


# Restarting


def restarting(reason: str, restarts: int, counted: int) -> Document:
    found = condition("RestartingJobSet", True, reason, "applying RestartJobSet")
    return jobset("a", found, jobs="", status=None) | {
        "status": {
            "conditions": [found],
            "replicatedJobsStatus": [],
            "restarts": restarts,
            "restartsCountTowardsMax": counted,
        }
    }


def test_restart_counts_and_names_the_container_that_failed() -> None:
    js = restarting("DefaultFailurePolicy", 2, 2)
    one = state(beating(), js, admitted(), [pod(js, 2, ended(137, reason="OOMKilled"), restart=1)])
    assert (one.state, one.restarts_counted, one.max_restarts) == ("Restarting", 2, 3)
    assert one.reason.startswith(
        "restart 2: worker 2: exit 137 (out of memory): pod a-linear-0123abcd-w-0-2-"
    )
    assert "on node gke-v4-32-0-2" in one.reason
    assert "data.num_workers" in one.hint


def test_restart_after_a_disruption_is_not_counted() -> None:
    one = state(beating(), restarting("FailurePolicy_disrupted", 3, 0), admitted())
    assert (one.state, one.restarts, one.restarts_counted) == ("Restarting", 3, 0)
    assert "taken or drained (not counted)" in one.reason


def test_restart_without_pods_has_its_cause_from_the_store() -> None:
    one = state(known("Failed", message="NaN loss"), restarting("DefaultFailurePolicy", 1, 1), admitted())
    assert one.reason == "restart 1: NaN loss"


def test_restart_before_jobset_0_12_is_told_by_its_count() -> None:
    js = jobset("a", status={"restarts": 1, "restartsCountTowardsMax": 1})
    assert state(beating(), js, admitted(), [pod(js, 0, {"waiting": {}}, restart=1)]).state == "Restarting"


def test_old_pods_do_not_make_a_restarting_run_running() -> None:
    js = restarting("DefaultFailurePolicy", 1, 1)
    assert state(beating(), js, admitted(), pods(js, restart=0)).state == "Restarting"


# Failed


def failed(*of: Document, reason: str = "", **status: Any) -> Document:
    found = {**FAILED, "reason": reason or FAILED["reason"]}
    return jobset("a", found, jobs="failed", status={"terminalState": "Failed", **status})


def test_the_container_that_failed_first_is_the_cause() -> None:
    js = failed()
    words = json.dumps(
        {"state": "failed", "exit_code": 3, "message": "b2://x/y.dcm: no volumes", "hint": "Mend it."}
    )
    of = [
        pod(js, 0, ended(75, ago_s=9)),
        pod(js, 1, ended(143, ago_s=9)),
        pod(js, 2, ended(3, words, ago_s=10)),
        pod(js, 3, ended(1, "Connection reset", ago_s=8)),
    ]
    one = state(beating(), js, None, of)
    assert (one.state, one.exit_code) == ("Failed", 3)
    assert one.hint == f"Mend it. Then {RETRY} runs it again."
    assert one.message == "worker 2: exit 3 (input data or checkpoint unusable): b2://x/y.dcm: no volumes"


def test_within_one_second_those_that_were_stopped_are_not_the_cause_and_the_leader_goes_first() -> None:
    js = failed()
    of = [pod(js, 0, ended(143)), pod(js, 3, ended(3, "follows")), pod(js, 1, ended(3, "the cause"))]
    assert state(beating(), js, None, of).message.startswith("worker 1: exit 3")


def test_last_lines_where_there_are_no_last_words() -> None:
    js = failed()
    text = "\n".join(f"line {n}" for n in range(9)) + "\nTraceback\nKeyError: 'x'\n"
    one = state(beating(), js, None, [pod(js, 0, ended(1, text))])
    assert one.message.endswith("line 7 | line 8 | Traceback | KeyError: 'x'")
    assert "line 3" not in one.message
    assert "octjob logs" in one.hint


def test_restarts_used_up_are_said() -> None:
    js = failed(reason="ReachedMaxRestarts", restarts=3, restartsCountTowardsMax=3)
    one = state(beating(), js, None, [pod(js, 0, ended(1, "boom"))])
    assert one.message == "after 3 restarts: worker 0: exit 1 (an unexpected error): boom"


def test_without_pods_the_store_knows_why_and_else_jobset() -> None:
    of_store = known("Failed", message="no volumes", hint="Mend it.", exit_code=3)
    one = state(of_store, failed())
    assert one.message == "exit 3 (input data or checkpoint unusable): no volumes"
    assert one.hint == f"Mend it. Then {RETRY} runs it again."
    assert "first failed job: a-w-0" in state(known(), failed()).message


def test_disruption_that_ended_a_run_is_named() -> None:
    js = failed()
    lost = condition("DisruptionTarget", True, "DeletionByPodGC", "node gke-x is gone")
    one = state(beating(), js, None, [pod(js, 0, ended(137), lost)])
    assert one.message == "worker 0: disrupted: DeletionByPodGC: node gke-x is gone"


def test_pods_that_ended_well_without_a_result_are_a_failure() -> None:
    js = jobset("a", condition("Completed", True, "AllJobsCompleted"), jobs="succeeded")
    one = state(beating(), js, None, [pod(js, n, ended(0)) for n in range(4)])
    assert one.state == "NoResult"
    assert "no result.json" in one.message


# The store's word


@pytest.mark.parametrize(
    "js",
    [None, failed(), queued(), jobset("a", jobs=""), jobset("a", condition("Completed"), jobs="succeeded")],
)
def test_a_result_is_success_whatever_the_cluster_says(js: Document | None) -> None:
    assert state(known("Succeeded", best_metric=0.8), js).state == "Succeeded"


def test_without_a_jobset() -> None:
    assert state(known(), None).state == "Pending"
    assert "not submitted" in state(known(), None).reason
    assert state(known("Failed", message="why"), None).message == "why"
    for before in (beating(), known("Interrupted")):
        one = state(before, None)
        assert one.state == "Interrupted"
        assert "submitting its sweep again" in one.hint


def test_jobset_that_is_being_deleted_is_on_its_way_out() -> None:
    js = jobset()
    js["metadata"]["deletionTimestamp"] = stamp()
    assert state(beating(), js, admitted(), pods(js)).state == "Ending"
    assert state(known(), js, admitted()).state == "Ending"


# Conditions


CASES = [
    (known(), queued(), workload("a", pending(QUOTA), condition("PodsReady", False), condition("Requeued"))),
    (beating(), queued(), workload("a", pending(QUOTA), condition("Evicted", True, "Preempted"), SUSPENDED)),
    (beating(), failed(), admitted("a", condition("Finished"), condition("PodsReady", False))),
    (beating(), jobset("a", condition("Suspended", False), condition("RestartingJobSet", False)), admitted()),
]


@given(st.sampled_from(CASES), st.randoms(use_true_random=False))
def test_order_of_conditions_means_nothing(case: Any, shuffler: random.Random) -> None:
    run, js, wl = case
    expected = state(run, js, wl)

    def shuffled(document: Document) -> Document:
        conditions = list(document["status"]["conditions"])
        shuffler.shuffle(conditions)
        return {**document, "status": {**document["status"], "conditions": conditions}}

    assert state(run, shuffled(js), shuffled(wl)) == expected


def test_a_condition_that_does_not_hold_is_not_a_state() -> None:
    js = jobset("a", condition("Failed", False), condition("Completed", False), jobs="ready")
    assert (
        state(beating(), js, admitted("a", condition("Evicted", False, "Preempted")), pods(js)).state
        == "Running"
    )


def test_failed_evaluation_leaves_no_trace_in_the_next_state() -> None:
    run = replace(known("Failed", message="old", hint="old"), stalled=True, eta_s=3.0)
    one = state(run, queued(), workload("a", pending(QUOTA)))
    assert (one.message, one.hint, one.stalled, one.eta_s) == ("", "", False, None)


def test_topology_and_unknown_reasons_keep_kueues_words() -> None:
    assert waits_for(workload("a", pending("no free domain", "TopologyPlacementFailed"))).reason == (
        "no free slice of this topology: no free domain"
    )
    assert waits_for(workload("a", pending("something new", "Novel"))).reason == "something new"

"""Where a run stands is decided once, and what each command answers then leads on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any, cast

import click
import pytest
from doubles.cluster_runs import make_run, make_settings
from doubles.kube_documents import NOW, Document, admitted, condition, jobset, pending, pods, workload
from doubles.sweep_results import entry, submit

from octjob.cli import cli
from octjob.errors import OctjobError
from octjob.records.layout import RESULT, finished_runs, run_key
from octjob.records.state import ENDED, STATES, RunState
from octjob.records.status import RunStatus
from octjob.records.wait import Standings
from octjob.storage import ObjectStore
from octjob.targets.kubernetes import control
from octjob.targets.kubernetes.documents.manifest import render_jobset
from octjob.targets.kubernetes.observation.seen import Seen
from octjob.targets.kubernetes.observation.state import run_state
from octjob.targets.kubernetes.outlook.standing import on_cluster
from octjob.targets.kubernetes.phase import Command, Handle, Phase, phase
from octjob.targets.kubernetes.retry import retry
from octjob.targets.kubernetes.select import Selection
from octjob.targets.kubernetes.submission.existing import sort_out

RUN = Handle("demo", "a.linear-0000abcd", " -n team", "sweeps/demo.yaml")
_COMMAND = re.compile(r"`octjob ([^`]+)`")


def put_out(reason: str, message: str = "") -> Document:
    return workload("a", condition("Evicted", True, reason, message), active=False)


def completed() -> Document:
    return jobset("a", condition("Completed"), jobs="succeeded", status={"terminalState": "Completed"})


def suspended(queue: str | None = "tpu") -> Document:
    return jobset("a", suspend=True, jobs="suspended", queue=queue)


def ending() -> Document:
    one = jobset("a")
    one["metadata"]["deletionTimestamp"] = "now"
    return one


Facts = tuple[Document | None, Document | None, bool]
# Where it stands by what is there (JobSet, Workload, result); and so what each command does: what `submit` makes of
# the run, which of the others act, and what `collect --wait` waits for.
CASES: dict[str, tuple[RunState, Facts, str, str, str]] = {
    "result": ("Succeeded", (completed(), admitted(), True), "finished", "", "results"),
    "result, failed since": (
        "Succeeded",
        (jobset("a", condition("Failed"), jobs="failed"), None, True),
        "finished",
        "",
        "results",
    ),
    "nothing": ("Pending", (None, None, False), "todo", "submit", "gone"),
    "being deleted": ("Ending", (ending(), admitted(), False), "refused", "cancel", "gone"),
    "failed": (
        "Failed",
        (jobset("a", condition("Failed"), jobs="failed"), admitted(), False),
        "ended",
        "retry",
        "failed",
    ),
    "exit 0 without a result": (
        "NoResult",
        (completed(), admitted(), False),
        "ended",
        "retry",
        "failed",
    ),
    "over its time": (
        "OutOfTime",
        (suspended(), put_out("DeactivatedDueToMaximumExecutionTimeExceeded"), False),
        "ended",
        "retry cancel",
        "failed",
    ),
    "over its time, older Kueue": (
        "OutOfTime",
        (suspended(), put_out("Deactivated", "exceeding the maximum execution time"), False),
        "ended",
        "retry cancel",
        "failed",
    ),
    "given up by Kueue": (
        "PutOut",
        (suspended(), put_out("DeactivatedDueToRequeuingLimitExceeded", "too often"), False),
        "there",
        "cancel resume",
        "open",
    ),
    "paused": (
        "Paused",
        (suspended(), put_out("Deactivated"), False),
        "there",
        "cancel resume",
        "open",
    ),
    "suspended by hand": ("Held", (suspended(None), None, False), "there", "cancel", "open"),
    "waits": (
        "Queued",
        (suspended(), workload("a", pending("no quota")), False),
        "there",
        "cancel pause",
        "open",
    ),
    "runs": (
        "Running",
        (jobset("a", jobs="ready"), admitted(), False),
        "there",
        "cancel pause",
        "open",
    ),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
Case = tuple[RunState, Facts, str, str, str]


class Server:
    """Holds the documents of one run; deleted is what was deleted."""

    namespace, context, flags = "team", "", " -n team"

    def __init__(self, facts: Facts) -> None:
        self.jobset, self.workload, _ = facts
        self.deleted: list[str] = []
        self.applied: list[Document] = []
        self.merged: list[Document] = []

    def list(self, resource: Any, selector: str = "", **_: Any) -> list[Document]:
        there = {"jobsets": self.jobset, "workloads": self.workload}[resource.plural]
        gone = resource.plural == "jobsets" and self.deleted
        return [there] if there and not gone else []

    def delete(self, resource: Any, name: str, *, uid: str = "") -> bool:
        self.deleted.append(name)
        return True

    def apply(self, resource: Any, document: Document) -> Document:
        self.applied.append(document)
        return document

    def merge(self, resource: Any, name: str, patch: Document) -> Document:
        self.merged.append(patch)
        return patch


def selection(facts: Facts) -> Selection:
    there = [facts[0]] if facts[0] else []
    return Selection("demo", "gs://b/demo", there, entire=not there)


def status_of(facts: Facts) -> RunStatus:
    there, held, has_result = facts
    known = RunStatus(RUN.run, "a", "linear", "Succeeded" if has_result else "Pending")
    of = pods(there) if there and phase(there, held).state == "Running" else []
    return run_state(known, Seen(there, held, of), NOW, RUN)


def commands_in(hint: str) -> list[str]:
    """The commands of a hint, as the command line understands them."""
    found = []
    for text in _COMMAND.findall(hint):
        name, *arguments = shlex.split(text)
        command = cli.get_command(click.Context(cli), name)
        assert command is not None, hint
        command.make_context(name, list(arguments))
        found.append(name)
    return found


def leads_on(hint: str, facts: Facts) -> bool:
    """Whether the first command of a hint does something to a run with these facts."""
    first = commands_in(hint)[0]
    stands = phase(facts[0], facts[1], has_result=facts[2])
    return first in ("collect", "logs", "status") or stands.allows(cast(Command, first))


def acts_on(found: Phase) -> set[Command]:
    commands: tuple[Command, ...] = ("submit", "retry", "cancel", "pause", "resume")
    return {one for one in commands if found.allows(one)}


@each_case
def test_the_phase_and_who_acts_on_it(case: Case) -> None:
    state, (there, held, has_result), _, acting, _ = case
    found = phase(there, held, has_result=has_result)
    assert found.state == state
    assert acts_on(found) == set(acting.split())


@each_case
def test_a_next_step_is_a_command_that_does_something_there(case: Case) -> None:
    _, facts, *_ = case
    found = phase(facts[0], facts[1], has_result=facts[2])
    assert leads_on(found.next_step(RUN), facts)


@each_case
def test_status(case: Case) -> None:
    state, facts, *_ = case
    one = status_of(facts)
    assert one.state == state
    if one.state in (*ENDED, "Paused", "PutOut", "Held", "Ending"):
        assert leads_on(one.hint, facts)
    if one.state in ("NoResult", "OutOfTime"):
        assert "octjob retry demo/a.linear-0000abcd -n team`" in one.hint


REFUSED = "Job.batch is invalid"
# What the store knows, and what the cluster shows of a run for which `phase` has a coarser word, or another.
FINER: dict[str, tuple[RunState, RunState, Seen]] = {
    "put back": ("Interrupted", "Running", Seen(suspended(), workload("a", pending("no quota")))),
    "admitted": ("Starting", "Pending", Seen(suspended(), admitted())),
    "without pods": ("Starting", "Pending", Seen(jobset("a", jobs="ready"), admitted())),
    "restarts": (
        "Restarting",
        "Interrupted",
        Seen(jobset("a", jobs="ready", status={"restarts": 1}), admitted()),
    ),
    "its Job is refused": ("Invalid", "Pending", Seen(jobset("a", jobs=""), admitted(), events=[REFUSED])),
    "a result that is damaged": ("Unreadable", "Unreadable", Seen(completed(), admitted())),
    "cancelled": ("Interrupted", "Interrupted", Seen()),
    "failed, and its JobSet is gone": ("Failed", "Failed", Seen()),
}


@pytest.mark.parametrize(("state", "known", "seen"), FINER.values(), ids=FINER)
def test_the_state_in_status_says_who_acts_on_it(state: RunState, known: RunState, seen: Seen) -> None:
    stored = RunStatus(RUN.run, "a", "linear", known, stage="finished" if known == "Unreadable" else "")
    one = run_state(stored, seen, NOW, RUN)
    assert one.state == state
    found = phase(seen.jobset, seen.workload, has_result=stored.has_result)
    # As docs/kubernetes.md says: what has no JobSet is submitted, all else goes by the state.
    assert acts_on(found) == (acts_on(Phase(one.state)) if one.jobset else {"submit"})


def test_every_state_is_a_case() -> None:
    shown = {case[0] for case in CASES.values()} | {state for state, *_ in FINER.values()}
    assert shown == set(STATES)


@each_case
def test_collect_waits_as_long_as_status_is_not_final(case: Case) -> None:
    *_, group = case
    one = status_of(case[1])
    assert on_cluster([one]) == Standings(**{group: (RUN.run,)})
    assert one.final == (group in ("results", "failed"))


@each_case
@pytest.mark.parametrize("update", [False, True])
def test_submit(case: Case, update: bool) -> None:
    _, facts, expected, *_ = case
    run = make_run("linear", sweep="demo", run_id=RUN.run, checkpoint_name="a")
    settings = make_settings(queue="tpu")
    wanted = render_jobset(run, settings)
    server = Server(facts)
    if server.jobset is not None:
        # The same settings, at the name that follows from sweep and run.
        server.jobset = {**server.jobset, "metadata": {**server.jobset["metadata"]}}
        server.jobset["metadata"]["name"] = wanted["metadata"]["name"]
        server.jobset["metadata"]["annotations"] = wanted["metadata"]["annotations"]
    runs = [] if facts[2] else [run]

    def sort() -> Any:
        cluster: Any = server
        jobsets = {RUN.run: wanted}
        return sort_out(cluster, "demo", runs, jobsets, settings, update=update, file=RUN.file)

    if expected == "refused":
        with pytest.raises(OctjobError) as caught:
            sort()
        assert leads_on(caught.value.hint, facts)
        return
    found = sort()
    groups = {name: getattr(found, name) for name in ("todo", "there", "ended", "kept")}
    assert {name for name, of in groups.items() if of} == ({expected} - {"finished"})


@each_case
def test_submit_with_other_settings_names_what_replaces_them(case: Case) -> None:
    _, facts, expected, *_ = case
    if expected not in ("there", "ended"):
        return
    run = make_run("linear", sweep="demo", run_id=RUN.run, checkpoint_name="a")
    settings = make_settings(queue="tpu", max_restarts=7)
    wanted = render_jobset(run, settings)
    server: Any = Server(facts)
    wanted["metadata"]["name"] = server.jobset["metadata"]["name"]
    with pytest.raises(OctjobError, match="with other settings") as caught:
        sort_out(server, "demo", [run], {RUN.run: wanted}, settings, update=False, file=RUN.file)
    assert leads_on(caught.value.hint, facts)


Act = Callable[[Any, Selection, ObjectStore], Any]


ACTS: dict[Command, Act] = {
    "retry": lambda cluster, chosen, store: retry(cluster, chosen, store, lambda document: document),
    "cancel": lambda cluster, chosen, store: control.cancel(
        cluster, chosen.jobsets, finished=lambda: finished_runs(store)
    ),
    "pause": lambda cluster, chosen, store: control.set_active(
        cluster, chosen, False, finished=lambda: finished_runs(store)
    ),
    "resume": lambda cluster, chosen, store: control.set_active(
        cluster, chosen, True, finished=lambda: finished_runs(store)
    ),
}
DONE = {"retry": "retried", "cancel": "cancelled", "pause": "paused", "resume": "resumed"}


@each_case
@pytest.mark.parametrize("command", ACTS)
def test_what_changes_a_run(case: Case, command: Command, file_store: ObjectStore) -> None:
    _, facts, _, acting, _ = case
    if facts[0] is None:
        return
    submit(file_store, [entry("a")])
    if facts[2]:
        file_store.put(run_key(RUN.run, RESULT), b"{}")
    server = Server(facts)
    action, reason, hint = carried_out(command, server, facts, file_store)
    if command in acting.split():
        assert (action, reason, hint) == (DONE[command], "", "")
        return
    assert action in ("refused", "unchanged")
    assert (server.deleted, server.applied, server.merged) == ([], [], [])
    # Only what is as it was wanted needs no hint.
    assert reason in ("is paused already", "is not paused") or leads_on(hint, facts)


def carried_out(command: Command, server: Server, facts: Facts, store: ObjectStore) -> tuple[str, str, str]:
    """What was done, why not, and the hint."""
    try:
        (one,) = ACTS[command](server, selection(facts), store)
    except OctjobError as error:
        return "refused", error.message, error.hint
    return one.action, one.reason, one.hint


@pytest.mark.parametrize("entire", [True, False])
def test_a_superseded_run_is_retried_only_by_its_name(entire: bool, file_store: ObjectStore) -> None:
    submit(file_store, [entry("b")])
    server: Any = Server((completed(), admitted(), False))
    chosen = Selection("demo", "gs://b/demo", [server.jobset], entire=entire)
    (one,) = retry(server, chosen, file_store, lambda document: document)
    assert one.action == ("unchanged" if entire else "retried")
    assert bool(server.applied) != entire


def test_without_the_store_a_cancel_does_not_guess() -> None:
    facts: Facts = (completed(), admitted(), True)
    (one,) = control.cancel(cast(Any, Server(facts)), [completed()])
    assert (one.action, one.reason, one.hint) == ("unchanged", "has ended already", "")


@pytest.mark.parametrize("kind", ["Failed", "Completed"])
def test_a_condition_that_does_not_hold_ends_nothing(kind: str) -> None:
    assert phase(jobset("a", condition(kind, False))).state == "Running"

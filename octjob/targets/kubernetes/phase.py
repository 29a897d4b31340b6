"""Where a run stands: one decision from what store and cluster say of it, which every command reads.

`phase` decides; `Phase.allows` says which commands act on such a run, and `Phase.next_step` what to type instead
where one does not. Whatever a next step names acts on a run in that phase, so following it always leads on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from octjob.records.state import ENDED, RunState
from octjob.targets.kubernetes import jobset as jobset_api
from octjob.targets.kubernetes import kueue
from octjob.targets.kubernetes.observation.conditions import condition, true
from octjob.targets.kubernetes.observation.provisioning import by_checks

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Document

Command = Literal["submit", "retry", "cancel", "pause", "resume"]

# It begins or goes on by itself.
_UNDER_WAY: tuple[RunState, ...] = ("Queued", "Interrupted", "Starting", "Running", "Restarting", "Invalid")
# What a command acts on. `phase` gives Queued or Running for all of `_UNDER_WAY`: the others are what `octjob status`
# shows of these once it has seen their pods and heartbeat.
_ALLOWED: dict[Command, tuple[RunState, ...]] = {
    "submit": ("Pending",),
    "retry": ENDED,
    # What is out of time still has its JobSet in the queue's books.
    "cancel": ("Ending", "OutOfTime", "PutOut", "Paused", "Held", *_UNDER_WAY),
    "pause": _UNDER_WAY,
    "resume": ("Paused", "PutOut"),
}
_REASONS: dict[RunState, str] = {
    "Succeeded": "has a result",
    "Pending": "is not on the cluster",
    "Ending": "is being deleted",
    "Failed": "has failed",
    "NoResult": "has ended without a result: its pods ended with 0, but there is no result.json",
    "OutOfTime": "ran longer than compute.max_runtime_hours allows",
    "PutOut": "was put out by Kueue",
    "Paused": "is paused",
    "Held": "is suspended, and no queue will resume it",
    "Queued": "is queued",
    "Running": "is running",
}


@dataclass(frozen=True)
class Handle:
    """How a user names a run in further commands.

    flags: what reaches its cluster and namespace. file: its sweep's, where it is known.
    """

    sweep: str
    run: str
    flags: str = ""
    file: str = ""

    def command(self, name: str) -> str:
        """`octjob retry phase3/a.linear-0000abcd -n team`, in backticks."""
        return f"`octjob {name} {self.sweep}/{self.run}{self.flags}`"


@dataclass(frozen=True)
class Phase:
    """Where a run stands by its result, JobSet and Workload alone.

    state: Succeeded where it has a result, Pending with neither that nor a JobSet, Ending while its JobSet is being
    deleted. Failed: its JobSet gave up. NoResult: its pods said done. OutOfTime: Kueue ended it for
    max_runtime_hours. PutOut: Kueue gave it up for another reason. Paused: by hand. Held: suspended without a queue.
    Queued: not admitted, for the first time or again. Running: it may have pods.

    words: Kueue's own, where it put the run out.
    """

    state: RunState
    words: str = ""

    @property
    def ended(self) -> bool:
        """No result, and none will come of this JobSet."""
        return self.state in ENDED

    @property
    def reason(self) -> str:
        """What follows the run's name in a sentence."""
        return _REASONS[self.state] + (f": {self.words}" if self.words else "")

    def allows(self, command: Command) -> bool:
        """Whether the command does something to a run that stands here."""
        return self.state in _ALLOWED[command]

    def next_step(self, run: Handle) -> str:
        """What leads on from here, as a hint; commands in backticks work when typed."""
        if self.state == "Succeeded":
            return f"`octjob collect {run.sweep}{run.flags}` shows it."
        if self.state == "Pending":
            return f"{_submit(run)} starts it."
        if self.state == "Ending":
            return f"{run.command('cancel')} waits until it is gone; {_submit(run)} then continues it."
        if self.state == "OutOfTime":
            longer = f"`octjob retry {run.file}{run.flags}`" if run.file else "a retry with the sweep file"
            return (
                f"{run.command('retry')} gives it as long again, from its last saved state;"
                f" with max_runtime_hours raised, {longer} gives it longer."
            )
        if self.ended:
            return f"{run.command('retry')} runs it again from its last saved state."
        if self.allows("resume"):
            return f"{run.command('resume')} lets it go on."
        return f"To start it over from its last saved state: {run.command('cancel')}, then {_submit(run)}."


def phase(jobset: Document | None, workload: Document | None = None, *, has_result: bool = False) -> Phase:
    """Where a run stands.

    jobset: None where there is none. workload: Kueue's, None where it has none or may not be read; then what is
    OutOfTime, PutOut or Paused counts as Queued. has_result: whether the store has one.
    """
    if has_result:
        return Phase("Succeeded")
    if jobset is None:
        return Phase("Pending")
    if "deletionTimestamp" in jobset["metadata"]:
        return Phase("Ending")
    terminal = jobset.get("status", {}).get("terminalState")
    if true(jobset, jobset_api.FAILED) or terminal == jobset_api.FAILED:
        return Phase("Failed")
    if true(jobset, jobset_api.COMPLETED) or terminal == jobset_api.COMPLETED:
        return Phase("NoResult")
    if workload is not None and not workload["spec"].get("active", True):
        return _inactive(workload)
    suspended = bool(jobset["spec"].get("suspend"))
    if suspended and workload is None and kueue.QUEUE_LABEL not in jobset["metadata"].get("labels", {}):
        return Phase("Held")
    waits = suspended or (workload is not None and not true(workload, kueue.ADMITTED))
    return Phase("Queued" if waits else "Running")


def _inactive(workload: Document) -> Phase:
    """Paused by hand, or put out by Kueue for good."""
    evicted = condition(workload, kueue.EVICTED) or {}
    reason, message = evicted.get("reason", ""), evicted.get("message", "")
    if any(words in text for words in kueue.TIME_LIMIT for text in (reason, message)):
        return Phase("OutOfTime")
    if reason.startswith(kueue.DEACTIVATED) and reason != kueue.DEACTIVATED:
        return Phase("PutOut", by_checks(message) or message)
    return Phase("Paused")


def _submit(run: Handle) -> str:
    return f"`octjob submit -f {run.file}{run.flags}`" if run.file else "submitting its sweep again"

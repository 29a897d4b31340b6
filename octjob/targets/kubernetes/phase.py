"""Where a run stands: one decision from what store and cluster say of it, which every command reads.

`phase` decides; `Phase.allows` says which commands act on such a run, and `Phase.next_step` what to type instead
where one does not. Whatever a next step names acts on a run in that phase, so following it always leads on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from octjob.targets.kubernetes import jobset as jobset_api
from octjob.targets.kubernetes import kueue
from octjob.targets.kubernetes.observation.conditions import condition, true

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Document

PhaseName = Literal[
    "finished",
    "not submitted",
    "ending",
    "failed",
    "no result",
    "out of time",
    "put out",
    "paused",
    "held",
    "queued",
    "running",
]
Command = Literal["submit", "retry", "cancel", "pause", "resume"]

_ENDED: tuple[PhaseName, ...] = ("failed", "no result", "out of time")
_WAITING: tuple[PhaseName, ...] = ("put out", "paused", "held", "queued", "running")
_ALLOWED: dict[Command, tuple[PhaseName, ...]] = {
    "submit": ("not submitted",),
    "retry": _ENDED,
    # What is out of time still has its JobSet in the queue's books.
    "cancel": ("ending", "out of time", *_WAITING),
    "pause": ("queued", "running"),
    "resume": ("paused", "put out"),
}
_REASONS: dict[PhaseName, str] = {
    "finished": "has a result",
    "not submitted": "is not on the cluster",
    "ending": "is being deleted",
    "failed": "has failed",
    "no result": "has ended without a result: its pods ended with 0, but there is no result.json",
    "out of time": "ran longer than compute.max_runtime_hours allows",
    "put out": "was put out by Kueue",
    "paused": "is paused",
    "held": "is suspended, and no queue will resume it",
    "queued": "is queued",
    "running": "is running",
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
    """Where a run stands.

    finished: it has a result. not submitted: neither that nor a JobSet. ending: its JobSet is being deleted.
    failed: its JobSet gave up. no result: its pods said done. out of time: Kueue ended it for max_runtime_hours.
    put out: Kueue gave it up for another reason. paused: by hand. held: suspended without a queue. queued: not
    admitted, for the first time or again. running: it may have pods.

    words: Kueue's own, where it put the run out.
    """

    name: PhaseName
    words: str = ""

    @property
    def ended(self) -> bool:
        """No result, and none will come of this JobSet."""
        return self.name in _ENDED

    @property
    def reason(self) -> str:
        """What follows the run's name in a sentence."""
        return _REASONS[self.name] + (f": {self.words}" if self.words else "")

    def allows(self, command: Command) -> bool:
        """Whether the command does something to a run that stands here."""
        return self.name in _ALLOWED[command]

    def next_step(self, run: Handle) -> str:
        """What leads on from here, as a hint; commands in backticks work when typed."""
        if self.name == "finished":
            return f"`octjob collect {run.sweep}{run.flags}` shows it."
        if self.name == "not submitted":
            return f"{_submit(run)} starts it."
        if self.name == "ending":
            return f"{run.command('cancel')} waits until it is gone; {_submit(run)} then continues it."
        if self.name == "out of time":
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

    jobset: None where there is none. workload: Kueue's, None where it has none or may not be read; then what is out
    of time, put out or paused counts as queued. has_result: whether the store has one.
    """
    if has_result:
        return Phase("finished")
    if jobset is None:
        return Phase("not submitted")
    if "deletionTimestamp" in jobset["metadata"]:
        return Phase("ending")
    terminal = jobset.get("status", {}).get("terminalState")
    if true(jobset, jobset_api.FAILED) or terminal == jobset_api.FAILED:
        return Phase("failed")
    if true(jobset, jobset_api.COMPLETED) or terminal == jobset_api.COMPLETED:
        return Phase("no result")
    if workload is not None and not workload["spec"].get("active", True):
        return _inactive(workload)
    suspended = bool(jobset["spec"].get("suspend"))
    if suspended and workload is None and kueue.QUEUE_LABEL not in jobset["metadata"].get("labels", {}):
        return Phase("held")
    waits = suspended or (workload is not None and not true(workload, kueue.ADMITTED))
    return Phase("queued" if waits else "running")


def _inactive(workload: Document) -> Phase:
    """Paused by hand, or put out by Kueue for good."""
    evicted = condition(workload, kueue.EVICTED) or {}
    reason, message = evicted.get("reason", ""), evicted.get("message", "")
    if any(words in text for words in kueue.TIME_LIMIT for text in (reason, message)):
        return Phase("out of time")
    if reason.startswith(kueue.DEACTIVATED) and reason != kueue.DEACTIVATED:
        return Phase("put out", message)
    return Phase("paused")


def _submit(run: Handle) -> str:
    return f"`octjob submit -f {run.file}{run.flags}`" if run.file else "submitting its sweep again"

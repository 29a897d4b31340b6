"""Which host of a slice this process is, and what a host does that has no work of its own yet.

A slice has several hosts and one pod on each. Host 0, the leader, carries the run out. The others follow: they hold
their place in the slice, which JobSet only keeps while every pod lives, and end as the leader ends. A follower that
exits 0 before the work is done would be a finished index: the slice would wait for it for ever after a restart.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from octjob import env
from octjob.errors import Interrupted, OctjobError, SpecError
from octjob.records.layout import read_progress, read_result, read_spec, split_run_uri
from octjob.records.schema import ENDED, Progress, Result
from octjob.run.attempt_log import AttemptLog, keep_attempt_log
from octjob.run.stop import Stop, catch_signals
from octjob.storage.base import ObjectStore
from octjob.storage.open import open_store

log = logging.getLogger(__name__)

INTERVAL_S = 2.0
# A signal is answered within this time; a sleeping process does not wake up for its handler.
_NAP_S = 0.25
# After the leader has failed it gets this many looks to end first: then its pod is the one that the Job ends for, and
# the one to look at.
NUM_LOOKS_AFTER_FAILURE = 15

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Host:
    """This process's place in the slice.

    index: 0 is the leader. restart: JobSet's restart attempt, from 0. pod, node: their names. The last three are
    known on Kubernetes only. together: the hosts compute together; else the leader works and the others follow it.
    """

    index: int = 0
    num_hosts: int = 1
    restart: int | None = None
    pod: str | None = None
    node: str | None = None
    together: bool = False

    @property
    def is_leader(self) -> bool:
        return self.index == 0


def read_host(environ: Mapping[str, str]) -> Host:
    """The host that the environment describes; without any of its variables the only one.

    Raises `SpecError` for a variable that is missing or makes no sense.
    """
    num_hosts = _number(environ, env.NUM_HOSTS, least=1) or 1
    index = _number(environ, "JOB_COMPLETION_INDEX", least=0) if num_hosts > 1 else 0
    if index is None:
        raise SpecError(
            f"{env.NUM_HOSTS}={num_hosts}, but JOB_COMPLETION_INDEX is not set: which host is this?",
            f"Kubernetes sets it in an Indexed Job; without one, leave {env.NUM_HOSTS} unset.",
        )
    if index >= num_hosts:
        raise SpecError(
            f"JOB_COMPLETION_INDEX={index}, but there are {num_hosts} hosts ({env.NUM_HOSTS})",
            "The Job's completions must equal the slice's hosts.",
        )
    return Host(
        index=index,
        num_hosts=num_hosts,
        restart=_number(environ, env.RESTART, least=0),
        pod=environ.get(env.POD) or None,
        node=environ.get(env.NODE) or None,
        together=num_hosts > 1 and bool(environ.get(env.COORDINATOR)),
    )


def _number(environ: Mapping[str, str], name: str, least: int) -> int | None:
    # A fieldRef to an annotation that is not there gives an empty value.
    text = environ.get(name, "")
    if not text:
        return None
    if not text.isdecimal() or int(text) < least:
        raise SpecError(f"{name}={text}: not a whole number from {least} on", f"Unset {name}, or mend it.")
    return int(text)


def follow_run(run_uri: str, listener: OnProgress, host: Host) -> Result:
    """What `run_job` is for the leader, for the other hosts.

    Raises as `follow` does, and `ObjectNotFoundError` where there is no such run.
    """
    output, run_id = split_run_uri(run_uri)
    store = open_store(output)
    read_spec(store, run_id)
    stop = Stop()
    with catch_signals(stop), keep_attempt_log(store, run_id, None, host.index) as kept:
        log.info("run %s: host %d of %d follows host 0", run_id, host.index, host.num_hosts)
        result = Follower(store, run_id, host, stop, listener, kept).follow()
        log.info("run %s is finished", run_id)
        return result


class Follower:
    """Follows the leader's attempt, which it tells from earlier ones whose heartbeat still lies in the store."""

    def __init__(
        self,
        store: ObjectStore,
        run_id: str,
        host: Host,
        stop: Stop,
        listener: OnProgress,
        kept: AttemptLog | None = None,
        interval_s: float = INTERVAL_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.store, self.run_id, self.host, self.stop = store, run_id, host, stop
        self.listener, self.kept = listener, kept
        self.interval_s, self.sleep = interval_s, sleep
        self.before = read_progress(store, run_id)
        self._failure: OctjobError | None = None
        self._looks_left = NUM_LOOKS_AFTER_FAILURE
        if kept is not None:
            kept.attempt = self._expected_attempt()

    def follow(self) -> Result:
        """The run's result, once it is there.

        Raises:
            OctjobError: the leader's attempt failed; with its message, hint and exit code.
            Interrupted: after SIGTERM or SIGINT, unless the result is there.
        """
        while True:
            result = read_result(self.store, self.run_id)
            if result is not None:
                return result
            progress = read_progress(self.store, self.run_id)
            if progress is not None and self._is_current(progress):
                self._note(progress)
            if self._failure is not None:
                self._looks_left -= 1
                if self.stop.requested or self._looks_left <= 0:
                    raise self._failure
            if self.stop.requested:
                raise Interrupted(
                    f"run {self.run_id}: host {self.host.index} stopped by signal {self.stop.signal}",
                    "Start all hosts again to continue.",
                )
            self._wait()

    def _note(self, progress: Progress) -> None:
        if self.kept is not None:
            self.kept.attempt = progress.attempt
        self.listener(progress)
        if progress.stage == "failed":
            self._failure = _failure(progress)

    def _is_current(self, progress: Progress) -> bool:
        """Whether this is the heartbeat of the attempt that this host belongs to.

        A heartbeat that had already ended when this host started is an earlier attempt's, or the leader was faster
        and its own exit ends the Job: either way it is not for us to act on.
        """
        if None not in (progress.restart, self.host.restart) and progress.restart != self.host.restart:
            return False
        before = self.before
        if before is None or (progress.attempt, progress.started_at) != (before.attempt, before.started_at):
            return True
        return before.stage not in ENDED

    def _expected_attempt(self) -> int:
        before = self.before
        if before is None:
            return 1
        return before.attempt if self._is_current(before) else before.attempt + 1

    def _wait(self) -> None:
        left = self.interval_s
        while left > 0 and not self.stop.requested:
            self.sleep(min(left, _NAP_S))
            left -= _NAP_S


def _failure(progress: Progress) -> OctjobError:
    failure = progress.failure
    message = failure.message if failure else "it left no message"
    error = OctjobError(f"host 0 failed: {message}", failure.hint if failure else "See the log of host 0.")
    error.exit_code = failure.exit_code if failure else OctjobError.exit_code
    return error

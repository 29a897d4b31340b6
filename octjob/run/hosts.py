"""Which process of a run this one is.

A slice has several hosts and one pod on each, with one process; a node with GPUs has a process for each of them. All
of them carry the run out together; process 0 leads, that is, it writes what there is to write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from octjob import env
from octjob.errors import SpecError
from octjob.records.schema import Progress
from octjob.spec.multislice import read_slices

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Host:
    """This process's place in the run.

    index: among all processes; 0 is the leader. num_hosts: of all slices, one slice after the other.
    processes_per_host: those of each host, whose indices follow one another. local_index: among them; None in the
    process that has yet to start them. restart: JobSet's restart attempt, from 0. pod, node: their names; these three
    are known on Kubernetes only.
    """

    index: int = 0
    num_hosts: int = 1
    restart: int | None = None
    pod: str | None = None
    node: str | None = None
    processes_per_host: int = 1
    local_index: int | None = 0

    @property
    def num_processes(self) -> int:
        """Processes of the run."""
        return self.num_hosts * self.processes_per_host

    @property
    def is_leader(self) -> bool:
        return self.index == 0


def read_host(environ: Mapping[str, str]) -> Host:
    """The host that the environment describes; without any of its variables the only one.

    Raises `SpecError` for a variable that is missing or makes no sense.
    """
    slices, slice_ = read_slices(environ)
    of_slice = _number(environ, env.NUM_HOSTS, least=1) or 1
    index = _number(environ, "JOB_COMPLETION_INDEX", least=0) if of_slice > 1 else 0
    if index is None:
        raise SpecError(
            f"{env.NUM_HOSTS}={of_slice}, but JOB_COMPLETION_INDEX is not set: which host is this?",
            f"Kubernetes sets it in an Indexed Job; without one, leave {env.NUM_HOSTS} unset.",
        )
    if index >= of_slice:
        raise SpecError(
            f"JOB_COMPLETION_INDEX={index}, but there are {of_slice} hosts ({env.NUM_HOSTS})",
            "The Job's completions must equal the slice's hosts.",
        )
    processes = _number(environ, env.PROCESSES, least=1) or 1
    local = _number(environ, env.LOCAL_INDEX, least=0) if processes > 1 else 0
    if local is not None and local >= processes:
        raise SpecError(
            f"{env.LOCAL_INDEX}={local}, but a host has {processes} processes ({env.PROCESSES})",
            f"Leave {env.LOCAL_INDEX} unset: octjob sets it.",
        )
    return Host(
        index=(slice_ * of_slice + index) * processes + (local or 0),
        num_hosts=slices * of_slice,
        processes_per_host=processes,
        local_index=local,
        restart=_number(environ, env.RESTART, least=0),
        pod=environ.get(env.POD) or None,
        node=environ.get(env.NODE) or None,
    )


def _number(environ: Mapping[str, str], name: str, least: int) -> int | None:
    # A fieldRef to an annotation that is not there gives an empty value.
    text = environ.get(name, "")
    if not text:
        return None
    if not text.isdecimal() or int(text) < least:
        raise SpecError(f"{name}={text}: not a whole number from {least} on", f"Unset {name}, or mend it.")
    return int(text)

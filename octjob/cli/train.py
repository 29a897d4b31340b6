"""`octjob train`: one run, or several in turn, as every target starts them."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

from octjob import env
from octjob.cli.outputs import output_to
from octjob.errors import FailedRunsError, Interrupted, SpecError
from octjob.signals import stop_signals, stop_with

if TYPE_CHECKING:
    from octjob.records.schema import Progress
    from octjob.run.hosts import Host
    from octjob.run.shared import Shared
    from octjob.run.stop import Stop
    from octjob.run.termination import Tally


@click.command()
@click.option(
    "--run",
    "run_uris",
    required=True,
    multiple=True,
    metavar="URI",
    help="The run: <output>/<sweep>/runs/<run id>. Given again, the next run of this process.",
)
@click.option(
    "--features",
    metavar="ID",
    help="Wait until this encoding of the sweep has made the run's features, and encode nothing here.",
)
@click.option("--launcher", type=int, hidden=True, help="The process that this one stops with.")
@click.option(
    "--logs", type=click.Path(path_type=Path), hidden=True, help="Each run prints to <run id>.log there."
)
@click.option("--verbose", "-v", is_flag=True, help="Also log the libraries' messages.")
def train(
    run_uris: tuple[str, ...], features: str | None, launcher: int | None, logs: Path | None, verbose: bool
) -> None:
    """Carry out one run, or continue it where an earlier attempt stopped.

    Reads <URI>/spec.json, which `octjob submit` wrote, and ends by writing <URI>/result.json. SIGTERM and Ctrl-C
    save the state and exit 75; the same command then continues, with the same result as an uninterrupted run.
    Where OCTJOB_NUM_HOSTS says that there are several hosts, all of them carry it out together: each starts this
    command, they meet at OCTJOB_COORDINATOR, and host 0 writes. Where OCTJOB_PROCESSES says that a host has several
    GPUs, the command starts a process for each.

    Several runs are carried out one after the other, each as in a process of its own, without starting one for each.
    Where one fails the next goes on, and the exit code is 5; a signal leaves those that have not begun.

    An encoding, which makes features for runs with --features, is carried out by the same command.

    \b
    Example:
      octjob train --run gs://bucket/octjob/phase3/runs/multi_domain.logistic-b4338bba
    """
    with _stop_signals_as_ctrl_c():
        if launcher is not None and not stop_with(launcher):
            raise Interrupted(f"{run_uris[0]}: its launcher is gone", "Submit the sweep again to continue.")
        if features is not None and len(run_uris) > 1:
            raise SpecError("--features is for one run", "Give --run once.")
        local = _local_index(run_uris)
        if local is None:
            _start_processes(run_uris, verbose)
        _log_to_stdout(verbose, logging.WARNING if local else logging.INFO)
        if len(run_uris) == 1:
            _train(run_uris[0], patient=launcher is not None, features=features)
        else:
            _train_in_turn(run_uris, logs, patient=launcher is not None)


def _local_index(run_uris: Sequence[str]) -> int | None:
    """Which of its host's processes this is; None where it has yet to start them."""
    from octjob.run.hosts import read_host

    if env.PROCESSES not in os.environ:
        return 0
    with _saying_so_at_the_end(run_uris[0]):
        host = read_host(os.environ)
        _require_one_run(run_uris, host)
    if host.processes_per_host > 1 and host.local_index is not None:
        from octjob.run.processes import take_share_of_cores

        stop_with(os.getppid())
        take_share_of_cores(host.local_index, host.processes_per_host)
    return host.local_index


def _start_processes(run_uris: Sequence[str], verbose: bool) -> None:
    """One for each GPU of the host; ends as they end."""
    from octjob.run.hosts import read_host
    from octjob.run.processes import start_processes

    arguments = ["train", *(["--verbose"] if verbose else []), "--run", run_uris[0]]
    num_processes = read_host(os.environ).processes_per_host
    sys.exit(start_processes(arguments, os.environ, num_processes))


def _require_one_run(run_uris: Sequence[str], host: Host) -> None:
    if len(run_uris) > 1 and host.num_processes > 1:
        where = (
            f"{host.num_hosts} hosts ({env.NUM_HOSTS})"
            if host.num_hosts > 1
            else f"{host.processes_per_host} processes ({env.PROCESSES})"
        )
        raise SpecError(
            f"{len(run_uris)} runs, but there are {where}",
            f"Several {where.split()[1]} carry out one run: give --run once.",
        )


@contextmanager
def _saying_so_at_the_end(uri: str) -> Iterator[None]:
    """Errors of the environment are the container's last words, like those of the run."""
    from octjob.run.termination import last_words

    try:
        yield
    except SpecError:
        with last_words(uri, os.environ):
            raise


def _train_in_turn(run_uris: Sequence[str], logs: Path | None, *, patient: bool) -> None:
    """All runs, whatever becomes of one of them.

    Raises `FailedRunsError` at the end where some failed, `Interrupted` once a signal came.
    """
    from octjob.run.hosts import read_host
    from octjob.run.stop import Stop
    from octjob.run.termination import Tally

    _require_one_run(run_uris, read_host(os.environ))
    tally, stop, shared = Tally(len(run_uris)), Stop(), cache(_new_shared)
    failed: list[str] = []
    for number, uri in enumerate(run_uris, 1):
        left = len(run_uris) - number
        with output_to(logs / f"{_run_name(uri)}.log") if logs else nullcontext(), _saying_what_is_left(left):
            later = run_uris[number:]
            code = _train_one_of_several(uri, later, tally, stop, shared, patient=patient)
            if stop.requested and left:
                raise Interrupted(
                    f"stopped by signal {stop.signal}", "Start the same command again to continue."
                )
        if code:
            failed.append(f"{_run_name(uri)} (exit {code})")
        # The next run shall not share its memory with what is left of this one. What was imported stays for good:
        # looking through it again and again takes longer than all of the rest.
        gc.collect()
        if number == 1:
            gc.freeze()
    if failed:
        raise FailedRunsError(
            f"{len(failed)} of {len(run_uris)} runs failed: {', '.join(failed)}",
            "Their errors are printed above; the same command tries them again.",
        )


@contextmanager
def _saying_what_is_left(num_runs: int) -> Iterator[None]:
    """Have an interruption name the number of runs that have not begun."""
    try:
        yield
    except Interrupted as error:
        rest = f"; {num_runs} more not begun" if num_runs else ""
        raise Interrupted(f"{error.message}{rest}", error.hint) from error


def _new_shared() -> Shared:
    """Imported late, as all that trains: where that is not installed, the run says so."""
    from octjob.run.shared import Shared

    return Shared()


def _train_one_of_several(
    uri: str, later: Sequence[str], tally: Tally, stop: Stop, shared: Callable[[], Shared], *, patient: bool
) -> int:
    """One run; a failure is printed and comes back as its exit code, 0 for none.

    Raises `Interrupted`.
    """
    from octjob.cli import report

    try:
        _train(uri, later, patient=patient, tally=tally, stop=stop, shared=shared)
    except Interrupted:
        raise
    except Exception as error:  # noqa: BLE001 - printed with its traceback; the other runs have no part in it
        return report(error)
    return 0


def _run_name(uri: str) -> str:
    """The run id in a run's URI, or the last part of anything else."""
    return uri.rstrip("/").rpartition("/")[2]


def _train(
    uri: str,
    later: Sequence[str] = (),
    *,
    patient: bool,
    tally: Tally | None = None,
    stop: Stop | None = None,
    shared: Callable[[], Shared] = _new_shared,
    features: str | None = None,
) -> None:
    from octjob.run.hosts import read_host
    from octjob.run.termination import last_words

    with last_words(uri, os.environ, tally) as words:
        words.host = read_host(os.environ)
        from octjob.extras import require_trainer

        require_trainer()
        from octjob.cli.bars import training_bar
        from octjob.run.job import run_job

        with training_bar() as show:

            def listen(progress: Progress) -> None:
                words.listen(progress)
                show(progress)

            ours = shared()
            ours.later.uris = later
            words.result = run_job(
                uri, listen, words.host, patient=patient, stop=stop, shared=ours, features=features
            )


def _log_to_stdout(verbose: bool, level: int) -> None:
    """level: of what is printed; what is less is logged all the same, for a run's log in the store."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    for handler in logging.getLogger().handlers:
        handler.setLevel(level)
    if not verbose:
        for name in ("b2sdk", "google", "urllib3", "pydicom", "wandb", "pylibjpeg"):
            logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def _stop_signals_as_ctrl_c() -> Iterator[None]:
    """Exit 75 for a stop signal during the seconds of importing, before the run catches signals itself."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in stop_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

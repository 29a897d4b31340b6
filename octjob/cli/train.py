"""`octjob train`: one run, as every target starts it."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from octjob.errors import Interrupted, SpecError
from octjob.signals import stop_signals, stop_with

if TYPE_CHECKING:
    from octjob.records.schema import Progress


@click.command()
@click.option(
    "--run", "run_uri", required=True, metavar="URI", help="The run: <output>/<sweep>/runs/<run id>."
)
@click.option("--launcher", type=int, hidden=True, help="The process that this one stops with.")
@click.option("--verbose", "-v", is_flag=True, help="Also log the libraries' messages.")
def train(run_uri: str, launcher: int | None, verbose: bool) -> None:
    """Carry out one run, or continue it where an earlier attempt stopped.

    Reads <URI>/spec.json, which `octjob submit` wrote, and ends by writing <URI>/result.json. SIGTERM and Ctrl-C
    save the state and exit 75; the same command then continues, with the same result as an uninterrupted run.
    Where OCTJOB_NUM_HOSTS says that there are several hosts, host 0 does this; the others wait for it and end as it
    ends.

    \b
    Example:
      octjob train --run gs://bucket/octjob/phase3/runs/multi_domain.logistic-b4338bba
    """
    with _stop_signals_as_ctrl_c():
        if launcher is not None and not stop_with(launcher):
            raise Interrupted(f"{run_uri}: its launcher is gone", "Submit the sweep again to continue.")
        _train(run_uri, verbose, patient=launcher is not None)


def _train(run_uri: str, verbose: bool, *, patient: bool) -> None:
    from octjob.run.hosts import follow_run, read_host
    from octjob.run.termination import last_words

    _log_to_stdout(verbose)
    with last_words(run_uri, os.environ) as words:
        words.host = read_host(os.environ)
        if not words.host.is_leader:
            words.result = follow_run(run_uri, words.listen, words.host)
            return
        require_trainer()
        from octjob.cli.bars import training_bar
        from octjob.run.job import run_job

        with training_bar() as show:

            def listen(progress: Progress) -> None:
                words.listen(progress)
                show(progress)

            words.result = run_job(run_uri, listen, words.host, patient=patient)


def _log_to_stdout(verbose: bool) -> None:
    logging.basicConfig(
        level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
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


def require_trainer() -> None:
    """Raise `SpecError` where only the launcher is installed."""
    import importlib.util

    missing = [name for name in ("torch", "pydicom", "safetensors") if importlib.util.find_spec(name) is None]
    if missing:
        raise SpecError(
            f"this installation cannot train: {', '.join(missing)} not installed",
            "Install octjob[train], or submit to a cluster with --target kubernetes.",
        )

"""`octjob train`: one run, as every target starts it."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from octjob.errors import SpecError


@click.command()
@click.option(
    "--run", "run_uri", required=True, metavar="URI", help="The run: <output>/<sweep>/runs/<run id>."
)
@click.option("--verbose", "-v", is_flag=True, help="Also log the libraries' messages.")
def train(run_uri: str, verbose: bool) -> None:
    """Carry out one run, or continue it where an earlier attempt stopped.

    Reads <URI>/spec.json, which `octjob submit` wrote, and ends by writing <URI>/result.json. SIGTERM and Ctrl-C
    save the state and exit 75; the same command then continues, with the same result as an uninterrupted run.

    \b
    Example:
      octjob train --run gs://bucket/octjob/phase3/runs/multi_domain.logistic-b4338bba
    """
    with _sigterm_as_ctrl_c():
        _train(run_uri, verbose)


def _train(run_uri: str, verbose: bool) -> None:
    require_trainer()
    from octjob.cli.bars import training_bar
    from octjob.train.job import run_job

    logging.basicConfig(
        level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    if not verbose:
        for name in ("b2sdk", "google", "urllib3", "pydicom", "wandb", "pylibjpeg"):
            logging.getLogger(name).setLevel(logging.WARNING)
    with training_bar() as listener:
        run_job(run_uri, listener)


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Exit 75 for a SIGTERM during the seconds of importing, before the run catches signals itself."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def require_trainer() -> None:
    """Raise `SpecError` where only the launcher is installed."""
    import importlib.util

    missing = [name for name in ("torch", "pydicom", "safetensors") if importlib.util.find_spec(name) is None]
    if missing:
        raise SpecError(
            f"this installation cannot train: {', '.join(missing)} not installed",
            "Install octjob[train], or submit to a cluster with --target kubernetes.",
        )

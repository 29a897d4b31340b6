"""`octjob submit`: carry a sweep out."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from octjob.cli.cluster import cluster_options
from octjob.cli.plan import MATRIX
from octjob.errors import OctjobError, SpecError

if TYPE_CHECKING:
    from rich.table import Table

    from octjob.records.schema import Progress
    from octjob.spec.expand import Plan
    from octjob.storage.base import ObjectStore
    from octjob.targets.local import Attempted, Listener


@click.command()
@MATRIX
@click.option(
    "--target", type=click.Choice(["local", "kubernetes"]), help="Default: the sweep's compute.target."
)
@click.option("--concurrency", type=click.IntRange(1), help="local: runs at a time; default one per core.")
@click.option(
    "--bundle",
    type=click.IntRange(1),
    help="local: up to so many probes of one encoder share a process; default as many as leave none idle.",
)
@click.option("--update", is_flag=True, help="Submit a changed sweep under its old name; finished runs stay.")
@click.option(
    "--cancel-superseded/--keep-superseded",
    default=None,
    help="kubernetes: with --update, whether runs that the sweep no longer has are cancelled; default: ask on a"
    " terminal, else keep them.",
)
@click.option(
    "--dry-run", is_flag=True, help="kubernetes: check everything, on the server too, and create nothing."
)
@cluster_options
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def submit(
    matrix: Path,
    target: str | None,
    concurrency: int | None,
    bundle: int | None,
    update: bool,
    cancel_superseded: bool | None,
    dry_run: bool,
    context: str | None,
    namespace: str | None,
    output: str,
) -> None:
    """Carry out a sweep's unfinished runs.

    Finished runs are left alone, interrupted ones continue, so submitting twice is harmless.

    local: runs here, until all are done; Ctrl-C lets every run save its state and exits 75.
    kubernetes: checks the cluster, creates one JobSet per run, and with compute.probe one per encoding, and returns.

    \b
    Example:
      octjob submit --matrix sweeps/phase3.yaml --target local
      octjob submit --matrix sweeps/phase3.yaml --dry-run
    """
    from octjob.spec.expand import plan_sweep

    planned = plan_sweep(matrix)
    if target is not None:
        planned = replace(planned, compute=planned.compute.model_copy(update={"target": target}))
    if planned.compute.target == "local":
        given = {"--dry-run": dry_run, "--context": context, "--namespace": namespace, "-o": output == "json"}
        given["--cancel-superseded"] = cancel_superseded is not None
        _refuse("local", [name for name, value in given.items() if value])
        submit_local(planned, concurrency, bundle, update=update)
    else:
        here = {"--concurrency": concurrency, "--bundle": bundle}
        _refuse("kubernetes", [name for name, value in here.items() if value])
        from octjob.cli.submit_kubernetes import submit_kubernetes
        from octjob.targets.kubernetes.place import connect

        namespace = namespace or planned.compute.namespace
        places = (("--context", context), ("-n", namespace))
        submit_kubernetes(
            planned,
            matrix,
            connect(context, namespace),
            update=update,
            cancel_superseded=cancel_superseded,
            dry_run=dry_run,
            as_json=output == "json",
            flags="".join(f" {name} {shlex.quote(value)}" for name, value in places if value),
        )


def _refuse(target: str, options: Sequence[str]) -> None:
    if options:
        raise SpecError(
            f"{options[0]} has no effect with target {target}", f"Leave out {', '.join(options)}."
        )


def submit_local(
    planned: Plan, concurrency: int | None, bundle: int | None = None, *, update: bool = False
) -> None:
    """Write the plan and run what is not finished here.

    Raises `FailedRunsError` where runs failed, `Interrupted` after a signal.
    """
    from octjob.extras import require_trainer
    from octjob.spec.effects import compute_notes
    from octjob.spec.pod import NO_PODS
    from octjob.storage.open import open_store
    from octjob.targets.local import carry_out
    from octjob.targets.submit import write_plan

    require_trainer()
    store = open_store(planned.output)
    submission = write_plan(planned, store, update=update)
    num_done = len(submission.finished)
    click.echo(
        f"{planned.name}: {len(planned.runs)} runs, {num_done} finished already; results in {planned.output}"
    )
    if not submission.todo:
        return
    for note in (*([NO_PODS] if planned.compute.pod else []), *compute_notes(planned.compute, planned.runs)):
        click.echo(f"note: {note}", err=True)
    with _listener(store) as listener:
        carry_out(planned, submission.todo, concurrency, bundle, listener)


@contextmanager
def _listener(store: ObjectStore) -> Iterator[Listener]:
    """A live table on a terminal, else one line per change of state."""
    if not sys.stderr.isatty():
        yield _line_printer(store)
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        lines = _line_printer(store)
        drawn = 0.0

        def show(items: Sequence[Attempted]) -> None:
            nonlocal drawn
            import time

            lines(items)
            if time.monotonic() - drawn >= 1.0:
                drawn = time.monotonic()
                live.update(_live_table(store, items), refresh=True)

        yield show


def _progress_of(store: ObjectStore, run_id: str) -> Progress | None:
    """The run's heartbeat for showing: where the store refuses it, the runs go on all the same."""
    from octjob.records.layout import read_progress

    try:
        return read_progress(store, run_id)
    except OctjobError:
        return None


def _line_printer(store: ObjectStore) -> Listener:
    said: dict[str, str] = {}

    def show(items: Sequence[Attempted]) -> None:
        for number, item in enumerate(items, 1):
            state = f"{item.state}-{item.num_failures}"
            if said.get(item.run.run_id, "Pending-0") == state:
                continue
            said[item.run.run_id] = state
            text: str = item.state
            if item.exit_code not in (None, 0) and item.state in ("Failed", "Restarting"):
                progress = _progress_of(store, item.run.run_id)
                failure = progress.failure if progress else None
                text += f" (exit {item.exit_code})" + (
                    f": {failure.message}"
                    if failure
                    else f": see {item.log}"
                    if item.log
                    else ": it left no log"
                )
            click.echo(f"[{number}/{len(items)}] {item.run.run_id}: {text}", err=True)

    return show


def _live_table(store: ObjectStore, items: Sequence[Attempted]) -> Table:
    from rich.table import Table

    table = Table("run", "state", "stage", "epoch", "done", box=None, pad_edge=False)
    for item in items:
        progress = _progress_of(store, item.run.run_id) if item.state == "Running" else None
        cells = ["", "", ""]
        if progress is not None:
            epoch = f"{progress.epoch}/{progress.num_epochs}" if progress.epoch is not None else ""
            done = f"{progress.done / progress.total:.0%}" if progress.total else ""
            cells = [progress.stage, epoch, done]
        if item.state in ("Running", "Failed"):
            table.add_row(item.run.run_id, item.state, *cells)
    num_done = sum(item.state == "Succeeded" for item in items)
    table.caption = f"{num_done} of {len(items)} done"
    return table

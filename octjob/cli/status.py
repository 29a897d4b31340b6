"""`octjob status`: where the runs of a sweep stand."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from octjob.storage.base import ObjectStore

_FORMATS = ("table", "wide", "json")


@click.command()
@click.argument("sweep")
@click.option(
    "--watch", is_flag=True, help="Keep the table up to date until every run is finished or failed."
)
@click.option(
    "--interval",
    type=click.FloatRange(min=1),
    default=5.0,
    show_default=True,
    help="Seconds between looks with --watch.",
)
@click.option(
    "-o", "--output", type=click.Choice(_FORMATS), default="table", show_default=True, help="What to print."
)
def status(sweep: str, watch: bool, interval: float, output: str) -> None:
    """Show where each run of SWEEP stands: pending, running, interrupted, failed or succeeded.

    SWEEP is a sweep's URI or directory, or its YAML file. Read from the heartbeats in the store, so it works
    from any machine and for any target. `Stalled?` is a running run that was silent for ten minutes.

    \b
    Example:
      octjob status demo-out/sweeps/demo
      octjob status gs://bucket/sweeps/phase3 --watch
      octjob status sweeps/phase3.yaml -o json
    """
    from octjob.cli.locate import open_sweep
    from octjob.errors import SpecError

    if watch and (output == "json" or not sys.stdout.isatty()):
        raise SpecError("--watch needs a terminal and a table", "Leave out --watch, or -o json and the pipe.")
    store = open_sweep(sweep)
    if watch:
        _watch(store, interval, wide=output == "wide")
    else:
        _show(store, output)


def _show(store: ObjectStore, output: str) -> None:
    from octjob.results.render_status import status_json, status_rich, status_text
    from octjob.results.status import sweep_status

    statuses = sweep_status(store)
    if output == "json":
        click.echo(status_json(store.root, statuses), nl=False)
    elif sys.stdout.isatty():
        from rich.console import Console

        console = Console()
        console.print(status_rich(statuses, console.width, wide=output == "wide"), soft_wrap=True)
    else:
        click.echo(status_text(statuses, wide=output == "wide"), nl=False)


def _watch(store: ObjectStore, interval: float, wide: bool) -> None:
    """Redraw until nothing can change any more, or Ctrl-C."""
    from rich.live import Live

    from octjob.results.render_status import status_rich
    from octjob.results.status import sweep_status

    statuses = sweep_status(store)
    try:
        with Live(auto_refresh=False) as live:
            live.update(status_rich(statuses, live.console.width, wide=wide), refresh=True)
            while not all(one.final for one in statuses):
                time.sleep(interval)
                statuses = sweep_status(store)
                live.update(status_rich(statuses, live.console.width, wide=wide), refresh=True)
    except KeyboardInterrupt:
        click.echo("Stopped watching; the runs go on.", err=True)

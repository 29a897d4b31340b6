"""`octjob status`: where the runs of a sweep stand."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from octjob.cli.cluster import cluster_options

if TYPE_CHECKING:
    from octjob.cli.watch import Read
    from octjob.records.status import RunStatus

_FORMATS = ("table", "wide", "json")


@click.command()
@click.argument("target")
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
@cluster_options
def status(
    target: str, watch: bool, interval: float, output: str, context: str | None, namespace: str | None
) -> None:
    """Show where each run of TARGET stands, and why.

    TARGET is a sweep's URI or directory, or its YAML file; on a cluster also the name of a sweep, a run or
    SWEEP/RUN. A URI or directory is read from the store alone, by heartbeats and results, so it works from any
    machine; everything else of the kubernetes target asks the cluster too. `Stalled?` is a running run that was
    silent for ten minutes, `stuck` one that waiting does not help. With --context or --namespace a URI's sweep is
    looked for on the cluster too.

    \b
    Example:
      octjob status demo-out/sweeps/demo
      octjob status gs://bucket/sweeps/phase3 --watch
      octjob status sweeps/phase3.yaml -o json
      octjob status phase3 -n team-a -o wide
    """
    from octjob.errors import SpecError

    if watch and (output == "json" or not sys.stdout.isatty()):
        raise SpecError("--watch needs a terminal and a table", "Leave out --watch, or -o json and the pipe.")
    read = _reader(target, context, namespace, patient=not watch)
    if watch:
        _watch(read, interval, wide=output == "wide")
    else:
        _show(read, output)


def _reader(target: str, context: str | None, namespace: str | None, *, patient: bool) -> Read:
    """What looks at the target: the store alone, or cluster and store.

    patient: wait for a cluster that does not answer for a while.
    """
    from octjob.targets.kubernetes.refusal import Unreachable
    from octjob.targets.place import open_place, store_words

    try:
        place = open_place(target, context, namespace, retry_s=None if patient else 0.0)
    except Unreachable as error:
        hint = f"{error.hint} `octjob status {store_words(target)}` reads the store alone."
        raise Unreachable(error.message, hint) from None

    def read() -> tuple[str, list[RunStatus]]:
        statuses = place.statuses()
        return place.output, statuses

    return read


def _show(read: Read, output: str) -> None:
    from octjob.cli.status_table import status_json, status_rich, status_text

    sweep, statuses = read()
    if output == "json":
        click.echo(status_json(sweep, statuses), nl=False)
    elif sys.stdout.isatty():
        from rich.console import Console

        console = Console()
        console.print(status_rich(statuses, console.width, wide=output == "wide"), soft_wrap=True)
    else:
        click.echo(status_text(statuses, wide=output == "wide"), nl=False)


def _watch(read: Read, interval: float, wide: bool) -> None:
    """Redraw until nothing can change any more, or Ctrl-C."""
    from rich.live import Live
    from rich.text import Text

    from octjob.cli.status_table import status_rich
    from octjob.cli.watch import watch

    def show(statuses: list[RunStatus], trouble: str) -> None:
        text = status_rich(statuses, live.console.width, wide=wide)
        if trouble:
            text = Text.assemble((f"{trouble}\n", "bold yellow"), text)
        live.update(text, refresh=True)

    try:
        with Live(auto_refresh=False) as live:
            watch(read, show, interval)
    except KeyboardInterrupt:
        click.echo("Stopped watching; the runs go on.", err=True)

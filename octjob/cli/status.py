"""`octjob status`: where the runs of a sweep stand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from octjob.cli.cluster import cluster_options
from octjob.cli.complete import complete_target
from octjob.cli.prices import prices_option, read_table

if TYPE_CHECKING:
    from octjob.cli.watch import Read
    from octjob.records.status import RunStatus
    from octjob.targets.place import Place
    from octjob.targets.prices import Prices

_FORMATS = ("table", "wide", "json")


@click.command()
@click.argument("target", shell_complete=complete_target)
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
@prices_option
@cluster_options
def status(
    target: str,
    watch: bool,
    interval: float,
    output: str,
    prices: Path | None,
    context: str | None,
    namespace: str | None,
) -> None:
    """Show where each run of TARGET stands, and why.

    TARGET is a sweep's URI or directory, or its YAML file; on a cluster also the name of a sweep, a run or
    SWEEP/RUN. A URI or directory is read from the store alone, by heartbeats and results, so it works from any
    machine; everything else of the kubernetes target asks the cluster too. `Stalled?` is a running run that was
    silent for ten minutes, `stuck` one that waiting does not help. With --context or --namespace a URI's sweep is
    looked for on the cluster too. On a cluster of GKE links to console and logs follow the table, and where a price
    table is, what the runs have used so far.

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
    table = read_table(prices)
    place = _open(target, context, namespace, patient=not watch)
    if watch:
        _watch(_reader(place), interval, wide=output == "wide")
    else:
        _show(place, table, output)


def _open(target: str, context: str | None, namespace: str | None, *, patient: bool) -> Place:
    """Where the target can be looked at: the store alone, or cluster and store.

    patient: wait for a cluster that does not answer for a while.
    """
    from octjob.targets.kubernetes.refusal import Unreachable
    from octjob.targets.place import open_place, store_words

    try:
        return open_place(target, context, namespace, retry_s=None if patient else 0.0)
    except Unreachable as error:
        hint = f"{error.hint} `octjob status {store_words(target)}` reads the store alone."
        raise Unreachable(error.message, hint) from None


def _reader(place: Place) -> Read:
    def read() -> tuple[str, list[RunStatus]]:
        statuses = place.statuses()
        return place.output, statuses

    return read


def _show(place: Place, table: Prices | None, output: str) -> None:
    from octjob.cli.footer import read_footer
    from octjob.cli.status_table import status_json, status_rich, status_text

    sweep, statuses = _reader(place)()
    footer = read_footer(place, statuses, table)
    if output == "json":
        click.echo(status_json(sweep, statuses, footer.as_json()), nl=False)
        return
    if sys.stdout.isatty():
        from rich.console import Console

        console = Console()
        console.print(status_rich(statuses, console.width, wide=output == "wide"), soft_wrap=True)
    else:
        click.echo(status_text(statuses, wide=output == "wide"), nl=False)
    for line in footer.lines():
        click.echo(line)


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

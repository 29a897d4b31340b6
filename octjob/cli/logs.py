"""`octjob logs`: what a run says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from octjob.cli.cluster import cluster_options
from octjob.cli.complete import complete_target
from octjob.errors import SpecError

if TYPE_CHECKING:
    from octjob.targets.runlog import RunLog


@click.command()
@click.argument("run", shell_complete=complete_target)
@click.option("--worker", type=click.IntRange(0), metavar="N", help="Only this host of the slice; 0 leads.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends, through restarts.")
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="Of this attempt; default the latest.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only the last lines of each worker.")
@cluster_options
def logs(
    run: str,
    worker: int | None,
    follow: bool,
    attempt: int | None,
    tail: int | None,
    context: str | None,
    namespace: str | None,
) -> None:
    """Show the log of RUN: of all workers, merged as it arrives, each line after the worker's number.

    RUN is a run on a cluster (CHECKPOINT.CONFIG, a run id or SWEEP/RUN), SWEEP.yaml/RUN, or a run's URI, which
    means the store alone. A restart deletes pods, so earlier attempts come from the store; so does the latest
    once its pods are gone.

    \b
    Example:
      octjob logs phase3/multi_domain.logistic --follow
      octjob logs multi_domain.logistic --worker 0 --tail 50
      octjob logs sweeps/phase3.yaml/multi_domain.logistic --attempt 1
      octjob logs demo-out/sweeps/demo/runs/multi_domain.logistic-b4338bba
    """
    from octjob.targets.place import open_run
    from octjob.targets.runlog import Wanted

    if follow and attempt is not None:
        raise SpecError(
            "--follow and --attempt exclude each other", "Earlier attempts have ended; leave out one."
        )
    _print(open_run(run, context, namespace).logs(Wanted(worker, attempt, tail, follow), _say))


def _print(log: RunLog) -> None:
    try:
        for line in log.lines:
            prefix = f"[{line.worker}] " if log.numbered else ""
            click.echo(prefix + line.text.decode(errors="replace"))
    except KeyboardInterrupt:
        click.echo("Stopped reading; the run goes on.", err=True)


def _say(text: str) -> None:
    click.echo(text, err=True)

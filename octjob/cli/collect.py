"""`octjob collect`: the leaderboard of a sweep."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from octjob import env
from octjob.catalog import DEFAULT, RANKING
from octjob.cli.cluster import cluster_options
from octjob.cli.complete import complete_target
from octjob.cli.duration import DURATION

if TYPE_CHECKING:
    from octjob.cli.notify import Told
    from octjob.leaderboard.board import Leaderboard
    from octjob.records.wait import Standings
    from octjob.storage.base import ObjectStore
    from octjob.targets.place import Place

_FORMATS = ("table", "wide", "json", "csv", "md")


@click.command()
@click.argument("sweep", shell_complete=complete_target)
@click.option("--metric", type=click.Choice(RANKING), default=DEFAULT, show_default=True, help="Rank by it.")
@click.option(
    "-o", "--output", type=click.Choice(_FORMATS), default="table", show_default=True, help="What to print."
)
@click.option("--no-publish", is_flag=True, help="Only print; write nothing to the store.")
@click.option("--wait", is_flag=True, help="First wait until every run has a result or has failed.")
@click.option(
    "--timeout", type=DURATION, default="24h", show_default=True, help="With --wait: at most this long."
)
@click.option(
    "--notify",
    multiple=True,
    metavar="[slack=]URL",
    envvar=env.NOTIFY_URL,
    show_envvar=True,
    help="Post an event there when a run or the sweep has ended; may be given again.",
)
@cluster_options
def collect(
    sweep: str,
    metric: str,
    output: str,
    no_publish: bool,
    wait: bool,
    timeout: float,
    notify: tuple[str, ...],
    context: str | None,
    namespace: str | None,
) -> None:
    """Join the results of SWEEP into a leaderboard, print it and store it beside the runs.

    SWEEP is a sweep's URI or directory, its YAML file, or its name on a cluster. Every run has a row; those that
    collapsed, have no signal, failed, cannot be read or have no result yet have no rank. The files go to
    SWEEP/leaderboard/ as CSV, Markdown, JSON and Parquet, and as report.html, a page to look at. Where a
    configuration has log.wandb, the page is also logged to W&B, if it is installed and has a key; else one line says
    why not. Exits with 5 if runs failed or cannot be read, with 75 if --timeout passed first.

    With --notify every run that has ended, and the sweep once all have, is told to the URL as a CloudEvents event, or
    as a message where the URL is Slack's. What was told is remembered in the store, by whichever collector.

    \b
    Example:
      octjob collect gs://bucket/sweeps/phase3
      octjob collect sweeps/phase3.yaml --metric balanced_accuracy -o wide
      octjob collect phase3 --wait --timeout 2d
      octjob collect phase3 --wait --notify https://example.org/hook
      octjob collect gs://bucket/sweeps/phase3 -o csv --no-publish > phase3.csv
    """
    from octjob.cli.notify import telling

    place = _open(sweep, wait, context, namespace)
    with telling(place, notify, publish=not no_publish) as told:
        seen = _wait(place, told, timeout) if wait else None
        leaderboard = print_leaderboard(place.store, metric, output, publish=not no_publish)
        problems = told.finish(leaderboard.headline.text, waited=wait) if told else []
    for one in problems:
        click.echo(f"Not notified: {one.message}", err=True)
    _report_unfinished(leaderboard, sweep, seen)
    if problems:
        raise problems[0]


def _open(sweep: str, wait: bool, context: str | None, namespace: str | None) -> Place:
    """Where the sweep is; the cluster is asked only where it must be."""
    from octjob.records.find import open_sweep
    from octjob.spec.file import is_sweep_file
    from octjob.targets.place import StorePlace, open_place

    if is_sweep_file(sweep) and not wait:
        place: Place = StorePlace(open_sweep(sweep))
    else:
        place = open_place(sweep, context, namespace)
        if context is not None or namespace is not None:
            place = _there(place, sweep)
    place.require_sweep()
    return place


def _there(place: Place, sweep: str) -> Place:
    """A sweep given by its URI, and a cluster: the store alone once nothing of it is on the cluster any more."""
    from octjob.records.find import open_sweep
    from octjob.targets.kubernetes.select import NoSuchTarget, is_store
    from octjob.targets.place import StorePlace

    if not is_store(sweep):
        return place
    store = open_sweep(sweep)
    try:
        if place.store.root == store.root:
            return place
        said = f"the sweep of this name on the cluster has its results in {place.output}"
    except NoSuchTarget as error:
        said = error.message
    click.echo(f"{said}; reading the store alone", err=True)
    return StorePlace(store)


def _wait(place: Place, told: Told | None, timeout_s: float) -> Standings:
    from octjob.records.wait import wait_for_results

    look = place.standings if told is None else told.standings
    return wait_for_results(look, timeout_s, lambda line: click.echo(line, err=True))


def print_leaderboard(
    store: ObjectStore, metric: str = DEFAULT, output: str = "table", *, publish: bool = True
) -> Leaderboard:
    """Collect a sweep, print it and, unless told otherwise, store the table beside the runs."""
    from octjob.doctor.glance import glance
    from octjob.leaderboard import collect as collecting

    leaderboard = collecting.collect(store, metric, glance)
    _show(leaderboard, output)
    if publish:
        first = collecting.publish(store, leaderboard)[0]
        stored = f"{first.removesuffix('csv')}{{csv,md,json,parquet}}"
        click.echo(f"Stored as {stored}, to look at as report.html beside them", err=True)
        _log_report(store, leaderboard)
    return leaderboard


def _log_report(store: ObjectStore, leaderboard: Leaderboard) -> None:
    """The stored page to W&B, where a configuration has log.wandb. What is in the way is said and costs nothing."""
    log = leaderboard.methods.wandb
    if log is None:
        return
    from octjob.leaderboard.published import is_logged, mark_logged, read_page
    from octjob.tracking.access import is_offline, why_not

    if why := why_not():
        click.echo(f"Not logged to W&B, which log.wandb asks for: {why}.", err=True)
        return
    page = read_page(store)
    if is_logged(store, page, log):
        click.echo(f"W&B project {log.wandb_project} has this report already.", err=True)
        return
    from octjob.errors import AccessError
    from octjob.tracking.report import log_report

    facts = {"sweep": store.root, "metric": leaderboard.metric, "headline": leaderboard.headline.text}
    try:
        log_report(leaderboard.sweep, log, "report.html", page, facts)
    except AccessError as error:
        click.echo(f"Not logged to W&B, which log.wandb asks for: {error.message}. {error.hint}", err=True)
        return
    if not is_offline():
        mark_logged(store, page, log)
    where = (
        f"{os.environ['WANDB_DIR']}, for `wandb sync`" if is_offline() else f"W&B project {log.wandb_project}"
    )
    click.echo(f"Logged the report to {where}.", err=True)


def _show(leaderboard: Leaderboard, output: str) -> None:
    from octjob.leaderboard import export, terminal

    if output in ("json", "csv", "md"):
        encode = {"json": export.to_json, "csv": export.to_csv, "md": export.to_markdown}[output]
        click.echo(encode(leaderboard), nl=False)
    elif sys.stdout.isatty():
        from rich.console import Console

        terminal.print_rich(leaderboard, Console(), wide=output == "wide")
    else:
        click.echo(terminal.to_text(leaderboard, wide=output == "wide"), nl=False)


def _report_unfinished(leaderboard: Leaderboard, sweep: str, seen: Standings | None) -> None:
    """Say which runs have no result. seen: what --wait saw last.

    Raises `FailedRunsError` where runs failed or cannot be read, and after --wait where runs will not come.
    """
    from octjob.errors import FailedRunsError

    total = len(leaderboard.rows)
    still_open = [row.state for row in leaderboard.in_state("Pending", "Running", "Interrupted")]
    if still_open:
        parts = ", ".join(f"{still_open.count(state)} {state}" for state in dict.fromkeys(still_open))
        click.echo(f"Without a result yet: {len(still_open)} of {total} runs ({parts}).", err=True)
    unreadable = [row.run_id for row in leaderboard.in_state("Unreadable")]
    failed = [row.run_id for row in leaderboard.in_state("Failed")]
    lost: Sequence[str] = ()
    if seen is not None:
        # A run that was killed could not say so in the store; the cluster knows.
        failed = sorted({*failed, *seen.failed} - set(seen.gone))
        lost = seen.gone
    if failed:
        raise FailedRunsError(
            f"{len(failed)} of {total} runs failed: {_some(failed)}",
            f"`octjob status {sweep}` says why; submit the sweep again once mended: finished runs are kept.",
        )
    if unreadable:
        raise FailedRunsError(
            f"{len(unreadable)} of {total} runs cannot be read: {_some(unreadable)}",
            "Their rows say which object. Restore it, or delete the run's predictions.parquet and result.json and"
            " submit the sweep again.",
        )
    if lost:
        raise FailedRunsError(
            f"{len(lost)} of {total} runs have neither a result nor a JobSet: {_some(lost)}",
            "They were cancelled, removed or never submitted; submitting the sweep again continues them.",
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")

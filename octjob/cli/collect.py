"""`octjob collect`: the leaderboard of a sweep."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from octjob.results.leaderboard import Leaderboard
    from octjob.storage.base import ObjectStore

_METRICS = ("macro_auroc", "balanced_accuracy", "macro_f1", "accuracy", "quadratic_kappa")
_FORMATS = ("table", "wide", "json", "csv", "md")


@click.command()
@click.argument("sweep")
@click.option(
    "--metric", type=click.Choice(_METRICS), default=_METRICS[0], show_default=True, help="Rank by it."
)
@click.option(
    "-o", "--output", type=click.Choice(_FORMATS), default="table", show_default=True, help="What to print."
)
@click.option("--no-publish", is_flag=True, help="Only print; write nothing to the store.")
def collect(sweep: str, metric: str, output: str, no_publish: bool) -> None:
    """Join the results of SWEEP into a leaderboard, print it and store it beside the runs.

    SWEEP is a sweep's URI or directory, or its YAML file. Every run has a row; those that collapsed, cannot
    be told from chance, failed or are missing have no rank. The files go to SWEEP/leaderboard/ as CSV,
    Markdown, JSON and Parquet. Exits with 5 if runs failed.

    \b
    Example:
      octjob collect gs://bucket/sweeps/phase3
      octjob collect sweeps/phase3.yaml --metric balanced_accuracy -o wide
      octjob collect gs://bucket/sweeps/phase3 -o csv --no-publish > phase3.csv
    """
    from octjob.cli.locate import open_sweep

    leaderboard = print_leaderboard(open_sweep(sweep), metric, output, publish=not no_publish)
    _report_unfinished(leaderboard, sweep)


def print_leaderboard(
    store: ObjectStore, metric: str = _METRICS[0], output: str = "table", *, publish: bool = True
) -> Leaderboard:
    """Collect a sweep, print it and, unless told otherwise, store the table beside the runs."""
    from octjob.results import collect as collecting

    leaderboard = collecting.collect(store, metric)
    _show(leaderboard, output)
    if publish:
        first = collecting.publish(store, leaderboard)[0]
        click.echo(f"Stored as {first.removesuffix('csv')}{{csv,md,json,parquet}}", err=True)
    return leaderboard


def _show(leaderboard: Leaderboard, output: str) -> None:
    from octjob.results import export, render

    if output in ("json", "csv", "md"):
        encode = {"json": export.to_json, "csv": export.to_csv, "md": export.to_markdown}[output]
        click.echo(encode(leaderboard), nl=False)
    elif sys.stdout.isatty():
        from rich.console import Console

        render.print_rich(leaderboard, Console(), wide=output == "wide")
    else:
        click.echo(render.to_text(leaderboard, wide=output == "wide"), nl=False)


def _report_unfinished(leaderboard: Leaderboard, sweep: str) -> None:
    from octjob.errors import FailedRunsError

    total = len(leaderboard.rows)
    open_rows = leaderboard.in_state("missing", "running", "interrupted")
    if open_rows:
        counts = {state: sum(row.state == state for row in open_rows) for state in ("missing", "running")}
        counts["interrupted"] = len(open_rows) - sum(counts.values())
        parts = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        click.echo(f"Without a result yet: {len(open_rows)} of {total} runs ({parts}).", err=True)
    failed = leaderboard.in_state("failed")
    if failed:
        names = ", ".join(row.run_id for row in failed[:5]) + (" ..." if len(failed) > 5 else "")
        raise FailedRunsError(
            f"{len(failed)} of {total} runs failed: {names}",
            f"`octjob status {sweep}` says why; submit the sweep again once mended: finished runs are kept.",
        )

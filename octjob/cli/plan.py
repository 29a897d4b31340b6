"""`octjob plan`: what a sweep would run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from octjob.plan.expand import Plan

MATRIX = click.option(
    "--matrix",
    "-f",
    "matrix",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The sweep file.",
)


@click.command()
@MATRIX
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--offline", is_flag=True, help="Do not ask the store which runs are finished.")
def plan(matrix: Path, output: str, offline: bool) -> None:
    """Expand a sweep into its runs, one per checkpoint and configuration, and submit nothing.

    Shows what is finished, and names every key that is set without any effect.

    \b
    Example:
      octjob plan --matrix sweeps/phase3.yaml
      octjob plan --matrix sweeps/phase3.yaml --offline -o json
    """
    from octjob.plan.expand import plan_sweep

    planned = plan_sweep(matrix)
    finished: set[str] | None = None
    if not offline:
        from octjob.results.layout import finished_runs
        from octjob.storage.open import open_store

        finished = finished_runs(open_store(planned.output))
    if output == "json":
        click.echo(json.dumps(_as_json(planned, finished), indent=1))
    else:
        _print_table(planned, finished)


def _as_json(planned: Plan, finished: set[str] | None) -> dict[str, Any]:
    return {
        "name": planned.name,
        "output": planned.output,
        "cache": planned.cache,
        "baseline": planned.baseline,
        "runs": [
            {
                **run.model_dump(mode="json"),
                "uri": f"{planned.output}/runs/{run.run_id}",
                "mode": run.config.mode,
                "finished": None if finished is None else run.run_id in finished,
            }
            for run in planned.runs
        ],
    }


def _print_table(planned: Plan, finished: set[str] | None) -> None:
    from octjob.cli.table import print_table

    rows = [
        (
            run.checkpoint_name,
            run.config_name,
            run.config.mode,
            run.config.train.optimizer,
            f"{len(run.seeds)}x{max(1, run.folds)}",
            "?" if finished is None else "finished" if run.run_id in finished else "to do",
            run.run_id.rpartition("-")[2],
        )
        for run in planned.runs
    ]
    print_table(
        ("checkpoint", "config", "mode", "optimizer", "seeds x folds", "state", "id"), rows, sys.stdout
    )
    done = "?" if finished is None else sum(run.run_id in finished for run in planned.runs)
    click.echo(f"\n{len(planned.runs)} runs, {done} finished; results in {planned.output}")
    notes: dict[str, list[str]] = {}
    for run in planned.runs:
        for note in run.notes:
            notes.setdefault(note, [])
            if run.config_name not in notes[note]:
                notes[note].append(run.config_name)
    num_configs = len({run.config_name for run in planned.runs})
    for note, configs in notes.items():
        where = "every config" if len(configs) == num_configs else ", ".join(configs)
        click.echo(f"note: {note} ({where})")

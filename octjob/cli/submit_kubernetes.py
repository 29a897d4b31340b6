"""`octjob submit` for target kubernetes: connect, submit, say what became of every run."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from octjob.plan.expand import Plan
    from octjob.spec.run import Run
    from octjob.targets.kubernetes.api import Cluster
    from octjob.targets.kubernetes.submission.batch import Listener
    from octjob.targets.kubernetes.submission.submit import Submitted


def submit_kubernetes(
    planned: Plan,
    matrix: Path,
    cluster: Cluster,
    *,
    update: bool,
    dry_run: bool,
    as_json: bool,
    flags: str,
) -> None:
    """Submit a plan; warnings and progress go to standard error.

    flags: what the user must add to further commands to reach the same place.

    Raises what `octjob.targets.kubernetes.submission.submit.submit` does.
    """
    from octjob.spec.yaml import load
    from octjob.storage.open import open_store
    from octjob.targets.kubernetes.documents.settings import resolve_settings
    from octjob.targets.kubernetes.submission.submit import submit

    settings = resolve_settings(planned.compute, load(matrix))
    store = open_store(planned.output)
    with _progress() as listener:
        done = submit(
            planned,
            cluster,
            store,
            settings,
            update=update,
            only_check=dry_run,
            file=shlex.quote(str(matrix)),
            listener=listener,
        )
    for text in done.warnings:
        click.echo(f"warning: {text}", err=True)
    if as_json:
        click.echo(json.dumps(as_document(planned, cluster, done, dry_run=dry_run), indent=1))
    else:
        _print_text(planned, done, flags, dry_run=dry_run)


def as_document(planned: Plan, cluster: Cluster, done: Submitted, *, dry_run: bool) -> dict[str, Any]:
    """What happened, for programs: every run with its JobSet and state."""
    from octjob.targets.kubernetes.documents.names import jobset_name

    states = {run.run_id: state for state, runs in _groups(done, dry_run=dry_run) for run in runs}
    return {
        "sweep": planned.name,
        "context": cluster.context,
        "namespace": done.namespace,
        "output": planned.output,
        "dry_run": dry_run,
        "runs": [
            {"run": run.run_id, "jobset": jobset_name(run.sweep, run.run_id), "state": states[run.run_id]}
            for run in planned.runs
        ],
        "warnings": list(done.warnings),
    }


def _groups(done: Submitted, *, dry_run: bool) -> list[tuple[str, tuple[Run, ...]]]:
    return [
        ("would be created" if dry_run else "created", done.created),
        ("already there", done.there),
        ("there with other settings", done.kept),
        ("ended without a result", done.ended),
        ("finished", done.finished),
    ]


def _print_text(planned: Plan, done: Submitted, flags: str, *, dry_run: bool) -> None:
    counts = ", ".join(f"{len(runs)} {state}" for state, runs in _groups(done, dry_run=dry_run) if runs)
    num_runs = f"{len(planned.runs)} run{'' if len(planned.runs) == 1 else 's'}"
    click.echo(f"{planned.name}: {num_runs}: {counts}")
    if dry_run:
        for run in done.created:
            click.echo(f"  {run.run_id}")
    for command in _next_commands(planned, done, flags, dry_run=dry_run):
        click.echo(f"  {command}")


def _next_commands(planned: Plan, done: Submitted, flags: str, *, dry_run: bool) -> list[str]:
    """What a person may want to type now."""
    from octjob.targets.kubernetes.documents.names import label_value

    commands = []
    if done.ended:
        commands.append(f"octjob retry {planned.name} --failed{flags}")
    if len(done.finished) == len(planned.runs):
        return [f"octjob collect {planned.output}"]
    if dry_run:
        return commands
    selector = f"octjob.dev/sweep={label_value(planned.name)}"
    return [
        *commands,
        f"octjob status {planned.name} --watch{flags}",
        f"kubectl{flags} get jobsets -l {selector}",
    ]


@contextmanager
def _progress() -> Iterator[Listener]:
    """One line on a terminal that says how far it is; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    try:
        yield lambda what, done, total: click.echo(f"\r\033[K{what} {done} of {total}", nl=False, err=True)
    finally:
        click.echo("\r\033[K", nl=False, err=True)

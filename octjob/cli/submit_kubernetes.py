"""`octjob submit` for target kubernetes: connect, submit, say what became of every run."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from octjob.spec.expand import Plan
    from octjob.spec.run import Run
    from octjob.targets.kubernetes.api import Cluster, Document
    from octjob.targets.kubernetes.submission.batch import OnBatch
    from octjob.targets.kubernetes.submission.submit import Submitted

_NUM_NAMED = 8


def submit_kubernetes(
    planned: Plan,
    matrix: Path,
    cluster: Cluster,
    *,
    update: bool,
    cancel_superseded: bool | None,
    dry_run: bool,
    as_json: bool,
    flags: str,
) -> None:
    """Submit a plan; warnings, notes and progress go to standard error.

    cancel_superseded: None asks where somebody can answer, else keeps. flags: what the user must add to further
    commands to reach the same place.

    Raises what `octjob.targets.kubernetes.submission.submit.submit` does.
    """
    from octjob.cli.plan import slice_notes
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
            give_up=_asking(planned.name, flags, cancel_superseded, dry_run=dry_run, ask=not as_json),
            listener=listener,
        )
    for text in done.warnings:
        click.echo(f"warning: {text}", err=True)
    for line in slice_notes(planned):
        click.echo(line, err=True)
    if as_json:
        click.echo(json.dumps(as_document(planned, cluster, done, dry_run=dry_run), indent=1))
    else:
        _print_text(planned, done, flags, dry_run=dry_run)


def _asking(
    sweep: str, flags: str, chosen: bool | None, *, dry_run: bool, ask: bool
) -> Callable[[Sequence[Document]], bool]:
    """Says which superseded runs there are, before anything is created, and whether they are to be cancelled."""

    def give_up(jobsets: Sequence[Document]) -> bool:
        from octjob.targets.kubernetes.select import annotation

        runs = [annotation(one, "run") for one in jobsets]
        many = len(runs) > 1
        shown = ", ".join(runs[:_NUM_NAMED]) + (", ..." if len(runs) > _NUM_NAMED else "")
        text = (
            f"{len(runs)} run{'s' if many else ''} of an earlier submission {'are' if many else 'is'} no longer in"
            f" {sweep} and hold{'' if many else 's'} a slice or wait{'' if many else 's'} for one: {shown}"
        )
        if chosen:
            click.echo(f"{text}; {'would be' if dry_run else 'are'} cancelled", err=True)
            return True
        if chosen is None and ask and not dry_run and sys.stdin.isatty():
            return click.confirm(f"{text}. Cancel {'them' if many else 'it'}?", err=True)
        targets = " ".join(f"{sweep}/{run}" for run in runs[:_NUM_NAMED])
        click.echo(f"warning: {text}; `octjob cancel {targets}{flags}` frees their chips", err=True)
        return False

    return give_up


def as_document(planned: Plan, cluster: Cluster, done: Submitted, *, dry_run: bool) -> dict[str, Any]:
    """What happened, for programs: every run with its JobSet and state."""
    from octjob.targets.kubernetes.documents.names import jobset_name
    from octjob.targets.kubernetes.select import annotation

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
        "encodings": [
            {"run": one.run_id, "jobset": jobset_name(one.sweep, one.run_id), "state": states[one.run_id]}
            for one in planned.encodings
            if one.run_id in states
        ],
        "superseded": [
            {
                "run": annotation(one, "run"),
                "jobset": one["metadata"]["name"],
                "state": "cancelled" if done.cancelled else "kept",
            }
            for one in done.superseded
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
    num_runs = _counted(len(planned.runs), "run")
    if num := sum(bool(one.encodes) for _, runs in _groups(done, dry_run=dry_run) for one in runs):
        num_runs += f" and {_counted(num, 'encoding')}"
    click.echo(f"{planned.name}: {num_runs}: {counts}")
    if dry_run:
        for run in done.created:
            click.echo(f"  {run.run_id}")
    for command in _next_commands(planned, done, flags, dry_run=dry_run):
        click.echo(f"  {command}")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


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
def _progress() -> Iterator[OnBatch]:
    """One line on a terminal that says how far it is; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    try:
        yield lambda what, done, total: click.echo(f"\r\033[K{what} {done} of {total}", nl=False, err=True)
    finally:
        click.echo("\r\033[K", nl=False, err=True)

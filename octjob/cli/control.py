"""`octjob cancel`, `pause`, `resume` and `retry`: change what a submitted sweep does on a cluster."""

from __future__ import annotations

import functools
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from octjob.cli.cluster import cluster_options, connect
from octjob.cli.complete import complete_target

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster, Document
    from octjob.targets.kubernetes.control import Outcome
    from octjob.targets.kubernetes.select import Selection

_TARGETS = click.argument(
    "targets", metavar="TARGET...", nargs=-1, required=True, shell_complete=complete_target
)
_OUTPUT = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
)

# What is done to the runs of one TARGET.
Act = Callable[["Cluster", "Selection"], "Sequence[Outcome]"]


@click.command()
@_TARGETS
@click.option("-y", "--yes", is_flag=True, help="Do not ask before a whole sweep is cancelled.")
@click.option("--no-wait", is_flag=True, help="Do not wait until pods and JobSets are gone.")
@_OUTPUT
@cluster_options
def cancel(
    targets: Sequence[str], yes: bool, no_wait: bool, output: str, context: str | None, namespace: str | None
) -> None:
    """Stop runs: delete their JobSets; everything in the store stays.

    TARGET is a sweep (phase3), a run (multi_domain.logistic, or phase3/multi_domain.logistic) or a sweep file. A
    running run gets SIGTERM and saves its state: submitted again, it continues. Runs that have ended are left alone.

    \b
    Example:
      octjob cancel multi_domain.logistic
      octjob cancel phase3 --yes
    """

    def act(cluster: Cluster, selection: Selection) -> Sequence[Outcome]:
        from octjob.targets.kubernetes.control import cancel as cancel_runs
        from octjob.targets.kubernetes.phase import phase

        phases = [phase(one) for one in selection.jobsets]
        alive = sum(one.allows("cancel") and one.name != "ending" for one in phases)
        if selection.entire and alive and not yes:
            count = "1 run" if alive == 1 else f"{alive} runs"
            _confirm(f"Cancel {count} of sweep {selection.sweep} in namespace {cluster.namespace}?")
        listener = _progress("their pods have two minutes to save")
        return cancel_runs(
            cluster,
            selection.jobsets,
            finished=_finished(selection),
            wait=not no_wait,
            listener=listener,
        )

    _carry_out(targets, context, namespace, output, act)


def _finished(selection: Selection) -> Callable[[], set[str] | None]:
    """Gives the ids of the runs with a result; the store is asked once, and only where that matters.

    None where it does not answer: that must not keep a slice from being freed.
    """

    @functools.cache
    def ask() -> set[str] | None:
        from octjob.errors import AccessError
        from octjob.records.layout import finished_runs
        from octjob.storage.open import open_store

        try:
            return finished_runs(open_store(selection.output))
        except AccessError:
            return None

    return ask


@click.command()
@_TARGETS
@_OUTPUT
@cluster_options
def pause(targets: Sequence[str], output: str, context: str | None, namespace: str | None) -> None:
    """Stop runs for now: they save their state, give their chips back and keep their JobSets.

    TARGET is a sweep, a run or a sweep file. Works for runs queued by Kueue. Paused runs stay so until `octjob
    resume`.

    \b
    Example:
      octjob pause multi_domain.finetune
      octjob pause phase3
    """
    _set_active(targets, False, output, context, namespace)


@click.command()
@_TARGETS
@_OUTPUT
@cluster_options
def resume(targets: Sequence[str], output: str, context: str | None, namespace: str | None) -> None:
    """Let paused runs go on: they queue again and continue where they were.

    TARGET is a sweep, a run or a sweep file.

    \b
    Example:
      octjob resume phase3
    """
    _set_active(targets, True, output, context, namespace)


@click.command()
@_TARGETS
@click.option(
    "--failed", is_flag=True, help="Only runs that ended without a result: what is done anyway, said aloud."
)
@_OUTPUT
@cluster_options
def retry(
    targets: Sequence[str], failed: bool, output: str, context: str | None, namespace: str | None
) -> None:
    """Run runs again that ended without a result; they continue from their last saved state.

    Such a run has failed, or its pods ended with 0 all the same, or it took longer than
    compute.max_runtime_hours allows.

    TARGET is a sweep, a run or a sweep file. The same JobSet is created anew; with a sweep file, the JobSet that the
    file says now. Other runs are left alone; naming one is an error.

    \b
    Example:
      octjob retry phase3 --failed
      octjob retry multi_domain.logistic
      octjob retry sweeps/phase3.yaml
    """

    def act(cluster: Cluster, selection: Selection) -> Sequence[Outcome]:
        from octjob.storage.open import open_store
        from octjob.targets.kubernetes.retry import retry as retry_runs

        remake = _rendering(cluster, selection.file) if selection.file else None
        listener = _progress("deleted first, then created anew")
        return retry_runs(cluster, selection, open_store(selection.output), remake, listener)

    _carry_out(targets, context, namespace, output, act)


def _set_active(
    targets: Sequence[str], active: bool, output: str, context: str | None, namespace: str | None
) -> None:
    def act(cluster: Cluster, selection: Selection) -> Sequence[Outcome]:
        from octjob.targets.kubernetes.control import set_active

        return set_active(cluster, selection, active, finished=_finished(selection))

    _carry_out(targets, context, namespace, output, act)


def _rendering(cluster: Cluster, file: Path) -> Callable[[Document], Document]:
    """Gives the JobSet of a run as its sweep file says it now."""
    from octjob.spec.expand import plan_sweep
    from octjob.spec.yaml import load
    from octjob.targets.kubernetes.documents.settings import resolve_settings
    from octjob.targets.kubernetes.submission.submit import render_plan

    planned = plan_sweep(file)
    jobsets, notes = render_plan(planned, cluster, resolve_settings(planned.compute, load(file)))
    for note in notes:
        click.echo(f"warning: {note}", err=True)

    def of(jobset: Document) -> Document:
        from octjob.errors import SpecError
        from octjob.targets.kubernetes.select import annotation

        run = annotation(jobset, "run")
        if run not in jobsets:
            raise SpecError(
                f"run {run} has failed, but {file} has no such run any more",
                f"`octjob retry {planned.name}/{run}{cluster.flags}` runs it as it was; `octjob submit -f"
                f" {shlex.quote(str(file))}{cluster.flags} --update` runs the changed one.",
            )
        return jobsets[run]

    return of


def _carry_out(
    targets: Iterable[str], context: str | None, namespace: str | None, output: str, act: Act
) -> None:
    """Select, act and print, one TARGET after the other."""
    from octjob.targets.kubernetes.select import select

    done = []
    for target in targets:
        cluster = connect(context, namespace, target)
        selection = select(cluster, target)
        outcomes = act(cluster, selection)
        done.append({"sweep": selection.sweep, "runs": [asdict(one) for one in outcomes]})
        if output == "table":
            _print(selection, outcomes)
    if output == "json":
        click.echo(json.dumps(done, indent=1))


def _print(selection: Selection, outcomes: Sequence[Outcome]) -> None:
    """One line per changed run, and how many were left alone for which reason."""
    if not outcomes:
        click.echo(f"{selection.sweep}: no run on the cluster")
    for one in outcomes:
        if one.action != "unchanged":
            click.echo(f"{one.action} {one.run}" + (f" ({one.reason})" if one.reason else ""))
    unchanged = [one for one in outcomes if one.action == "unchanged"]
    if len(outcomes) == len(unchanged) == 1:
        click.echo(f"{unchanged[0].run} {unchanged[0].reason}; nothing done")
        if unchanged[0].hint:
            click.echo(f"hint: {unchanged[0].hint}", err=True)
        return
    for reason in dict.fromkeys(one.reason for one in unchanged):
        click.echo(f"left alone: {sum(one.reason == reason for one in unchanged)} ({reason})")


def _confirm(question: str) -> None:
    """Ask on a terminal; elsewhere nobody could answer.

    Raises:
        SpecError: no terminal.
        click.Abort: the answer is no.
    """
    from octjob.errors import SpecError

    if not sys.stdin.isatty():
        raise SpecError(f"{question} Not asked: no terminal", "Add --yes.")
    click.confirm(question, abort=True, err=True)


def _progress(what: str) -> Callable[[int], None]:
    """Says how many runs are left each time that changes."""
    said = 0

    def show(left: int) -> None:
        nonlocal said
        if left and left != said:
            click.echo(f"waiting for {left}: {what}", err=True)
        said = left

    return show

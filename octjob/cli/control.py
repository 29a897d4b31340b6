"""`octjob cancel`, `pause`, `resume` and `retry`: change what a submitted sweep does on a cluster."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from octjob.cli.cluster import cluster_options
from octjob.cli.complete import complete_target

if TYPE_CHECKING:
    from octjob.targets.kubernetes.control import Outcome
    from octjob.targets.kubernetes.place import ClusterPlace

_TARGETS = click.argument(
    "targets", metavar="TARGET...", nargs=-1, required=True, shell_complete=complete_target
)
_OUTPUT = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
)

# What is done to the runs of one TARGET.
Act = Callable[["ClusterPlace"], "Sequence[Outcome]"]


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

    def act(place: ClusterPlace) -> Sequence[Outcome]:
        selection, alive = place.selection, place.num_to_cancel()
        if selection.entire and alive and not yes:
            count = "1 run" if alive == 1 else f"{alive} runs"
            _confirm(f"Cancel {count} of sweep {selection.sweep} in namespace {place.cluster.namespace}?")
        return place.cancel(wait=not no_wait, listener=_progress("their pods have two minutes to save"))

    _carry_out(targets, context, namespace, output, act)


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

    def act(place: ClusterPlace) -> Sequence[Outcome]:
        return place.retry(_warn, _progress("deleted first, then created anew"))

    _carry_out(targets, context, namespace, output, act)


def _set_active(
    targets: Sequence[str], active: bool, output: str, context: str | None, namespace: str | None
) -> None:
    _carry_out(targets, context, namespace, output, lambda place: place.set_active(active))


def _warn(text: str) -> None:
    click.echo(f"warning: {text}", err=True)


def _carry_out(
    targets: Iterable[str], context: str | None, namespace: str | None, output: str, act: Act
) -> None:
    """Select, act and print, one TARGET after the other."""
    from octjob.targets.place import open_cluster_place

    done = []
    for target in targets:
        place = open_cluster_place(target, context, namespace)
        outcomes = act(place)
        sweep = place.selection.sweep
        done.append({"sweep": sweep, "runs": [asdict(one) for one in outcomes]})
        if output == "table":
            _print(sweep, outcomes)
    if output == "json":
        click.echo(json.dumps(done, indent=1))


def _print(sweep: str, outcomes: Sequence[Outcome]) -> None:
    """One line per changed run, and how many were left alone for which reason."""
    if not outcomes:
        click.echo(f"{sweep}: no run on the cluster")
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

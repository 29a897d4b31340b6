"""`octjob logs`: what a run says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from octjob.cli.cluster import cluster_options
from octjob.errors import SpecError

if TYPE_CHECKING:
    from octjob.records.status import RunStatus
    from octjob.records.textlog import Line
    from octjob.storage.base import ObjectStore
    from octjob.targets.kubernetes.observation.status import Look


@dataclass(frozen=True)
class Wanted:
    """Which lines. worker: this host's alone. attempt: from 1. tail: of each worker."""

    worker: int | None
    attempt: int | None
    tail: int | None
    follow: bool


@click.command()
@click.argument("run")
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
    from octjob.cli.locate import on_cluster, split_run

    wanted = Wanted(worker, attempt, tail, follow)
    if follow and attempt is not None:
        raise SpecError(
            "--follow and --attempt exclude each other", "Earlier attempts have ended; leave out one."
        )
    sweep, name = split_run(run)
    if not on_cluster(sweep or name, context, namespace):
        _from_store(sweep, name, wanted)
    elif sweep.endswith((".yaml", ".yml")):
        _from_file(sweep, name, wanted, context, namespace)
    else:
        _from_cluster(run, wanted, context, namespace)


def _from_store(sweep: str, name: str, wanted: Wanted) -> None:
    """A run that is known by its place in a store."""
    from octjob.cli.locate import open_sweep
    from octjob.records.layout import find_run

    if not sweep:
        raise SpecError(
            f"{name}: not a run", "e.g. SWEEP.yaml/RUN, or a run's URI, which ends in /runs/<run id>."
        )
    store = open_sweep(sweep)
    run_id = find_run(store, name)
    if wanted.follow:
        raise SpecError(
            f"run {run_id}: only pods can be followed; the store has an attempt's log up to a minute late",
            "Leave out --follow; `octjob status --watch` shows how far the run is.",
        )
    if not _print_stored(store, run_id, wanted):
        from octjob.records.status import sweep_status

        (one,) = sweep_status(store, only=[run_id])
        raise _no_log(one)


def _from_file(sweep: str, name: str, wanted: Wanted, context: str | None, namespace: str | None) -> None:
    """A run of a sweep file: on the cluster, or in the store where its JobSet is gone."""
    from octjob.cli.cluster import connect
    from octjob.spec.expand import locate_sweep
    from octjob.targets.kubernetes.select import NoSuchTarget

    spec, _ = locate_sweep(Path(sweep))
    found = connect(context, namespace, sweep)
    try:
        _from_cluster(f"{spec.name}/{name}", wanted, found.context or None, found.namespace)
    except NoSuchTarget as error:
        click.echo(f"{error.message}; reading the store", err=True)
        _from_store(sweep, name, Wanted(wanted.worker, wanted.attempt, wanted.tail, follow=False))


def _from_cluster(text: str, wanted: Wanted, context: str | None, namespace: str | None) -> None:
    from octjob.cli.cluster import connect
    from octjob.records.layout import read_progress
    from octjob.storage import open_store
    from octjob.targets.kubernetes.observation.logs import PodLogs
    from octjob.targets.kubernetes.observation.status import SweepView

    cluster = connect(context, namespace, text)
    view = SweepView(cluster, text)
    look = view.look()
    one = _only_run(look, text)
    store = open_store(look.selection.output)
    jobset = look.selection.jobsets[0]["metadata"]["name"]
    reader = PodLogs(cluster, jobset, only=wanted.worker, tail=wanted.tail, say=_say)
    numbered = wanted.worker is None
    if wanted.follow and not one.final:
        # A failure is said at once; the loop itself tries again.
        patience_s, cluster.retry_s = cluster.retry_s, 0.0
        if _print(reader.follow(lambda: _in_words(view.look().runs[0])), numbered=numbered):
            cluster.retry_s = patience_s
            _say(_in_words(view.look().runs[0]))
        return
    progress = read_progress(store, one.run_id) if wanted.attempt is not None else None
    if wanted.attempt is None or (progress is not None and progress.attempt == wanted.attempt):
        pods = reader.pods()
        if pods:
            _print(reader.lines(pods), numbered=numbered)
            return
    if not _print_stored(store, one.run_id, wanted):
        raise _no_log(one)


def _only_run(look: Look, text: str) -> RunStatus:
    """The one run that is meant; a sweep of one run will do."""
    if len(look.runs) != 1:
        shown = ", ".join(f"{look.selection.sweep}/{one.checkpoint}.{one.config}" for one in look.runs[:5])
        more = ", ..." if len(look.runs) > 5 else ""
        raise SpecError(f"{text}: a sweep of {len(look.runs)} runs", f"Say which: {shown}{more}.")
    return look.runs[0]


def _print_stored(store: ObjectStore, run_id: str, wanted: Wanted) -> bool:
    """Print an attempt's log from the store; False where no attempt has left one."""
    from octjob.records.textlog import stored_attempt, stored_lines

    logs = stored_attempt(store, run_id, wanted.attempt, wanted.worker)
    if not logs:
        return False
    _say(f"attempt {logs[0].attempt} of run {run_id}, from the store")
    _print(stored_lines(store, run_id, logs, wanted.tail), numbered=wanted.worker is None and len(logs) > 1)
    return True


def _print(lines: Iterable[Line], *, numbered: bool) -> bool:
    """Whether they came to an end; False after Ctrl-C."""
    try:
        for line in lines:
            prefix = f"[{line.worker}] " if numbered else ""
            click.echo(prefix + line.text.decode(errors="replace"))
    except KeyboardInterrupt:
        click.echo("Stopped reading; the run goes on.", err=True)
        return False
    return True


def _no_log(one: RunStatus) -> Exception:
    from octjob.records.textlog import NoLogError

    if one.final:
        return NoLogError(f"run {one.run_id}: no log is left: {_in_words(one)}")
    return NoLogError(
        f"run {one.run_id}: no log yet: {_in_words(one)}",
        "`--follow` waits for it; `octjob status` shows all runs of the sweep.",
    )


def _in_words(one: RunStatus) -> str:
    parts: list[str] = [one.state]
    if one.position is not None:
        parts.append(f"{one.position} of {one.queue_length} in queue {one.queue}")
    parts += [" ".join(text.split()) for text in (one.reason or one.message,) if text]
    return ", ".join(parts)


def _say(text: str) -> None:
    click.echo(f"-- {text}", err=True)

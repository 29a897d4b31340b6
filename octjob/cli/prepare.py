"""`octjob prepare`: fill a sweep's shared volume cache before its runs begin."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from octjob.cli.cluster import cluster_options
from octjob.errors import SpecError

if TYPE_CHECKING:
    from octjob.records.preparation import PartReport, Preparation
    from octjob.spec.expand import Plan
    from octjob.tick import Tick

_MEGABYTE = 1_000_000
_SAY_EVERY_S = 30.0


class _PartType(click.ParamType[tuple[int, int]]):
    """`3/16`: the fourth of sixteen parts."""

    name = "i/n"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        index, _, count = str(value).partition("/")
        if not index.isdecimal() or not count.isdecimal() or not int(index) < int(count):
            self.fail(f"{value!r} is no part: write 0/16 for the first of sixteen", param, ctx)
        return int(index), int(count)


@click.command()
@click.option(
    "--matrix", "-f", "matrix", type=click.Path(path_type=Path, dir_okay=False), help="The sweep file."
)
@click.option(
    "--target", type=click.Choice(["local", "kubernetes"]), help="Default: the sweep's compute.target."
)
@click.option(
    "--workers", type=click.IntRange(1), help="local: volumes decoded at a time; default one per core."
)
@click.option(
    "--part", type=_PartType(), help="local: only every n-th volume, from the i-th on; default all."
)
@click.option("--wait", is_flag=True, help="kubernetes: until the Job has ended, and say what became of it.")
@click.option("--dry-run", is_flag=True, help="kubernetes: let the server check the Job and create nothing.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "yaml"]),
    default="text",
    show_default=True,
    help="yaml: store what the pods read, and print the Job for kubectl; with --dry-run print it only.",
)
@click.option("--preparation", metavar="URI", hidden=True, help="What pods are given in place of --matrix.")
@cluster_options
def prepare(
    matrix: Path | None,
    target: str | None,
    workers: int | None,
    part: tuple[int, int] | None,
    wait: bool,
    dry_run: bool,
    output: str,
    preparation: str | None,
    context: str | None,
    namespace: str | None,
) -> None:
    """Read, decode and preprocess the volumes of a sweep into its shared cache.

    For sweeps with `data.shared_cache`. What is there is left alone, so the same command continues after any
    interruption, and several may run at once. Runs that begin afterwards read no source file; those that begin before
    make what they miss themselves.

    local: here, with all cores; Ctrl-C exits 75. kubernetes: creates an Indexed Job of pods without chips, see the
    sweep's compute.prepare, and returns; with --wait when it has ended, so that the sweep can be submitted.

    \b
    Example:
      octjob prepare --matrix sweeps/phase3.yaml --target local
      octjob prepare --matrix sweeps/phase3.yaml --wait && octjob submit --matrix sweeps/phase3.yaml
    """
    from octjob.spec.expand import plan_sweep

    if preparation is not None:
        _of_pod(preparation, part or (0, 1), workers)
        return
    if matrix is None:
        raise click.UsageError("Missing option '--matrix' / '-f'.", click.get_current_context())
    planned = plan_sweep(matrix)
    of_cluster = {"--wait": wait, "--dry-run": dry_run, "--context": context, "--namespace": namespace}
    if output == "yaml":
        given = {"--wait": wait, "--context": context, "--namespace": namespace}
        _refuse("-o yaml", {**given, "--workers": workers, "--part": part})
        _print_job(planned, dry_run=dry_run)
    elif (target or planned.compute.target) == "local":
        _refuse("target local", of_cluster)
        _local(planned, part or (0, 1), workers, as_json=output == "json")
    else:
        _refuse("target kubernetes", {"--workers": workers, "--part": part})
        _kubernetes(planned, context, namespace, wait=wait, dry_run=dry_run, as_json=output == "json")


def _refuse(where: str, options: Mapping[str, object]) -> None:
    given = [name for name, value in options.items() if value]
    if given:
        raise SpecError(f"{given[0]} has no effect with {where}", f"Leave out {', '.join(given)}.")


def _local(planned: Plan, part: tuple[int, int], workers: int | None, *, as_json: bool) -> None:
    from octjob.records.preparation import preparation_of

    report = _carry_out(preparation_of(planned), part, workers)
    _show(planned.name, planned.cache, report, as_json=as_json)


def _of_pod(uri: str, part: tuple[int, int], workers: int | None) -> None:
    """One part of a stored preparation; what became of it is stored beside."""
    from octjob.records.preparation import read_preparation, split_preparation_uri, write_report
    from octjob.storage.open import open_store

    cache, name = split_preparation_uri(uri)
    store = open_store(cache)
    wanted = read_preparation(store, name)
    report = _carry_out(wanted, part, workers)
    write_report(store, wanted.digest, *part, report)
    _show(wanted.sweep, cache, report, as_json=False)


def _carry_out(wanted: Preparation, part: tuple[int, int], workers: int | None) -> PartReport:
    # Volumes are made side by side; threads within each would only be in each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from octjob.extras import require_trainer

    require_trainer()
    from octjob.run.prepare import Part
    from octjob.run.prepare import prepare as fill
    from octjob.run.stop import Stop, catch_signals
    from octjob.storage.open import open_store

    stop = Stop()
    with catch_signals(stop), _progress("preparing volumes") as tick:
        return fill(wanted, Part(*part), open_store(wanted.cache), workers or os.cpu_count() or 1, stop, tick)


def _print_job(planned: Plan, *, dry_run: bool) -> None:
    from octjob.records.preparation import preparation_of, preparation_uri, write_preparation
    from octjob.storage.open import open_store
    from octjob.targets.kubernetes.documents.indexed_job import render_job
    from octjob.targets.kubernetes.documents.yamltext import to_yaml

    wanted = preparation_of(planned)
    job = render_job(wanted, preparation_uri(wanted), planned.compute)
    if not dry_run:
        write_preparation(open_store(planned.cache), wanted)
    click.echo(to_yaml(job), nl=False)


def _kubernetes(
    planned: Plan, context: str | None, namespace: str | None, *, wait: bool, dry_run: bool, as_json: bool
) -> None:
    from octjob.records.preparation import preparation_of, preparation_uri, write_preparation
    from octjob.storage.open import open_store
    from octjob.targets.kubernetes import preparing
    from octjob.targets.kubernetes.documents.indexed_job import render_job
    from octjob.targets.kubernetes.place import connect

    wanted = preparation_of(planned)
    _warn_of_folders(wanted)
    job = render_job(wanted, preparation_uri(wanted), planned.compute)
    name, pods = job["metadata"]["name"], planned.compute.prepare.pods
    cluster = connect(context, namespace or planned.compute.namespace)
    preparing.check(cluster, job)
    became = "would be created"
    if not dry_run:
        # Before the Job, whose pods read it.
        write_preparation(open_store(planned.cache), wanted)
        became = preparing.create(cluster, job)
    if as_json and not wait:
        facts = {"sweep": planned.name, "job": name, "namespace": cluster.namespace, "state": became}
        click.echo(json.dumps({**facts, "pods": pods, "cache": planned.cache}, indent=1))
    else:
        click.echo(f"{planned.name}: Job {name} of {pods} pods {became} in {cluster.namespace}", err=as_json)
    if dry_run:
        return
    if not wait:
        flags = f" --context {shlex.quote(context)}" if context else ""
        click.echo(f"  kubectl{flags} -n {cluster.namespace} get job {name}", err=as_json)
        return
    with _progress("preparing volumes, pods done") as tick:
        preparing.wait(cluster, name, tick)
    _show_reports(planned, wanted, as_json=as_json)


def _warn_of_folders(wanted: Preparation) -> None:
    for uri in sorted({wanted.cache, *(str(run.config.data.source) for run in wanted.runs)}):
        if uri.startswith("file://"):
            click.echo(f"warning: {uri}: a directory of each pod's own; use gs:// or b2://", err=True)


def _show_reports(planned: Plan, wanted: Preparation, *, as_json: bool) -> None:
    from octjob.records.preparation import read_reports, total
    from octjob.storage.open import open_store

    reports = read_reports(open_store(planned.cache), wanted.digest, planned.compute.prepare.pods)
    _show(planned.name, planned.cache, total(one for one in reports if one is not None), as_json=as_json)


def _show(sweep: str, cache: str, report: PartReport, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"sweep": sweep, "cache": cache, **report.model_dump(mode="json")}, indent=1))
        return
    for one in report.refused:
        click.echo(f"quarantined: participant {one.participant}, {one.uri}: {one.reason}", err=True)
    parts = [
        f"{report.num_there} there already",
        f"{report.num_made} made ({report.bytes_made / _MEGABYTE:,.0f} MB)",
        f"{len(report.refused)} quarantined",
    ]
    click.echo(f"{sweep}: {report.num_volumes} volumes: {', '.join(parts)}; in {cache}/volumes")


@contextmanager
def _progress(text: str) -> Iterator[Tick]:
    """A bar on a terminal, else a line now and then."""
    if sys.stderr.isatty():
        from octjob.cli.bars import bar

        with bar(text) as tick:
            yield tick
        return
    said = time.monotonic()

    def say(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= _SAY_EVERY_S:
            said = time.monotonic()
            click.echo(f"{text}: {done} of {total}", err=True)

    yield say

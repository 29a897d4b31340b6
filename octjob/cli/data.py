"""`octjob data`: index, check and synthesize AI-READI data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from octjob.data.cohort import Cohort
    from octjob.spec.run import Run


@click.group()
def data() -> None:
    """Index, check or synthesize a data set.

    \b
    Example:
      octjob data synthesize ./bucket
      octjob data check --matrix sweeps/phase3.yaml
    """


@data.command()
@click.argument("uri")
@click.option("--workers", type=click.IntRange(1), default=8, show_default=True, help="Files read at a time.")
def index(uri: str, workers: int) -> None:
    """Build retinal_oct/manifest.tsv for a data set that has none.

    Reads the header of every DICOM file below retinal_oct/structural_oct/ once, in parallel, and stores the
    manifest; an existing one is never replaced.

    \b
    Example:
      octjob data index b2://eye-dataset/ai-readi/dataset
    """
    from octjob.cli.bars import bar
    from octjob.data.index import build_index
    from octjob.storage.open import open_store

    with bar("reading headers") as tick:
        report = build_index(open_store(uri), workers, tick)
    click.echo(f"{report.num_volumes} volumes in {report.manifest_uri}")
    for device, count in report.volumes_per_device.items():
        click.echo(f"  {device}: {count}")
    for uri_, reason in report.unreadable.items():
        click.echo(f"unreadable: {uri_}: {reason}", err=True)
    for key in report.unknown_region:
        click.echo(f"unknown region: {key}", err=True)
    if report.not_dicom:
        click.echo(
            f"{len(report.not_dicom)} objects are no DICOM files, e.g. {report.not_dicom[0]}", err=True
        )


@data.command()
@click.option(
    "--matrix", "-f", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The sweep."
)
def check(matrix: Path) -> None:
    """Count expected against found participants for every configuration of a sweep.

    Reads participants.tsv and the manifest, or the table of `data.layout: table`, and no volume; of a table's, the
    first bytes of a few files, to say which axis is which. Exits 3 where a run would stop for missing data.

    \b
    Example:
      octjob data check --matrix sweeps/phase3.yaml
    """
    from octjob.spec.expand import plan_sweep
    from octjob.train.tabular import clinical, site_device

    cohorts: dict[str, Cohort] = {}
    controls = {"clinical": clinical, "site_device": site_device}
    for run in plan_sweep(matrix).runs:
        selection = run.config.data.model_dump_json()
        if selection not in cohorts:
            cohorts[selection] = _check(run)
        if run.control in controls:
            controls[run.control](cohorts[selection].volumes)


def _check(run: Run) -> Cohort:
    """Print what a run would find, which it can be carried out on."""
    from octjob.data.cohort import check_cohort
    from octjob.data.layouts import cohort_of, open_source
    from octjob.data.table_cohort import find_table_cohort
    from octjob.data.table_report import describe
    from octjob.train.units import units_of

    config = run.config
    table = find_table_cohort(config) if config.data.is_table else None
    cohort = table.cohort if table else cohort_of(config)
    check_cohort(cohort, config, run.is_pooled)
    if run.leave_out is not None:
        # Whether there is something to leave out, and something is left.
        units_of(cohort.only("train", "val").volumes, run)
    click.echo(f"{run.config_name}: {len(cohort.volumes)} volumes of {len(cohort.participants)} participants")
    click.echo(cohort.coverage.table())
    for line in describe(table, config, open_source(config.data)) if table else ():
        click.echo(line)
    return cohort


@data.command()
@click.argument("uri")
@click.option(
    "--recipe",
    type=click.Path(path_type=Path, dir_okay=False),
    help="YAML file with the keys of octjob.data.synthesize.recipe; default the demo's.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override one key of the recipe.")
def synthesize(uri: str, recipe: Path | None, settings: tuple[str, ...]) -> None:
    """Write a synthetic AI-READI data set: participants, manifest and DICOM volumes.

    \b
    Example:
      octjob data synthesize ./bucket
      octjob data synthesize ./bucket --set class_effect=0 --set seed=7
    """
    from octjob.cli.bars import bar
    from octjob.data.synthesize import synthesize as write_bucket
    from octjob.demo.recipe import load_synthesis
    from octjob.storage.open import open_store

    chosen = load_synthesis(recipe, settings)
    with bar("synthesizing") as tick:
        report = write_bucket(open_store(uri), chosen, tick)
    num_spoilt = sum(len(keys) for keys in report.corrupted.values())
    click.echo(f"{len(report.volumes)} volumes of {len(report.participants)} participants in {uri}")
    if num_spoilt:
        click.echo(f"{num_spoilt} of them spoilt on purpose:")
        for kind, keys in report.corrupted.items():
            for key in keys:
                click.echo(f"  {kind}: {key}")

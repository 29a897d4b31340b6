"""`octjob render`: a sweep as files for Kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from octjob.cli.plan import MATRIX


@click.command()
@MATRIX
@click.option(
    "-o",
    "--output",
    "directory",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to: a new or empty directory, or an earlier rendering.",
)
@click.option("--format", "format_", type=click.Choice(["yaml", "helm"]), default="yaml", show_default=True)
@click.option(
    "--write-specs", is_flag=True, help="Also store what the runs read: the sweep and one spec per run."
)
def render(matrix: Path, directory: Path, format_: str, write_specs: bool) -> None:
    """Write the Kubernetes documents of a sweep, exactly those that submit would send.

    yaml: one file per run and a kustomization. helm: a chart with image, queue, priority and namespace as values.
    Works without a cluster, and without --write-specs without the object store; the runs cannot start before their
    specs are there.

    \b
    Example:
      octjob render --matrix sweeps/phase3.yaml -o rendered/
      octjob render --matrix sweeps/phase3.yaml -o chart/ --format helm
    """
    from octjob.spec.expand import plan_sweep
    from octjob.spec.yaml import load
    from octjob.targets.kubernetes.documents.names import dns_label
    from octjob.targets.kubernetes.documents.render import Format, render_files, write_files
    from octjob.targets.kubernetes.documents.settings import offline_warnings, resolve_settings, warnings

    planned = plan_sweep(matrix)
    settings = resolve_settings(planned.compute, load(matrix))
    files = render_files(planned, settings, cast("Format", format_))
    write_files(files, directory)
    if write_specs:
        from octjob.storage.open import open_store
        from octjob.targets.submit import write_plan

        write_plan(planned, open_store(planned.output), update=False)
    for text in [*warnings(planned, settings), *offline_warnings(settings)]:
        click.echo(f"warning: {text}", err=True)
    name = dns_label(planned.name, 53)
    command = (
        f"kubectl apply --server-side -k {directory}"
        if format_ == "yaml"
        else f"helm install {name} {directory}"
    )
    click.echo(f"{planned.name}: {len(planned.runs)} runs in {directory}; `{command}` carries them out")

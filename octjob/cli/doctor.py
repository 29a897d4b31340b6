"""`octjob doctor`: why a sweep's numbers are as they are."""

from __future__ import annotations

import click

from octjob.cli.complete import complete_target

# Some gate failed: the command finished, and runs are not what they should be.
_FAILED = 5


@click.command()
@click.argument("target", shell_complete=complete_target)
@click.argument("run", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Choice(("table", "wide", "json")),
    default="table",
    show_default=True,
    help="What to print; wide with the evidence of every gate.",
)
def doctor(target: str, run: str | None, output: str) -> int:
    """Name the first cause of what is wrong with a sweep, or with one finished run of it.

    TARGET is a sweep's URI or directory, its YAML file, or a run's URI; RUN is CHECKPOINT.CONFIG, a run's id or its
    beginning. Gates are passed in the order in which causes hide each other: coverage, labels, weights,
    preprocessing, features against an untrained encoder's, a positive control, keys that change nothing, training,
    optimum, prior. The first that fails is the first cause. Everything comes from records and cached features:
    nothing is encoded, trained or written. Exits with 5 where a gate fails.

    \b
    Example:
      octjob doctor sweeps/phase3.yaml
      octjob doctor gs://bucket/octjob/phase3 multi_domain.logistic
      octjob doctor sweeps/phase3.yaml -o json
    """
    from octjob.doctor.examine import examine
    from octjob.doctor.text import to_json, to_text
    from octjob.records.find import open_sweep
    from octjob.spec.file import is_sweep_file

    sweep, run = _split(target, run)
    matrix = sweep if is_sweep_file(sweep) else "sweep.yaml"
    found = examine(open_sweep(sweep), run, matrix)
    click.echo(to_json(found) if output == "json" else to_text(found, wide=output == "wide"), nl=False)
    return _FAILED if found.first_cause is not None else 0


def _split(target: str, run: str | None) -> tuple[str, str | None]:
    """The sweep and the run that were meant: a run's URI names both."""
    from octjob.errors import SpecError
    from octjob.records.layout import split_run_uri

    head, _, _ = target.rstrip("/").rpartition("/")
    if not head.endswith("/runs"):
        return target, run
    if run is not None:
        raise SpecError(f"{target}: names a run already, and so does {run}", "Give one of them.")
    return split_run_uri(target)

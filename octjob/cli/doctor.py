"""`octjob doctor`: why a sweep's numbers are as they are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from octjob.cli.complete import complete_target

if TYPE_CHECKING:
    from octjob.doctor.encode import Missing
    from octjob.doctor.finding import Diagnosis

# Some gate failed: the command finished, and runs are not what they should be.
_FAILED = 5


@click.command()
@click.argument("target", required=False, shell_complete=complete_target)
@click.argument("run", required=False)
@click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Instead of TARGET: a sweep or config file that has not been run yet.",
)
@click.option("--yes", is_flag=True, help="With --config: encode what the cache lacks, without asking.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(("table", "wide", "json")),
    default="table",
    show_default=True,
    help="What to print; wide with the evidence of every gate.",
)
def doctor(target: str | None, run: str | None, config: Path | None, yes: bool, output: str) -> int:
    """Name the first cause of what is wrong with a sweep, or with one finished run of it.

    TARGET is a sweep's URI or directory, its YAML file, or a run's URI; RUN is CHECKPOINT.CONFIG, a run's id or its
    beginning. Gates are passed in the order in which causes hide each other: coverage, labels, weights,
    preprocessing, runs that failed, features against an untrained encoder's, a positive control, keys that change
    nothing, training, optimum, eight samples by heart, prior. The first that fails is the first cause. Everything
    comes from records, the data set's tables and cached features, on which heads are trained for a moment: nothing is
    encoded or written. Exits with 5 where a gate fails.

    With --config the gates are passed that can be judged before anything has been run. Volumes whose features are not
    in the cache are encoded only where you say so.

    \b
    Example:
      octjob doctor sweeps/phase3.yaml
      octjob doctor gs://bucket/octjob/phase3 multi_domain.logistic
      octjob doctor sweeps/phase3.yaml -o json
      octjob doctor --config sweeps/mine.yaml
    """
    from octjob.doctor.text import to_json, to_text

    found = _finished(target, run, yes) if config is None else _intended(target, config, yes)
    click.echo(to_json(found) if output == "json" else to_text(found, wide=output == "wide"), nl=False)
    return _FAILED if found.first_cause is not None else 0


def _finished(target: str | None, run: str | None, yes: bool) -> Diagnosis:
    from octjob.doctor.examine import examine
    from octjob.errors import AccessError, SpecError
    from octjob.records.find import open_sweep
    from octjob.spec.file import is_sweep_file
    from octjob.storage.base import ObjectNotFoundError

    if target is None:
        raise SpecError(
            "no sweep to diagnose", "Give its URI, directory or file, or `--config FILE` before it is run."
        )
    if yes:
        raise SpecError(
            "--yes has no effect without --config", "Nothing is encoded for a sweep that was run."
        )
    sweep, run = _split(target, run)
    if not is_sweep_file(sweep):
        return examine(open_sweep(sweep), run)
    try:
        return examine(open_sweep(sweep), run, sweep)
    except ObjectNotFoundError as error:
        hint = f"`octjob doctor --config {sweep}` judges what can be judged before it is run."
        raise AccessError(error.message, hint) from None


def _intended(target: str | None, config: Path, yes: bool) -> Diagnosis:
    from octjob.doctor.beforehand import examine_plan, intended
    from octjob.errors import SpecError

    if target is not None:
        raise SpecError(f"{target}: stands beside --config {config}", "Give one of them.")
    one = intended(config)
    if one.missing is not None and _wanted(one.missing, yes):
        from octjob.cli.bars import bar
        from octjob.doctor.encode import encode_missing

        with bar("encoding") as tick:
            encode_missing(one.missing, tick)
    return examine_plan(one)


def _wanted(missing: Missing, yes: bool) -> bool:
    """Whether to encode; where nobody can be asked, it is said that nothing was."""
    if yes:
        return True
    if sys.stdin.isatty():
        return click.confirm(missing.question, err=True)
    click.echo(f"not encoded: {missing.question} Not asked: no terminal; --yes encodes them", err=True)
    return False


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

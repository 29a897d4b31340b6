"""`octjob card`: a model card of one run."""

from __future__ import annotations

from pathlib import Path

import click

from octjob.cli.complete import complete_target
from octjob.errors import AccessError


@click.command()
@click.argument("sweep", shell_complete=complete_target)
@click.argument("run")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write.  [default: standard output]",
)
def card(sweep: str, run: str, output: Path | None) -> None:
    """Write a model card of one finished run, in Hugging Face's format.

    SWEEP is a sweep's URI or directory, or its YAML file; RUN is CHECKPOINT.CONFIG, a run's id or its beginning.
    Everything in it comes from records: the leaderboard that `octjob collect` stored, the run's result and its spec.
    The licence is yours to fill in.

    \b
    Example:
      octjob card sweeps/phase3.yaml multi_domain.logistic -o README.md
      octjob card gs://bucket/octjob/phase3 multi_domain.logistic > card.md
    """
    from octjob.leaderboard.card.page import card_of
    from octjob.records.find import open_sweep

    text = card_of(open_sweep(sweep), run)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise AccessError(
            f"{output}: cannot be written: {error.strerror}", "Give another file with -o."
        ) from None
    click.echo(f"Wrote {output}", err=True)

"""`octjob open-test`: score one finished run on the test split, on the record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from octjob.cli.complete import complete_target
from octjob.errors import SpecError

if TYPE_CHECKING:
    from octjob.evaluate import Evaluation
    from octjob.records.openings import Opening


@click.command("open-test")
@click.argument("sweep", shell_complete=complete_target)
@click.argument("run")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the record.")
@click.option("--by", metavar="NAME", help="Who opens it.  [default: the user of this machine]")
def open_test(sweep: str, run: str, reason: str, by: str | None) -> None:
    """Score one finished run on the test split, on the record.

    SWEEP is a sweep's URI or directory, or its YAML file; RUN is CHECKPOINT.CONFIG, a run's id or its beginning.
    The run's stored weights score the test participants, whom no run ever sees. Before that, who opened the test
    split, when and why is written beside the run, never to be overwritten; every table of the sweep counts the
    openings from then on. Open it once, for the run that was chosen without it.

    \b
    Example:
      octjob open-test sweeps/phase3.yaml multi_domain.logistic --reason "the paper's final number"
      octjob open-test gs://bucket/octjob/phase3 multi_domain.logistic --by ann
    """
    from octjob.cli.bars import bar
    from octjob.extras import require_trainer
    from octjob.records.find import find_run, open_sweep
    from octjob.records.openings import opening_key

    who = _user() if by is None else by.strip()
    if not who:
        raise SpecError("--by: nobody is named", "Give a name, or leave it out for the user of this machine.")
    require_trainer()
    store = open_sweep(sweep)
    run_id = find_run(store, run)
    from octjob.run.opening import open_test as score

    with bar("reading test volumes") as tick:
        opened = score(store, run_id, who, reason, _say_openings, tick)
    _show(run_id, opened.evaluation)
    recorded = store.uri(opening_key(run_id, opened.number))
    click.echo(f"Recorded as {recorded}; predictions and evaluation lie beside it.", err=True)


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise SpecError("this machine does not know who you are", "Say it with --by NAME.") from None


def _say_openings(before: Sequence[Opening]) -> None:
    times = "once" if len(before) == 1 else f"{len(before)} times"
    if before:
        names = ", ".join(map(str, before))
        click.echo(f"The test split of this sweep has been opened {times}: {names}.", err=True)
    click.echo(f"This is opening {len(before) + 1}; it is recorded now.", err=True)


def _show(run_id: str, evaluation: Evaluation) -> None:
    metrics = evaluation.metrics
    click.echo(f"{run_id}: test split, n = {metrics.n} {evaluation.unit}s\n")
    for name, interval in evaluation.intervals.items():
        value = metrics[name]
        click.echo(f"{name:<18} {value:.3f} [{interval.low:.2f}, {interval.high:.2f}]")
    verdict = evaluation.verdict
    click.echo(f"{'verdict':<18} {', '.join(verdict.flags) or 'nothing wrong'}")
    for reason in verdict.reasons:
        click.echo(f"  {reason}")

"""`octjob demo`: the whole story on one machine, from nothing to a leaderboard."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click


@click.command()
@click.option(
    "--sweep",
    type=click.Choice(["demo", "seed_replay"]),
    default="demo",
    show_default=True,
    help="seed_replay: the original's situation, 30 seeds of its head on an untrained encoder.",
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-out"),
    show_default=True,
    help="Everything goes here; what is there already is used again.",
)
@click.option("--concurrency", type=click.IntRange(1), help="Runs at a time; default one per core.")
def demo(sweep: str, directory: Path, concurrency: int | None) -> None:
    """Run the whole story on synthetic data, on this machine.

    Writes a synthetic AI-READI bucket, pretrains three checkpoints on it without labels (one stopped at its first
    step), runs sweeps/demo.yaml on them, and prints the leaderboard. What is in it and why stands in
    octjob/demo/recipe.yaml. Takes minutes; stopped and started again, it continues.

    \b
    Example:
      octjob demo
      octjob demo --dir /tmp/demo
      octjob demo --sweep seed_replay --dir replay-out
    """
    from octjob.extras import require_trainer

    require_trainer()
    from octjob.cli.bars import bar
    from octjob.cli.collect import print_leaderboard
    from octjob.cli.submit import submit_local
    from octjob.data.synthesize import synthesize
    from octjob.demo.checkpoints import pretrain_all
    from octjob.demo.recipe import RECIPES, load_recipe
    from octjob.share import shared_file
    from octjob.spec.expand import plan_sweep
    from octjob.storage.open import open_store

    base = directory.resolve()
    recipe = load_recipe(RECIPES[sweep])
    store = open_store(str(base / "bucket"))
    with _step("1/4 synthetic data set"), bar("writing volumes") as tick:
        report = synthesize(store, recipe.synthesis, tick)
    click.echo(
        f"    {len(report.volumes)} volumes of {len(report.participants)} participants in {base / 'bucket'}"
    )
    with _step("2/4 self-supervised pretraining"), bar("pretraining") as tick:
        pretrain_all(store, recipe, base / "checkpoints", tick)
    planned = plan_sweep(shared_file(f"sweeps/{sweep}.yaml"), base)
    with _step("3/4 runs"):
        submit_local(planned, concurrency)
    with _step("4/4 leaderboard"):
        print_leaderboard(open_store(planned.output))


@contextmanager
def _step(title: str) -> Iterator[None]:
    click.secho(title, bold=True)
    start = time.monotonic()
    yield
    click.echo(f"    {time.monotonic() - start:.0f} s")

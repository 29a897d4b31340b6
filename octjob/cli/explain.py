"""`octjob explain`: what a run needs of each chip, before it is submitted."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from octjob.spec.accelerator import Slice
    from octjob.spec.compute import Compute
    from octjob.spec.experiment import Experiment
    from octjob.spec.run import Run
    from octjob.spec.sweep import Checkpoint
    from octjob.targets.estimate import Estimate

    Wanted = tuple[str, str, Experiment, Checkpoint | None]

_GIB = 2**30


@click.command()
@click.argument("what", metavar="RUN|CONFIG|SWEEP")
@click.option("--accelerator", help="TPU slice or GPUs; default the sweep's, else v4-32.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def explain(what: str, accelerator: str | None, output: str) -> None:
    """Estimate what each chip of a slice has to hold and to compute, and what would make it fit.

    Of a sweep file, of one of its runs (SWEEP.yaml/RUN), of a submitted run (its URI) or of a config file. The
    numbers are arithmetic on the encoder's shape; no checkpoint is read and no cluster asked. For a probe they are
    of encoding one volume, for a fine-tuning of one batch's share. The time is a range: no TPU has been timed.
    Of GPUs only their memory is told.

    \b
    Example:
      octjob explain sweeps/phase3.yaml
      octjob explain configs/cls_finetune.yaml --accelerator v5e-4
    """
    from octjob.cli.output import EXPLAIN_SCHEMA
    from octjob.spec.accelerator import accelerator_of, parse_accelerator
    from octjob.targets.estimate import estimate, not_known, not_known_on_gpus
    from octjob.targets.idle import idle_chips

    wanted, compute = _wanted(what)
    if compute and compute.accelerator and accelerator in (None, compute.accelerator):
        where = accelerator_of(compute)
    else:
        where = parse_accelerator(accelerator or "v4-32")
    if where.kind == "gpu":
        estimates = []
        unknown = [not_known_on_gpus(one[0], one[1]) for one in wanted]
    else:
        estimates = [estimate(*one, where) for one in wanted if _backbone(one) is None]
        unknown = [
            not_known(one[0], one[1], named) for one in wanted if (named := _backbone(one)) is not None
        ]
    configs = {name: config for _, name, config, _ in wanted}
    idle = [
        one for name, config in configs.items() for one in idle_chips(name, config, where.chips, where.unit)
    ]
    if output == "json":
        document = {
            "schema": EXPLAIN_SCHEMA,
            "accelerator": where.name,
            "chips": where.chips,
            "estimates": [asdict(one) for one in estimates],
            "not_known": [asdict(one) for one in unknown],
            "idle_chips": [asdict(one) for one in idle],
        }
        click.echo(json.dumps(document, indent=1))
    else:
        if where.kind == "gpu":
            click.echo(
                f"{where.name}: {where.chips} GPUs {where.gpu.label} with {where.gpu.memory_gb} GB each"
            )
        elif estimates or not unknown:
            _print_table(estimates, where)
        for missing in unknown:
            name = f"{missing.checkpoint}.{missing.config}" if missing.checkpoint else missing.config
            click.echo(f"{name}: {missing.reason}")
        for one in idle:
            click.echo(f"note: {one.configs[0]}: {one}")


def _wanted(what: str) -> tuple[list[Wanted], Compute | None]:
    """Checkpoint and configuration of each run that `what` means, and a sweep's `compute`."""
    from octjob.errors import SpecError
    from octjob.records.find import matching_runs
    from octjob.records.layout import read_spec, split_run_uri
    from octjob.records.schema import RunEntry
    from octjob.spec.compose import load_experiment
    from octjob.spec.expand import plan_sweep
    from octjob.spec.file import is_sweep_file, split_sweep_file
    from octjob.spec.yaml import load
    from octjob.storage.open import open_store

    file, name = split_sweep_file(what)
    if not file and not is_sweep_file(what):
        root, run_id = split_run_uri(what)
        run = read_spec(open_store(root), run_id)
        if not run.has_encoder:
            raise SpecError(
                f"run {run_id} is a control: it has no encoder, and a chip has nothing to hold",
                f"`octjob status {root}` shows the runs.",
            )
        return [_of(run)], None
    path = Path(file or what)
    if not file and "checkpoints" not in load(path).data:
        return [("", path.stem, load_experiment(path), None)], None
    planned = plan_sweep(path)
    # Without an encoder there is nothing that a chip would have to hold.
    runs = [run for run in planned.runs if run.has_encoder]
    if name:
        runs = matching_runs(
            name,
            runs,
            lambda run: RunEntry(run_id=run.run_id, checkpoint=run.checkpoint_name, config=run.config_name),
        )
        if len(runs) != 1:
            raise SpecError(
                f"{what}: {len(runs) or 'no'} runs of that name", f"`octjob plan -f {path}` lists them."
            )
    return [_of(run) for run in runs], planned.compute


def _of(run: Run) -> Wanted:
    return run.checkpoint_name, run.config_name, run.config, run.checkpoint


def _backbone(wanted: Wanted) -> str | None:
    return None if wanted[3] is None else wanted[3].backbone


def _print_table(estimates: list[Estimate], where: Slice) -> None:
    from octjob.cli.table import print_table

    headings = (
        *("checkpoint", "config", "work", "params", "TFLOP", "batch/chip"),
        *("attention", "remat", "GiB", "s", "fits"),
    )
    print_table(headings, [_row(one) for one in estimates], sys.stdout)
    memory = where.generation.memory_gib
    size = "of unknown memory" if memory is None else f"with {memory:g} GiB for programs"
    click.echo(f"\n{where.in_words}: {where.chips} chips {size}; all figures are of one chip")
    click.echo(
        "source: arithmetic, whose GiB are within 15 % of the TPU compiler's; nothing was compiled or timed"
    )
    if any(one.geometry == "original" for one in estimates):
        click.echo("encoder: the original's shape, since the sweep names no volume_size")
    for text in dict.fromkeys(_notes(estimates)):
        click.echo(text)


def _notes(estimates: list[Estimate]) -> Iterator[str]:
    """Of every pair that fits in parts only, or not at all."""
    from octjob.targets.estimate import told_parts

    for one in estimates:
        if one.fits and (text := told_parts(one)):
            yield text
        if one.fits is False:
            name = f"{one.checkpoint}.{one.config}" if one.checkpoint else one.config
            cures = " or ".join(one.cures) or "nothing but chips with more memory"
            yield f"{name} does not fit; what would make it: {cures}"


def _row(one: Estimate) -> tuple[str, ...]:
    seconds = "?" if one.seconds is None else f"{one.seconds[0]:.2g}-{one.seconds[1]:.2g}"
    return (
        one.checkpoint or "-",
        one.config,
        "step" if one.mode == "finetune" else "encode",
        f"{one.parameters / 1e6:.1f}M",
        f"{one.flops / 1e12:.1f}",
        str(one.batch_per_chip) + (f" x {one.microbatches}" if one.microbatches > 1 else ""),
        one.attention,
        "yes" if one.remat else "no",
        f"{one.peak_bytes / _GIB:.1f}",
        seconds,
        {True: "yes", False: "no", None: "?"}[one.fits],
    )

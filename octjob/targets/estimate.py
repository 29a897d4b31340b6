"""Before a run is submitted: what each chip of its slice will have to hold and to compute.

An encoder's geometry is in its file, which is not read here: a sweep says the volume's size, or it is the original's.
Of a backbone nothing is told: neither its shape nor what its library computes is known before it is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from octjob.errors import DataError, SpecError
from octjob.models.choice import AttentionName
from octjob.models.footprint import Work
from octjob.models.needs import Cure, cures, evaluation_work, main_work
from octjob.models.shape import ORIGINAL_GEOMETRY, EncoderGeometry
from octjob.spec.accelerator import Accelerator, Slice
from octjob.spec.experiment import Experiment, Mode
from octjob.spec.run import Run
from octjob.spec.sweep import Checkpoint

GIB = 2**30
# Shares of a chip's peak operations, from pessimism to optimism. Where scores pass through memory the compiler's own
# count of cycles comes to a twentieth; of the flash kernel there is none.
_SHARES = {"flash": (0.05, 0.5), "blocks": (0.04, 0.2), "sdpa": (0.04, 0.2)}
# A product of float32 matrices is several of bfloat16: the compiler counts five times the cycles.
_PASSES = {"bf16": 1, "fp32": 5}


@dataclass(frozen=True)
class Estimate:
    """What one chip does at a time: a batch's share of a training step, or one volume's features.

    geometry: who says the encoder's shape. batch_per_chip: volumes at a time; microbatches: how many times, one
    after the other, chosen so that it fits. flops: floating-point operations of all of them. resident_bytes: weights,
    optimizer and volumes, arguments and results. peak_bytes: the most at any time, evaluation included. source:
    where the figures come from. memory_bytes, seconds: None where octjob does not know the chip. cures: config lines
    of which each makes it fit.
    """

    checkpoint: str
    config: str
    mode: Mode
    geometry: Literal["sweep", "original"]
    parameters: int
    batch_per_chip: int
    microbatches: int
    attention: AttentionName
    remat: bool
    flops: int
    resident_bytes: int
    peak_bytes: int
    memory_bytes: int | None
    fits: bool | None
    source: Literal["arithmetic"]
    seconds: tuple[float, float] | None
    cures: tuple[str, ...]


@dataclass(frozen=True)
class NotKnown:
    """A checkpoint and configuration of which nothing is estimated, and why."""

    checkpoint: str
    config: str
    reason: str


def not_known(name: str, config_name: str, backbone: str) -> NotKnown:
    """Of a checkpoint with a backbone."""
    return NotKnown(name, config_name, f"not known for backbone {backbone}")


def not_known_on_gpus(name: str, config_name: str) -> NotKnown:
    """Of any encoder: the arithmetic is fitted to what the TPU's compiler plans for."""
    return NotKnown(name, config_name, "not known on GPUs: torch's kernels keep other things in memory")


def geometry_of(checkpoint: Checkpoint | None) -> tuple[EncoderGeometry, Literal["sweep", "original"]]:
    """The encoder's geometry as far as the sweep says it, and who says it.

    Raises `DataError` for a volume size that is not whole in the original's patches.
    """
    if checkpoint is None or (checkpoint.volume_size is None and checkpoint.num_heads is None):
        return ORIGINAL_GEOMETRY, "original"
    geometry = replace(
        ORIGINAL_GEOMETRY,
        volume_size=checkpoint.volume_size or ORIGINAL_GEOMETRY.volume_size,
        num_heads=checkpoint.num_heads or ORIGINAL_GEOMETRY.num_heads,
    )
    return geometry, "sweep" if checkpoint.volume_size else "original"


def estimate(
    name: str, config_name: str, config: Experiment, checkpoint: Checkpoint | None, where: Slice
) -> Estimate:
    """What `config` needs on a slice. checkpoint: as the sweep names it; None for the original's.

    Raises:
        SpecError: attention that the geometry cannot have.
        DataError: as `geometry_of`.
    """
    geometry, source = geometry_of(checkpoint)
    memory = _memory(where)
    work = main_work(config, geometry, "tpu", where.chips, memory)
    peak = _peak(config, work, where.chips)
    parts = 1 if work.step is None else work.step.microbatches
    fits = None if memory is None else peak <= memory
    return Estimate(
        checkpoint=name,
        config=config_name,
        mode=config.mode,
        geometry=source,
        parameters=work.parameters,
        batch_per_chip=work.batch,
        microbatches=parts,
        attention=work.attention,
        remat=work.step is not None and work.step.remat,
        flops=work.flops * parts,
        resident_bytes=work.resident,
        peak_bytes=peak,
        memory_bytes=memory,
        fits=fits,
        source="arithmetic",
        seconds=_seconds(work, parts, where),
        cures=() if fits is not False or memory is None else _told(config, work, where.chips, memory),
    )


def check_fit(runs: Sequence[Run], where: Accelerator) -> None:
    """Raise `SpecError` for the first run that a chip of the slice cannot hold, with what would make it fit.

    A run whose checkpoint's shape cannot be told beforehand is let pass, and any on GPUs.
    """
    for run, found in _estimates(runs, where):
        if found.fits is False and found.memory_bytes is not None:
            shape = "" if found.geometry == "sweep" else ", if its checkpoint has the original's shape"
            raise SpecError(
                f"run {run.run_id}: a chip of {where.in_words} would need {found.peak_bytes / GIB:.1f} GiB and has"
                f" {found.memory_bytes / GIB:.2f}{shape}",
                f"Set {' or '.join(found.cures)} in its config." if found.cures else _NO_CURE,
            )


def _estimates(runs: Sequence[Run], where: Accelerator) -> Iterator[tuple[Run, Estimate]]:
    """Each run's estimate, made once for all runs of a geometry and a configuration; none where it cannot be told."""
    if where.kind == "gpu":
        return
    made: dict[tuple[EncoderGeometry, int], Estimate] = {}
    # Of a backbone nothing is known beforehand.
    for run in (run for run in runs if run.has_encoder and run.checkpoint.backbone is None):
        try:
            key = (geometry_of(run.checkpoint)[0], id(run.config))
            if key not in made:
                made[key] = estimate("", run.config_name, run.config, run.checkpoint, where)
        except DataError:
            continue
        source = geometry_of(run.checkpoint)[1]
        yield (
            run,
            replace(made[key], checkpoint=run.checkpoint_name, config=run.config_name, geometry=source),
        )


def parts_notes(runs: Sequence[Run], where: Accelerator) -> list[str]:
    """A line for each checkpoint and configuration that fits because its batches are taken in parts."""
    notes: dict[str, None] = {}
    # A control's is that of the run whose configuration it has.
    for _, found in _estimates([run for run in runs if run.control is None], where):
        if text := told_parts(found):
            notes[text] = None
    return list(notes)


def told_parts(found: Estimate) -> str:
    """That a batch is taken in parts, in words; empty where it is not."""
    if found.microbatches == 1:
        return ""
    name = f"{found.checkpoint}.{found.config}" if found.checkpoint else found.config
    return (
        f"{name} fits with accumulation {found.microbatches} (chosen): a chip takes its share of a batch in"
        f" {found.microbatches} parts, and the step is that of the whole"
    )


_NO_CURE = "No attention, no train.remat and no parts of a batch make it fit: choose chips with more memory."


def _memory(where: Slice) -> int | None:
    gib = where.generation.memory_gib
    return None if gib is None else int(gib * GIB)


def _peak(config: Experiment, work: Work, chips: int) -> int:
    """Of training and of evaluation, during which the optimizer's state stays where it is."""
    if work.step is None:
        return work.peak
    return max(work.peak, work.resident + evaluation_work(config, work, chips).temporaries)


def _told(config: Experiment, work: Work, chips: int, memory: int) -> tuple[str, ...]:
    """Cures as lines of a config; where evaluation is what does not fit, the largest batch that does."""
    if work.step is not None and work.peak <= memory:
        batch = evaluation_work(config, work, chips).batch
        fitting = (
            size
            for size in range(batch - 1, 0, -1)
            if work.resident + replace(work, batch=size, step=None).temporaries <= memory
        )
        return tuple(f"data.val_batch_size: {size * chips}" for size in list(fitting)[:1])
    found: tuple[Cure, ...] = cures(config, work, "tpu", chips, memory)
    return tuple(" with ".join(cure.keys) for cure in found)


def _seconds(work: Work, parts: int, where: Slice) -> tuple[float, float] | None:
    tflops = where.generation.peak_tflops
    if tflops is None:
        return None
    slow, fast = _SHARES[work.attention]
    ideal = work.flops * parts * _PASSES[work.precision] / (tflops * 1e12)
    return ideal / fast, ideal / slow

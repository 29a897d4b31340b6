"""The arithmetic against torch and against the TPU's compiler."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from octjob.errors import SpecError
from octjob.models.arrange import arrange
from octjob.models.encoder import empty_encoder, init_encoder
from octjob.models.footprint import Step, Work
from octjob.models.needs import cures, evaluation_work, main_work
from octjob.models.shape import ORIGINAL_GEOMETRY, EncoderGeometry
from octjob.spec.experiment import Experiment

GIB = 2**30
SMALL = EncoderGeometry((8, 32, 32), (4, 8, 8), embed_dim=48, depth=2, num_heads=3, mlp_ratio=3.0)
# What the compiler planned for one v4 chip: work, attention, remat, temporaries and peak in GiB.
COMPILED = [
    ("encode", "sdpa", False, 2.14, 2.52),
    ("encode", "blocks", False, 0.258, 0.639),
    ("encode", "flash", False, 0.158, 0.539),
    ("step", "sdpa", False, 26.83, 28.87),
    ("step", "sdpa", True, 6.18, 8.29),
    ("step", "blocks", True, 2.878, 4.990),
    ("step", "flash", False, 4.597, 6.710),
    ("step", "flash", True, 0.779, 2.891),
]


@pytest.mark.parametrize(("work", "attention", "remat", "temporaries", "peak"), COMPILED)
def test_memory_is_what_the_compiler_plans_for(work, attention, remat, temporaries, peak) -> None:
    step = Step(remat) if work == "step" else None
    estimate = Work(ORIGINAL_GEOMETRY, 1, "bf16", attention, step)
    assert estimate.temporaries / GIB == pytest.approx(temporaries, rel=0.15)
    assert estimate.peak / GIB == pytest.approx(peak, rel=0.15)


def test_memory_in_float32() -> None:
    estimate = Work(ORIGINAL_GEOMETRY, 1, "fp32", "flash", Step(remat=False))
    assert estimate.temporaries / GIB == pytest.approx(6.08, rel=0.15)
    assert estimate.peak / GIB == pytest.approx(8.20, rel=0.15)


@pytest.mark.parametrize("geometry", [SMALL, ORIGINAL_GEOMETRY])
def test_parameters_are_the_encoders(geometry: EncoderGeometry) -> None:
    expected = sum(math.prod(p.shape) for p in empty_encoder(geometry).parameters())
    assert Work(geometry, 1, "fp32", "sdpa").parameters == expected


def test_operations_are_those_that_torch_counts() -> None:
    encoder = init_encoder(SMALL, 0)
    # torch does not count its own attention on the CPU.
    arrange(encoder, Experiment.model_validate({"model": {"attention": "blocks"}}), "torch")
    with FlopCounterMode(display=False) as counter:
        encoder(torch.randn(3, 1, *SMALL.volume_size))
    assert Work(SMALL, 3, "fp32", "sdpa").flops == counter.get_total_flops()


def test_more_of_anything_is_more_memory() -> None:
    one = Work(ORIGINAL_GEOMETRY, 1, "bf16", "flash", Step(remat=False))
    assert one.step is not None
    for more in (
        replace(one, batch=2),
        replace(one, precision="fp32"),
        replace(one, attention="blocks"),
        replace(one, step=replace(one.step, accumulated=True)),
        replace(one, step=replace(one.step, spare=True)),
    ):
        assert more.peak > one.peak
    for less in (
        replace(one, step=replace(one.step, optimizer="SGD")),
        replace(one, step=Step(remat=True)),
        replace(one, step=None),
    ):
        assert less.peak < one.peak


def finetuning(data: dict | None = None, model: dict | None = None, **train: object) -> Experiment:
    return Experiment.model_validate(
        {"data": data or {}, "model": {"freeze_encoder": False, **(model or {})}, "train": train}
    )


def work(experiment: Experiment, shards: int, memory: float = 30.75) -> Work:
    return main_work(experiment, ORIGINAL_GEOMETRY, "tpu", shards, int(memory * GIB))


@pytest.mark.parametrize(
    ("batch_size", "shards", "memory", "batch", "remat"),
    [(8, 16, 30.75, 1, False), (32, 16, 30.75, 2, False), (128, 16, 30.75, 8, True), (8, 4, 7.0, 2, True)],
)
def test_a_chip_gets_its_share_and_remat_where_it_would_get_full(
    batch_size: int, shards: int, memory: float, batch: int, remat: bool
) -> None:
    one = work(finetuning({"batch_size": batch_size}, precision="bf16"), shards, memory)
    assert one.step is not None
    assert (one.batch, one.attention, one.step.remat) == (batch, "flash", remat)


def test_remat_as_asked() -> None:
    for asked in (True, False):
        one = work(finetuning({"batch_size": 128}, remat=asked), 16)
        assert one.step is not None
        assert one.step.remat is asked


def test_a_probe_encodes_one_volume_a_chip_whatever_the_batch() -> None:
    one = work(Experiment.model_validate({"data": {"batch_size": 512}}), 4)
    assert (one.batch, one.step) == (1, None)


def test_evaluation_is_forward_only() -> None:
    experiment = finetuning({"val_batch_size": 64})
    assert evaluation_work(experiment, work(experiment, 16), 16) == Work(
        ORIGINAL_GEOMETRY, 4, "fp32", "flash"
    )


def told(experiment: Experiment, shards: int, memory: float) -> list[tuple[str, ...]]:
    one = work(experiment, shards, memory)
    assert one.peak > memory * GIB
    found = cures(experiment, one, "tpu", shards, int(memory * GIB))
    assert all(cure.peak <= memory * GIB for cure in found)
    return [cure.keys for cure in found]


def test_each_cure_that_suffices_alone() -> None:
    experiment = finetuning({"batch_size": 16}, {"attention": "sdpa"}, precision="fp32", remat=False)
    assert told(experiment, 16, 30.75) == [("train.remat: true",), ("model.attention: auto",)]


def test_cures_together_where_none_suffices_alone() -> None:
    experiment = finetuning({"batch_size": 16}, {"attention": "sdpa"}, precision="bf16", remat=False)
    assert told(experiment, 16, 4.0) == [("model.attention: auto", "train.remat: true")]


def test_a_written_cure_makes_it_fit() -> None:
    experiment = finetuning({"batch_size": 64}, {"attention": "sdpa"}, precision="fp32", remat=False)
    assert ("train.remat: true",) in told(experiment, 16, 30.75)
    cured = finetuning({"batch_size": 64}, {"attention": "sdpa"}, precision="fp32", remat=True)
    assert work(cured, 16).peak <= 30.75 * GIB


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "shards", "memory", "batch", "parts"),
    [
        (32, 1, 16, 30.75, 2, 1),  # fits as it is
        (128, 1, 16, 30.75, 4, 2),
        (2048, 3, 16, 30.75, 4, 32),
        (96, 1, 16, 15.75, 2, 3),
        (34, 1, 16, 15.75, 2, 2),  # 17 on 16 chips are two a chip
        (8, 1, 1, 9.0, 1, 8),
    ],
)
def test_a_batch_is_taken_in_as_few_equal_parts_as_make_it_fit(
    batch_size: int, accumulate: int, shards: int, memory: float, batch: int, parts: int
) -> None:
    experiment = finetuning({"batch_size": batch_size}, precision="bf16", accumulate=accumulate, remat=False)
    one = work(experiment, shards, memory)
    assert one.step is not None
    assert (one.batch, one.step.microbatches) == (batch, parts)
    assert one.peak <= 0.85 * memory * GIB
    assert batch_size % parts == 0
    assert one.step.accumulated == (parts > 1 or accumulate > 1)


def test_parts_come_after_rematerialisation() -> None:
    one = work(finetuning({"batch_size": 128}, precision="bf16"), 16)
    assert one.step is not None
    assert (one.batch, one.step.remat, one.step.microbatches) == (8, True, 1)


def test_a_part_fits_where_only_some_of_the_spare_memory_is_left() -> None:
    """Above 85 % and below all of it, one part after the other is better than nothing."""
    one = work(finetuning({"batch_size": 16}, precision="bf16", remat=False), 16)
    memory = one.peak / 0.95 / GIB
    tight = work(finetuning({"batch_size": 16}, precision="bf16", remat=False), 16, memory)
    assert tight.step is not None
    assert (tight.batch, tight.step.microbatches) == (1, 1)
    parts = work(
        finetuning({"batch_size": 48}, precision="bf16", remat=False), 16, one.peak * 1.06 / GIB + 0.7
    )
    assert parts.step is not None
    assert parts.step.microbatches == 3


def test_nobody_is_taken_apart_where_memory_is_not_known() -> None:
    experiment = finetuning({"batch_size": 2048}, precision="bf16")
    one = main_work(experiment, ORIGINAL_GEOMETRY, "tpu", 1, None)
    assert one.step is not None
    assert (one.batch, one.step.microbatches) == (2048, 1)


def test_what_no_change_can_cure() -> None:
    assert told(finetuning({"batch_size": 1}, precision="bf16"), 1, 2.0) == []


def test_flash_is_refused_here_too() -> None:
    with pytest.raises(SpecError, match="kernel for TPUs"):
        main_work(finetuning(model={"attention": "flash"}), ORIGINAL_GEOMETRY, "torch", 1, None)


def test_no_torch() -> None:
    code = "import sys, octjob.models.needs; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"

"""The TPU's own compiler, on octjob's own modules: it compiles, it fits, nothing N x N, gradients summed once, no
product of float32 cut to bfloat16."""

from __future__ import annotations

import math

import pytest

from tests.tpu.conftest import GIB, Compile
from tests.tpu.programs import V4_8, V4_32, V5E, V6E, Chips, Program

SMALL = [
    (Program("step", "sdpa", size="tiny", chips=16), V4_32),
    (Program("step", "flash", remat=True, size="tiny", chips=16), V4_32),
    (Program("step", "blocks", remat=True, size="tiny", chips=4), V4_8),
    (Program("step", "flash", size="tiny", chips=4), V5E),
    (Program("step", "flash", size="tiny", chips=4), V6E),
    (Program("step", "flash", size="tiny", precision="fp32"), V4_32),
    (Program("step", "blocks", remat=True, size="tiny", precision="fp32"), V4_32),
]
ENCODE = [(Program("encode", attention), V4_32) for attention in ("sdpa", "blocks", "flash")]
FULL = [
    *(
        (Program("encode", attention), chips)
        for attention in ("sdpa", "blocks", "flash")
        for chips in (V5E, V6E)
    ),
    (Program("step", "sdpa"), V4_32),
    (Program("step", "sdpa", remat=True), V4_32),
    (Program("step", "blocks", remat=True), V4_32),
    *((Program("step", "flash", remat), chips) for remat in (False, True) for chips in (V4_32, V5E, V6E)),
    (Program("step", "flash", precision="fp32"), V4_32),
    (Program("step", "flash", remat=True, chips=4), V4_8),
    (Program("step", "flash", remat=True, chips=16), V4_32),
]
CASES = [
    *(pytest.param(*case, id=f"{case[0].name}@{case[1].name}") for case in [*SMALL, *ENCODE]),
    *(pytest.param(*case, id=f"{case[0].name}@{case[1].name}", marks=pytest.mark.slow) for case in FULL),
]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("program", "chips"), CASES)
def test_program(program: Program, chips: Chips, compiled: Compile) -> None:
    made = compiled(program, chips)
    assert made.peak < chips.memory_gib * GIB
    # SDPA as the control: the search for the array finds it where it is.
    assert made.scores == (program.attention == "sdpa")
    assert made.cut == 0
    if program.work == "step" and program.chips > 1:
        # Every gradient once, and the loss.
        assert made.reduced == _num_parameters(program) + 1
    else:
        assert made.all_reduces == 0


def _num_parameters(program: Program) -> int:
    """Of encoder and linear head."""
    from octjob.models.encoder import empty_encoder

    encoder = sum(math.prod(p.shape) for p in empty_encoder(program.geometry).parameters())
    classes = program.experiment.classes.num_classes
    return encoder + classes * (program.geometry.embed_dim + 1)

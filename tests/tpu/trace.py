"""Trace a program of octjob's own modules with torch_xla, without executing it.

In a process of its own, `python -m tests.tpu.trace WORK ATTENTION REMAT SIZE CHIPS PRECISION FILE`: what torch_xla
found in its environment it keeps. Shapes: B batch, K classes, C D H W a volume.
"""

from __future__ import annotations

import os
import sys
from dataclasses import astuple
from pathlib import Path
from typing import Any

from tests.tpu.programs import Program


def arguments(program: Program) -> list[str]:
    """The command line that traces `program`, without the file."""
    return [str(value) for value in astuple(program)]


def main(work: str, attention: str, remat: str, size: str, chips: str, precision: str, out: str) -> None:
    """Write the program's StableHLO to `out`."""
    program = Program(work, attention, remat == "True", size, int(chips), precision)  # type: ignore[arg-type]
    os.environ |= {"PJRT_DEVICE": "CPU", "CPU_NUM_DEVICES": chips}
    from torch_xla.core import xla_model

    outputs = Tracing(program).outputs()
    Path(out).write_bytes(xla_model.get_stablehlo_bytecode(outputs))


class Tracing:
    """The modules that `octjob train` builds, on a lazy device that nothing is ever executed on."""

    def __init__(self, program: Program) -> None:
        import numpy as np
        import torch
        import torch_xla
        from torch_xla import runtime
        from torch_xla.distributed.spmd import Mesh

        self.program = program
        self.mesh = None
        if program.chips > 1:
            runtime.use_spmd()
            self.mesh = Mesh(np.arange(program.chips), (program.chips,), ("data",))
        self.device = torch_xla.device()
        self.batch = program.chips
        self.x_BCDHW = self.sharded(torch.zeros(self.batch, 1, *program.geometry.volume_size))

    def sharded(self, x: Any) -> Any:
        """On the device, the first axis over the chips."""
        from torch_xla.distributed.spmd import mark_sharding

        x = x.to(self.device)
        if self.mesh is not None:
            mark_sharding(x, self.mesh, ("data",) + (None,) * (x.ndim - 1))
        return x

    def autocast(self) -> Any:
        """As the config's precision asks."""
        import torch

        return torch.autocast("xla", torch.bfloat16, enabled=self.program.precision == "bf16")

    def encoder(self) -> Any:
        """An encoder without values, arranged as for a TPU."""
        import torch

        from octjob.models.arrange import arrange
        from octjob.models.encoder import empty_encoder
        from octjob.runtime.flash import flash_attention, xla_recompute

        encoder = empty_encoder(self.program.geometry).to_empty(device="cpu")
        for parameter in encoder.parameters():
            torch.nn.init.zeros_(parameter)
        flash = flash_attention(self.mesh) if self.program.attention == "flash" else None
        arrange(encoder, self.program.experiment, "tpu", recompute=xla_recompute(), flash=flash)
        return encoder

    def outputs(self) -> list[Any]:
        """What the program computes: features (B, E), or the loss and everything that a step changes."""
        return self._encode() if self.program.work == "encode" else self._step()

    def _encode(self) -> list[Any]:
        import torch

        from octjob.models.pooling import pool_tokens

        encoder = self.encoder().to(self.device).eval()
        with torch.no_grad(), self.autocast():
            tokens_BNE = encoder(self.x_BCDHW).float()
            return [pool_tokens(tokens_BNE, "mean")]

    def _step(self) -> list[Any]:
        import torch

        from octjob.train.classifier import Classifier, make_head
        from octjob.train.loss import make_loss
        from octjob.train.optimizer import make_optimizer

        experiment = self.program.experiment
        head = make_head(experiment, self.program.geometry.embed_dim, 0)
        model = Classifier(self.encoder(), head, "mean").to(self.device).train()
        optimizer = make_optimizer(model, experiment.train)
        for parameter in model.parameters():  # made lazily it would be computed, not given
            moments = {
                name: torch.zeros(parameter.shape).to(self.device) for name in ("exp_avg", "exp_avg_sq")
            }
            optimizer.state[parameter] = {"step": torch.tensor(1.0), **moments}
        label_B = self.sharded(torch.zeros(self.batch, dtype=torch.int64))
        weight_B = self.sharded(torch.ones(self.batch))
        with self.autocast():
            logits_BK = model(self.x_BCDHW)
        loss = (make_loss(experiment.train, None)(logits_BK.float(), label_B) * weight_B).sum()
        loss.backward()
        optimizer.step()
        state = [
            x
            for values in optimizer.state.values()
            for x in values.values()
            if x.device != torch.device("cpu")
        ]
        return [loss, *model.parameters(), *state]


if __name__ == "__main__":
    main(*sys.argv[1:])

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
    """The modules that `octjob train` builds, on a lazy runtime that nothing is ever executed on."""

    def __init__(self, program: Program) -> None:
        import torch

        self.program = program
        self.runtime = lazy_runtime()
        self.x_BCDHW = self.runtime.batch(torch.zeros(program.chips, 1, *program.geometry.volume_size))

    def encoder(self) -> Any:
        """An encoder without values, arranged as for a TPU."""
        import torch

        from octjob.models.arrange import arrange
        from octjob.models.encoder import empty_encoder
        from octjob.runtime.flash import flash_attention

        encoder = empty_encoder(self.program.geometry).to_empty(device="cpu")
        for parameter in encoder.parameters():
            torch.nn.init.zeros_(parameter)
        mesh = self.runtime.mesh if self.program.chips > 1 else None
        flash = flash_attention(mesh) if self.program.attention == "flash" else None
        recompute = self.runtime.recompute()
        arrange(encoder, self.program.experiment, "tpu", recompute=recompute, flash=flash)
        return encoder

    def outputs(self) -> list[Any]:
        """What the program computes: features (B, E), or the sums and everything that a step changes."""
        return self._encode() if self.program.work == "encode" else self._step()

    def _encode(self) -> list[Any]:
        import torch

        from octjob.models.pooling import pool_tokens

        encoder = self.runtime.place(self.encoder()).eval()
        with torch.no_grad(), self.runtime.autocast(self.program.precision == "bf16"):
            tokens_BNE = encoder(self.x_BCDHW).float()
            return [pool_tokens(tokens_BNE, "mean")]

    def _step(self) -> list[Any]:
        import torch

        from octjob.train.classifier import Classifier, make_head
        from octjob.train.step import Step

        experiment, batch = self.program.experiment, self.program.chips
        head = make_head(experiment, self.program.geometry.embed_dim, 0)
        step = Step(Classifier(self.encoder(), head, "mean"), experiment, self.runtime, size=batch)
        step.model.train()
        label_B = self.runtime.batch(torch.zeros(batch, dtype=torch.int64))
        step.add(self.x_BCDHW, label_B, self.runtime.batch(torch.ones(batch)))
        step.apply(1.0)
        state = [x for values in step.optimizer.state.values() for x in values.values()]
        return [step.sums, *step.model.parameters(), *state]


def lazy_runtime() -> Any:
    """The XLA runtime, but that what is recorded is never carried out."""
    import torch

    from octjob.runtime.single import Single
    from octjob.runtime.xla import Xla

    class Lazy(Xla):
        def place(self, module: Any) -> Any:
            return module.to(self.device)

        def end_step(self) -> None:
            """The step ends where its program is taken."""

        def prime(self, optimizer: Any) -> None:
            """Made lazily Adam's state would be computed, not given."""
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    moments = ("exp_avg", "exp_avg_sq")
                    given = {name: torch.zeros(parameter.shape).to(self.device) for name in moments}
                    optimizer.state[parameter] = {"step": torch.zeros(()).to(self.device), **given}

    return Lazy(Single("cpu"))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Rematerialisation: intermediate results that a backward pass needs are computed again instead of kept.

torch.utils.checkpoint imports torch's compiler at its first use (five seconds), and knows nothing of XLA, which
merges what is computed twice from the same inputs, and so undoes the saving, unless a barrier stands between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Barrier = Callable[[Sequence[Tensor]], None]


@dataclass(frozen=True)
class Recompute:
    """Calls functions so that their intermediate results are not kept.

    barrier: on devices whose compiler would merge the second computation with the first, what it may not look
    through: changes nothing of the tensors it is given, in place.
    """

    barrier: Barrier | None = None

    def __call__(
        self, run: Callable[..., Tensor], *inputs: Tensor, parameters: Sequence[Tensor] = ()
    ) -> Tensor:
        """`run(*inputs)`, with the same value and gradients as without.

        run: draws no random numbers and has one output. parameters: whatever else it differentiates through.
        """
        if torch.is_grad_enabled() and any(x.requires_grad for x in (*inputs, *parameters)):
            result: Tensor = _Recomputed.apply(run, self.barrier, len(inputs), *inputs, *parameters)  # type: ignore[no-untyped-call]
            return result
        return run(*inputs)


class _Recomputed(torch.autograd.Function):
    """Keeps inputs only. Autocast is in the backward pass as it was in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        run: Callable[..., Tensor],
        barrier: Barrier | None,
        num_inputs: int,
        *tensors: Tensor,
    ) -> Tensor:
        kind = tensors[0].device.type
        ctx.run, ctx.barrier = run, barrier
        ctx.autocast = (kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
        ctx.parameters = tensors[num_inputs:]
        ctx.save_for_backward(*tensors[:num_inputs])
        return run(*tensors[:num_inputs])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        inputs: tuple[Tensor, ...] = ctx.saved_tensors
        gradient = gradients[0]
        if ctx.barrier is not None:
            # With the gradient among them: the second computation waits for the backward pass to arrive here.
            ctx.barrier([*inputs, gradient])
        needed = ctx.needs_input_grad[3:]
        again = [x.detach().requires_grad_(need) for x, need in zip(inputs, needed, strict=False)]
        with torch.set_grad_enabled(True), torch.autocast(*ctx.autocast):
            output = ctx.run(*again)
        wanted = [x for x, need in zip((*again, *ctx.parameters), needed, strict=True) if need]
        found = iter(torch.autograd.grad(output, wanted, gradient))
        return (None, None, None, *(next(found) if need else None for need in needed))

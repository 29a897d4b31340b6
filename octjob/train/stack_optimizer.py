"""AdamW and SGD for stacked heads: the arithmetic of torch's, with a weight decay for each head.

Shapes: A heads. All heads have taken equally many steps.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from octjob.runtime.base import Runtime
from octjob.train.stack import Stack, Weights, whole

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
MOMENTUM = 0.9


class StackOptimizer(Protocol):
    """Moves stacked parameters by their gradients.

    moments: what it remembers of earlier gradients, tensors like the parameters, by name.
    """

    moments: dict[str, Weights]

    def step(self, stack: Stack, decay_A: Tensor | None, number: int, lr: float) -> None:
        """Step `number`, from 1 on, at the learning rate `lr` of a head of scale 1.

        decay_A: each head's weight decay times its scale, on the device; it acts on matrices only.
        All tensors are `roomy`.
        """
        ...


class StackAdamW:
    """torch's AdamW, by its fused kernel where nothing is compiled."""

    def __init__(self, moments: dict[str, Weights], runtime: Runtime) -> None:
        self.moments = moments
        self.runtime = runtime

    def step(self, stack: Stack, decay_A: Tensor | None, number: int, lr: float) -> None:
        """See `StackOptimizer`."""
        if self.runtime.compiled:
            self._compiled(stack, decay_A, number, lr)
            return
        if decay_A is not None:
            _decay(stack, torch.add(1.0, decay_A, alpha=-lr))
        values, gradients, means, squares = (
            [whole(x) for x in weights.values()]
            for weights in (
                stack.parameters,
                stack.gradients,
                self.moments["exp_avg"],
                self.moments["exp_avg_sq"],
            )
        )
        count = torch.full((), float(number), device=values[0].device)
        torch._fused_adamw_(
            values,
            gradients,
            means,
            squares,
            [],
            [count] * len(values),
            lr=lr,
            beta1=BETA1,
            beta2=BETA2,
            weight_decay=0.0,
            eps=EPS,
            amsgrad=False,
            maximize=False,
        )

    def _compiled(self, stack: Stack, decay_A: Tensor | None, number: int, lr: float) -> None:
        """What changes from step to step comes in as tensors."""
        constant = self.runtime.constant
        if decay_A is not None:
            _decay(stack, 1.0 - constant(torch.tensor(lr)) * decay_A)
        size = constant(torch.tensor(lr / (1 - BETA1**number)))
        correction = constant(torch.tensor((1 - BETA2**number) ** 0.5))
        for name, parameter in stack.parameters.items():
            mean, square = self.moments["exp_avg"][name], self.moments["exp_avg_sq"][name]
            gradient = stack.gradients[name]
            mean.lerp_(gradient, 1 - BETA1)
            square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
            parameter.sub_(size * mean / (square.sqrt() / correction + EPS))


class StackSGD:
    """torch's SGD with momentum, whose decay is a part of the gradient."""

    def __init__(self, moments: dict[str, Weights], runtime: Runtime) -> None:
        self.moments = moments
        self.runtime = runtime

    def step(self, stack: Stack, decay_A: Tensor | None, number: int, lr: float) -> None:
        """See `StackOptimizer`."""
        size = self.runtime.constant(torch.tensor(lr))
        for name, parameter in stack.parameters.items():
            gradient, moment = stack.gradients[name], self.moments["momentum"][name]
            if decay_A is not None and parameter.ndim == 3:
                gradient.addcmul_(parameter, decay_A.view(-1, 1, 1))
            moment.mul_(MOMENTUM).add_(gradient)
            parameter.sub_(moment * size)


def make_stack_optimizer(kind: str, moments: dict[str, Weights], runtime: Runtime) -> StackOptimizer:
    """The optimizer of a config's name, AdamW or SGD, with what it remembers."""
    return StackSGD(moments, runtime) if kind == "SGD" else StackAdamW(moments, runtime)


def no_moments(kind: str, parameters: Weights) -> dict[str, Weights]:
    """What it remembers before the first step: zeros."""
    names = ("momentum",) if kind == "SGD" else ("exp_avg", "exp_avg_sq")
    return {name: {key: torch.zeros_like(x) for key, x in parameters.items()} for name in names}


def _decay(stack: Stack, kept_A: Tensor) -> None:
    for parameter in stack.parameters.values():
        if parameter.ndim == 3:
            parameter.mul_(kept_A.view(-1, 1, 1))

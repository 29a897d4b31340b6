"""Linear and MLP heads stacked into one tensor for each parameter, with their gradients in closed form.

Shapes: A heads, S streams of batches, R heads of each stream (A = S R, a stream's heads are neighbours), B rows of a
batch, E features, H hidden features, K classes. Parameters are (A, out, in) and (A, out).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from octjob.models.heads import HeadKind, LinearHead, MlpHead

# What can be stacked; other kinds of heads train one by one.
STACKED: tuple[HeadKind, ...] = ("linear", "mlp")
Weights = dict[str, Tensor]


class Stack(ABC):
    """Heads that see batches of the same shape, each those of its stream.

    scale_A: what each head's parameters are multiplied with before use, or None for 1. One step for all heads then
    moves each by its own learning rate. The gradients are those of the parameters as used.
    """

    def __init__(self, parameters: Weights, num_streams: int, scale_A: Tensor | None) -> None:
        self.parameters = parameters
        self.gradients = {name: torch.zeros_like(x) for name, x in parameters.items()}
        self.num_streams = num_streams
        first = next(iter(parameters.values()))
        self.num_shared = len(first) // num_streams
        self.scale_SBRK = None if scale_A is None else scale_A.view(num_streams, 1, self.num_shared, 1)

    @abstractmethod
    def forward(self, x_SBE: Tensor, mask_SBF: Tensor | None) -> Tensor:
        """Logits (S, B, R, K). mask: what dropout multiplies its features with, the same for a stream's heads."""

    @abstractmethod
    def backward(self, gradient_SBRK: Tensor) -> None:
        """From the gradient of the logits that `forward` gave last, set `gradients`."""

    def _linear(self, name: str, x_SBF: Tensor) -> Tensor:
        """A layer on what all heads of a stream see: (S, B, F) -> (S, B, R, out)."""
        weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        S, R = self.num_streams, self.num_shared
        y = torch.baddbmm(bias.view(S, 1, -1), x_SBF, self._by_stream(weight).transpose(1, 2))
        return self._scaled(y.view(S, -1, R, bias.shape[1]))

    def _linear_backward(self, name: str, gradient_SBRF: Tensor, x_SBF: Tensor) -> None:
        weight, bias = self.gradients[f"{name}.weight"], self.gradients[f"{name}.bias"]
        flat = gradient_SBRF.flatten(2)
        torch.bmm(flat.transpose(1, 2), x_SBF, out=self._by_stream(weight))
        torch.sum(flat, 1, out=bias.view(self.num_streams, -1))

    def _by_stream(self, weight: Tensor) -> Tensor:
        """(A, out, in) as (S, R out, in)."""
        return weight.view(self.num_streams, -1, weight.shape[-1])

    def _scaled(self, y_SBRF: Tensor) -> Tensor:
        return y_SBRF if self.scale_SBRK is None else y_SBRF * self.scale_SBRK


class LinearStack(Stack):
    """See `LinearHead`."""

    def forward(self, x_SBE: Tensor, mask_SBF: Tensor | None) -> Tensor:
        self._x_SBE = x_SBE if mask_SBF is None else x_SBE * mask_SBF
        return self._linear("fc", self._x_SBE)

    def backward(self, gradient_SBRK: Tensor) -> None:
        self._linear_backward("fc", gradient_SBRK, self._x_SBE)


class MlpStack(Stack):
    """See `MlpHead`."""

    def forward(self, x_SBE: Tensor, mask_SBF: Tensor | None) -> Tensor:
        self._x_SBE = x_SBE
        self._mask_SB1H = None if mask_SBF is None else mask_SBF[:, :, None]
        self._before_SBRH = self._linear("fc1", x_SBE)
        self._hidden_ABH = self._by_head(self._masked(F.gelu(self._before_SBRH)))
        weight_AKH, bias_AK = self.parameters["fc2.weight"], self.parameters["fc2.bias"]
        y_ABK = torch.baddbmm(bias_AK[:, None], self._hidden_ABH, weight_AKH.transpose(1, 2))
        return self._scaled(self._by_row(y_ABK))

    def backward(self, gradient_SBRK: Tensor) -> None:
        gradient_ABK = self._by_head(gradient_SBRK)
        torch.bmm(gradient_ABK.transpose(1, 2), self._hidden_ABH, out=self.gradients["fc2.weight"])
        torch.sum(gradient_ABK, 1, out=self.gradients["fc2.bias"])
        hidden_ABH = torch.bmm(gradient_ABK, self.parameters["fc2.weight"])
        hidden_SBRH = self._masked(self._scaled(self._by_row(hidden_ABH)))
        before_SBRH = torch.ops.aten.gelu_backward(hidden_SBRH, self._before_SBRH)
        self._linear_backward("fc1", before_SBRH, self._x_SBE)

    def _masked(self, hidden_SBRH: Tensor) -> Tensor:
        return hidden_SBRH if self._mask_SB1H is None else hidden_SBRH * self._mask_SB1H

    def _by_head(self, y_SBRF: Tensor) -> Tensor:
        return y_SBRF.transpose(1, 2).flatten(0, 1)

    def _by_row(self, y_ABF: Tensor) -> Tensor:
        return y_ABF.view(self.num_streams, self.num_shared, *y_ABF.shape[1:]).transpose(1, 2)


def make_stack(parameters: Weights, num_streams: int, scale_A: Tensor | None) -> Stack:
    """The stack whose parameters these are, by their names."""
    made = LinearStack if "fc.weight" in parameters else MlpStack
    return made(parameters, num_streams, scale_A)


def stacked(heads: Sequence[LinearHead | MlpHead]) -> Weights:
    """Parameters of heads of one kind and size, one tensor each, in the heads' order."""
    states = [head.state_dict() for head in heads]
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def clip(gradients: Sequence[Tensor], largest_A: Tensor) -> None:
    """Scale each head's gradient to a norm of at most `largest_A`, as `clip_grad_norm_` does."""
    squares = [g.flatten(1).square().sum(1) for g in gradients]
    norm_A = torch.stack(squares).sum(0).sqrt()
    factor_A = (largest_A / (norm_A + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor_A.view(-1, *[1] * (gradient.ndim - 1)))

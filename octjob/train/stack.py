"""Linear and MLP heads stacked into one tensor for each parameter, with their gradients in closed form.

On a CPU with one thread a head's numbers are the same bits whatever company it trains in: its products are made as if
it were alone, or all in one where that is found to give the same; its other numbers come from operations on single
elements, by whole vectors of the processor.

Shapes: A heads, S streams of batches, R heads of each stream (A = S R, a stream's heads are neighbours), B rows of a
batch, E features, H hidden features, F features under dropout, K classes. Parameters are (A, out, in) and (A, out).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from octjob.models.heads import HeadKind, LinearHead, MlpHead
from octjob.train.products import OfStreams, Products, products_for

# What can be stacked; other kinds of heads train one by one.
STACKED: tuple[HeadKind, ...] = ("linear", "mlp")
Weights = dict[str, Tensor]
# Floats of two cache lines, a multiple of any CPU's vectors.
_VECTOR = 32


class Stack(ABC):
    """Heads that see batches of the same shape, each those of its stream.

    scale_A: what each head's parameters are multiplied with before use: its learning rate. One step at rate 1 for all
    heads then moves each by its own. The gradients are those of the parameters as used.
    """

    def __init__(self, parameters: Weights, num_streams: int, num_rows: int, scale_A: Tensor) -> None:
        self.parameters = parameters
        self.gradients = {name: roomy(torch.zeros_like(x)) for name, x in parameters.items()}
        self.num_streams, self.num_rows = num_streams, num_rows
        self.scale_A11 = scale_A.view(-1, 1, 1)
        self._products: dict[str, Products] = {}

    @abstractmethod
    def forward(self, x_SBE: Tensor, mask_SBF: Tensor | None) -> Tensor:
        """Logits (A, K, B). mask: what dropout multiplies its features with, the same for a stream's heads."""

    @abstractmethod
    def backward(self, gradient_AKB: Tensor) -> None:
        """From the gradient of the logits that `forward` gave last, set `gradients`."""

    def _linear(self, name: str, x_SBF: Tensor) -> Tensor:
        """A layer on what all heads of a stream see, or with S = A each by itself: (S, B, F) -> (A, out, B)."""
        weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        if name not in self._products:
            self._products[name] = _products(weight, len(x_SBF), self.num_rows)
        return (self._products[name].forward(weight, x_SBF) + bias[..., None]) * self.scale_A11

    def _linear_backward(self, name: str, gradient_AFB: Tensor, x_SBF: Tensor) -> None:
        self._products[name].backward(gradient_AFB, x_SBF, out=self.gradients[f"{name}.weight"])
        torch.sum(gradient_AFB, 2, out=self.gradients[f"{name}.bias"])


class LinearStack(Stack):
    """See `LinearHead`."""

    def forward(self, x_SBE: Tensor, mask_SBF: Tensor | None) -> Tensor:
        self._x_SBE = x_SBE if mask_SBF is None else x_SBE * mask_SBF
        return self._linear("fc", self._x_SBE)

    def backward(self, gradient_AKB: Tensor) -> None:
        self._linear_backward("fc", gradient_AKB, self._x_SBE)


class MlpStack(Stack):
    """See `MlpHead`."""

    def forward(self, x_SBE: Tensor, mask_SBF: Tensor | None) -> Tensor:
        self._x_SBE = x_SBE
        self._mask_S1HB = None if mask_SBF is None else mask_SBF.transpose(1, 2).contiguous()[:, None]
        self._before_AHB = self._linear("fc1", x_SBE)
        self._hidden_ABH = self._masked(F.gelu(self._before_AHB)).transpose(1, 2).contiguous()
        return self._linear("fc2", self._hidden_ABH)

    def backward(self, gradient_AKB: Tensor) -> None:
        self._linear_backward("fc2", gradient_AKB, self._hidden_ABH)
        hidden_AHB = torch.zeros_like(self._before_AHB)
        # A product over so few classes takes no less by the library, which may round it by the number of heads.
        for weight_AH, gradient_AB in zip(
            self.parameters["fc2.weight"].unbind(1), gradient_AKB.unbind(1), strict=True
        ):
            hidden_AHB.addcmul_(weight_AH[:, :, None], gradient_AB[:, None])
        hidden_AHB = self._masked(hidden_AHB * self.scale_A11)
        before_AHB = torch.ops.aten.gelu_backward(hidden_AHB, self._before_AHB)
        self._linear_backward("fc1", before_AHB, self._x_SBE)

    def _masked(self, hidden_AHB: Tensor) -> Tensor:
        if self._mask_S1HB is None:
            return hidden_AHB
        hidden_SRHB = hidden_AHB.view(self.num_streams, -1, *hidden_AHB.shape[1:])
        return (hidden_SRHB * self._mask_S1HB).flatten(0, 1)


def _products(weight_AOF: Tensor, num_streams: int, num_rows: int) -> Products:
    num_heads, num_out, num_in = weight_AOF.shape
    if weight_AOF.device.type == "cpu":
        return products_for(num_heads, num_streams, num_rows, num_in, num_out)
    return OfStreams()


def make_stack(parameters: Weights, num_streams: int, num_rows: int, scale_A: Tensor) -> Stack:
    """The stack whose parameters these are, by their names. num_rows: B."""
    made = LinearStack if "fc.weight" in parameters else MlpStack
    return made(parameters, num_streams, num_rows, scale_A)


def stacked(heads: Sequence[LinearHead | MlpHead]) -> Weights:
    """Parameters of heads of one kind and size, one tensor each, in the heads' order."""
    states = [head.state_dict() for head in heads]
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def roomy(x: Tensor) -> Tensor:
    """A copy that ends with a whole vector of the CPU: kernels take what is left beyond the last one element by
    element, and round it otherwise. On other devices `x` itself."""
    if x.device.type != "cpu":
        return x
    room = x.new_zeros(_VECTOR * math.ceil(x.numel() / _VECTOR))
    room[: x.numel()] = x.flatten()
    return room[: x.numel()].view(x.shape)


def whole(x: Tensor) -> Tensor:
    """All that a `roomy` tensor lies in, flat."""
    if x.device.type != "cpu":
        return x
    return x.as_strided((x.untyped_storage().nbytes() // x.element_size(),), (1,), 0)


def clip(gradients: Sequence[Tensor], largest_A: Tensor) -> None:
    """Scale each head's gradient to a norm of at most `largest_A`, as `clip_grad_norm_` does."""
    squares = [g.flatten(1).square().sum(1) for g in gradients]
    norm_A = torch.stack(squares).sum(0).sqrt()
    factor_A = (largest_A / (norm_A + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor_A.view(-1, *[1] * (gradient.ndim - 1)))

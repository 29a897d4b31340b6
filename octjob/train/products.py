"""Products of stacked weights with the features that a stream's heads share.

One product for all heads of a stream is many times faster than one for each. A matrix library chooses its kernels by
the shape, so it may round otherwise; whether it does is tried with the shape at hand.

Shapes: A heads, S streams, R heads of each (A = S R, a stream's heads are neighbours), B rows, F inputs of a layer.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

# What a trial compares: outputs of each product at least, heads at most.
_NUM_OUTPUTS, _MOST_HEADS = 4000, 24


class Products(Protocol):
    """The two products of a layer whose inputs all heads of a stream share."""

    def forward(self, weight_AOF: Tensor, x_SBF: Tensor) -> Tensor:
        """(A, out, B)."""
        ...

    def backward(self, gradient_AOB: Tensor, x_SBF: Tensor, out: Tensor) -> None:
        """Of the outputs' gradients the weights', (A, out, F), into `out`."""
        ...


class OfStreams:
    """All heads of a stream in one."""

    def forward(self, weight_AOF: Tensor, x_SBF: Tensor) -> Tensor:
        """See `Products`."""
        weight_SnF = weight_AOF.view(len(x_SBF), -1, weight_AOF.shape[-1])
        return torch.bmm(weight_SnF, x_SBF.transpose(1, 2)).view(*weight_AOF.shape[:2], -1)

    def backward(self, gradient_AOB: Tensor, x_SBF: Tensor, out: Tensor) -> None:
        """See `Products`."""
        gradient_SnB = gradient_AOB.view(len(x_SBF), -1, gradient_AOB.shape[-1])
        torch.bmm(gradient_SnB, x_SBF, out=out.view(len(x_SBF), -1, out.shape[-1]))


class OfHeads:
    """A product for each head, all in one call."""

    def forward(self, weight_AOF: Tensor, x_SBF: Tensor) -> Tensor:
        """See `Products`."""
        return torch.bmm(weight_AOF, _repeated(x_SBF, len(weight_AOF)).transpose(1, 2))

    def backward(self, gradient_AOB: Tensor, x_SBF: Tensor, out: Tensor) -> None:
        """See `Products`."""
        torch.bmm(gradient_AOB, _repeated(x_SBF, len(gradient_AOB)), out=out)


class OneByOne:
    """Each head's in memory of its own: what a head alone has, by definition.

    Twice, since a single product may be another kernel's than one of several.
    """

    def forward(self, weight_AOF: Tensor, x_SBF: Tensor) -> Tensor:
        """See `Products`."""
        x_ABF = _repeated(x_SBF, len(weight_AOF))
        pairs = zip(weight_AOF.unbind(), x_ABF.unbind(), strict=True)
        return torch.stack([torch.bmm(_twice(w_OF), _twice(x_BF).transpose(1, 2))[0] for w_OF, x_BF in pairs])

    def backward(self, gradient_AOB: Tensor, x_SBF: Tensor, out: Tensor) -> None:
        """See `Products`."""
        x_ABF = _repeated(x_SBF, len(gradient_AOB))
        for head_OF, gradient_OB, x_BF in zip(out, gradient_AOB, x_ABF, strict=True):
            head_OF.copy_(torch.bmm(_twice(gradient_OB), _twice(x_BF))[0])


def _twice(x: Tensor) -> Tensor:
    return torch.stack([x, x])


def _repeated(x_SBF: Tensor, num_heads: int) -> Tensor:
    """(A, B, F); of one stream without a copy."""
    if len(x_SBF) == 1:
        return x_SBF.expand(num_heads, -1, -1)
    return x_SBF.repeat_interleave(num_heads // len(x_SBF), 0)


@cache
def products_for(num_heads: int, num_streams: int, num_rows: int, num_in: int, num_out: int) -> Products:
    """The fastest that give every head, on the CPU with one thread, the bits of one alone.

    Found with random numbers: what a kernel adds up in which order hangs on shapes and alignment, not on values.
    """
    made: tuple[Products, ...] = (OfStreams(), OfHeads())
    shape = (num_heads, num_streams, num_rows, num_in, num_out)
    return next((products for products in made if _agrees(products, *shape)), OneByOne())


def _agrees(
    products: Products, num_heads: int, num_streams: int, num_rows: int, num_in: int, num_out: int
) -> bool:
    generator = torch.Generator().manual_seed(0)
    some = torch.randperm(num_heads, generator=generator)[:_MOST_HEADS]
    shared = num_heads // num_streams
    # Few numbers agree by chance.
    for _ in range(math.ceil(_NUM_OUTPUTS / (len(some) * num_out * min(num_in, num_rows)))):
        weight_AOF = torch.randn(num_heads, num_out, num_in, generator=generator)
        gradient_AOB = torch.randn(num_heads, num_out, num_rows, generator=generator)
        x_SBF = torch.randn(num_streams, num_rows, num_in, generator=generator)
        expected = _both(OneByOne(), weight_AOF[some], gradient_AOB[some], x_SBF[some // shared])
        found = _both(products, weight_AOF, gradient_AOB, x_SBF)
        if not all(torch.equal(x[some], y) for x, y in zip(found, expected, strict=True)):
            return False
    return True


def _both(
    products: Products, weight_AOF: Tensor, gradient_AOB: Tensor, x_SBF: Tensor
) -> tuple[Tensor, Tensor]:
    out = torch.empty_like(weight_AOF)
    products.backward(gradient_AOB, x_SBF, out)
    return products.forward(weight_AOF, x_SBF), out

"""What one chip needs for an encoder: parameters, operations and bytes, by arithmetic alone.

Peaks agree within 15 % with what the TPU's compiler plans for (`make test-tpu-full`), to which the constants below
are fitted. They count results beside the arguments they replace, as if nothing were given away.

Shapes: B volumes a chip, N tokens, E embedding, M hidden layer of a block, K attention heads, Q queries of a block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from octjob.models.choice import QUERY_BLOCK, AttentionName
from octjob.models.shape import EncoderGeometry

Precision = Literal["fp32", "bf16"]
OptimizerName = Literal["AdamW", "SGD"]
# `auto` goes no nearer to a chip's memory than this share of it: the arithmetic may be off by the rest, and a
# program's code needs some.
FULL = 0.85
_FLOAT32 = 4
# Moments that an optimizer keeps of each parameter.
_MOMENTS = {"AdamW": 2, "SGD": 1}


@dataclass(frozen=True)
class Step:
    """A training step.

    accumulated: its gradient is summed over several batches. spare: a copy of the best weights is kept.
    microbatches: equal parts that a batch is taken in, one after the other, each a program's run of its own.
    """

    remat: bool
    optimizer: OptimizerName = "AdamW"
    accumulated: bool = False
    spare: bool = False
    microbatches: int = 1


@dataclass(frozen=True)
class Work:
    """What a chip does at a time: encode `batch` volumes, or with `step` train on them."""

    geometry: EncoderGeometry
    batch: int
    precision: Precision
    attention: AttentionName
    step: Step | None = None

    @property
    def parameters(self) -> int:
        """Numbers that the encoder has learned."""
        g = self.geometry
        E, M = g.embed_dim, g.mlp_dim
        block = 3 * E * (E + 1) + E * (E + 1) + M * (E + 1) + E * (M + 1) + 4 * E
        patch = E * (g.in_channels * math.prod(g.patch_size) + 1)
        return g.num_tokens * E + patch + g.depth * block + 2 * E

    @property
    def flops(self) -> int:
        """Floating-point operations of all `batch` volumes, matrix products only.

        A backward pass takes twice a forward pass, rematerialisation one more, of attention alone for `blocks`.
        """
        g = self.geometry
        N, E = g.num_tokens, g.embed_dim
        attention = g.depth * 4 * N * N * E
        products = g.depth * 2 * N * (4 * E * E + 2 * E * g.mlp_dim)
        patch = 2 * N * E * g.in_channels * math.prod(g.patch_size)
        forward = attention + products + patch
        if self.step is None:
            return self.batch * forward
        again = forward if self.step.remat else 0
        again += 0 if self.attention == "sdpa" else attention
        return self.batch * (3 * forward + again)

    @property
    def resident(self) -> int:
        """Bytes of what the program is given and returns: weights, moments, gradients, volumes."""
        volumes = _FLOAT32 * self.batch * self.geometry.in_channels * math.prod(self.geometry.volume_size)
        weights = _FLOAT32 * self.parameters
        if self.step is None:
            return weights + volumes
        changed = 1 + _MOMENTS[self.step.optimizer] + (1 if self.step.accumulated else 0)
        return weights * (2 * changed + (1 if self.step.spare else 0)) + volumes

    @property
    def temporaries(self) -> int:
        """Most bytes of intermediate results at a time."""
        if self.step is None:
            return self._block(kept=False) + self._stored_scores(forward=True)
        depth = self.geometry.depth
        tokens = _FLOAT32 * self._tokens * self.geometry.embed_dim
        weights = self._width * self.parameters
        if self.step.remat:
            return depth * tokens + self._block(kept=True) + weights + self._stored_scores(forward=False)
        scores = self._width * self._scores * (depth if self.attention == "sdpa" else 0)
        blocks = self._stored_scores(forward=False) if self.attention == "blocks" else 0
        return (depth + 1) * self._block(kept=True) + weights + scores + blocks

    @property
    def peak(self) -> int:
        """Most bytes at a time."""
        return self.resident + self.temporaries

    def arranged(self, remat: Literal["auto"] | bool, memory: int | None) -> Work:
        """The same with rematerialisation as a config asks: `auto`, where `memory` bytes would get full without."""
        if self.step is None:
            return self
        plain = replace(self, step=replace(self.step, remat=False))
        if remat == "auto":
            remat = memory is not None and plain.peak > FULL * memory
        return replace(self, step=replace(self.step, remat=remat))

    @property
    def _width(self) -> int:
        """Bytes of a number that autocast makes smaller."""
        return 2 if self.precision == "bf16" else _FLOAT32

    @property
    def _tokens(self) -> int:
        return self.batch * self.geometry.num_tokens

    @property
    def _scores(self) -> int:
        """Numbers of a layer's N x N scores."""
        return self.batch * self.geometry.num_heads * self.geometry.num_tokens**2

    def _block(self, kept: bool) -> int:
        """Bytes of a block's intermediate results but for scores: at a time, or all those kept for its backward pass.

        At a time: the tokens in float32, queries, keys and values in two orders, the hidden layer. Kept: the tokens
        before both parts, both norms' results, queries, keys, values, what attention mixed, and the hidden layer
        twice; under autocast what it made smaller is there in float32 as well.
        """
        E, M, s = self.geometry.embed_dim, self.geometry.mlp_dim, self._width
        if not kept:
            return self._tokens * (_FLOAT32 * E + s * (6 * E + M))
        cast = 5 * _FLOAT32 * E if self.precision == "bf16" else 0
        return self._tokens * (s * (8 * E + 2 * M) + cast)

    def _stored_scores(self, forward: bool) -> int:
        """Bytes of scores that exist at a time, of one layer.

        Backward the compiler has float32 ones besides; of blocks of queries it computes several ahead of their use.
        """
        if self.attention == "flash":
            return 0
        if self.attention == "sdpa":
            return self._scores * (self._width if forward else _FLOAT32 + self._width)
        if not forward:
            return self._scores * self._width
        queries = min(QUERY_BLOCK, self.geometry.num_tokens)
        return self.batch * self.geometry.num_heads * queries * self.geometry.num_tokens * self._width // 2

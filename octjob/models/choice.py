"""Which attention an encoder computes with. No torch here: what plans a run asks too.

Shapes: N tokens, K attention heads.
"""

from __future__ import annotations

from typing import Literal

from octjob.errors import SpecError
from octjob.models.shape import EncoderGeometry
from octjob.spec.experiment import AttentionKey

AttentionName = Literal["sdpa", "blocks", "flash"]
# Who compiles: torch with its own kernels, which never store the N x N scores; XLA, which stores them; XLA for a TPU,
# where a hand-written kernel exists.
Backend = Literal["torch", "xla", "tpu"]

QUERY_BLOCK = 1024
# Smaller scores are not worth going over the queries in pieces.
_STORED_SCORES_BYTES = 256 * 2**20


def choose_attention(
    wanted: AttentionKey, backend: Backend, geometry: EncoderGeometry, batch: int = 1
) -> AttentionName:
    """The attention for `batch` volumes a chip.

    auto: SDPA where torch's kernels or a small N make it the best; on a TPU the flash kernel where N allows it; else
    SDPA over blocks of queries.

    Raises:
        SpecError: flash where there is no TPU, or for a number of tokens that its kernel would get wrong.
    """
    if wanted == "flash":
        require_flash(backend, geometry.num_tokens)
    if wanted != "auto":
        return wanted
    scores = 4 * batch * geometry.num_heads * geometry.num_tokens**2
    if backend == "torch" or scores < _STORED_SCORES_BYTES:
        return "sdpa"
    return "flash" if backend == "tpu" and flash_takes(geometry.num_tokens) else "blocks"


def require_flash(backend: Backend, num_tokens: int) -> None:
    """Raise `SpecError` where the flash kernel does not exist or takes no such number of tokens."""
    if backend != "tpu":
        raise SpecError(
            "model.attention: flash is a kernel for TPUs, and this run has none",
            "Use auto, which takes it where it exists.",
        )
    check_tokens(num_tokens)


def flash_takes(num_tokens: int) -> bool:
    """Whether the flash kernel is right for so many tokens.

    Forward it works in blocks of 512 keys, pads to whole ones, and lets the padding take part in the softmax;
    backward in blocks of up to 1,024 queries, where it demands whole ones.
    """
    return num_tokens == 512 or num_tokens % 1024 == 0


def check_tokens(num_tokens: int) -> None:
    """Raise `SpecError` for a number of tokens that the flash kernel would get wrong."""
    if not flash_takes(num_tokens):
        raise SpecError(
            f"model.attention: flash takes 512 tokens or a multiple of 1024, this encoder has {num_tokens}",
            "Use blocks: the same numbers without storing the scores; auto takes it there.",
        )

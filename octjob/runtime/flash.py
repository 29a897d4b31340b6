"""The Pallas flash attention kernel of torch_xla, mended. With the XLA runtime the one place that imports torch_xla.

Shapes: B batch, K attention heads, N tokens, F features per head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from octjob.models.attention import Attend
from octjob.models.choice import check_tokens
from octjob.models.recompute import Recompute

# The newest that the libtpu which torch_xla 2.9.0 names can read; jax 0.7.1, which it names too, writes 8.
_MOSAIC_VERSION = 7


def flash_attention(mesh: Any = None) -> Attend:
    """The kernel for the chips of `mesh`, a torch_xla SPMD mesh whose first axis the batch is sharded over.

    None: one chip. The function raises `SpecError` for a number of tokens that the kernel would get wrong.
    """
    kernel = _mended_kernel()
    partition = None if mesh is None else (mesh.axis_names[0], None, None, None)

    def attend(q_BKNF: Tensor, k_BKNF: Tensor, v_BKNF: Tensor) -> Tensor:
        check_tokens(q_BKNF.shape[2])
        mixed_BKNF: Tensor = kernel(
            q_BKNF,
            k_BKNF,
            v_BKNF,
            sm_scale=1 / math.sqrt(q_BKNF.shape[-1]),  # the kernel's default is 1
            partition_spec=partition,
            mesh=mesh,
        )
        return mixed_BKNF

    return attend


def xla_recompute() -> Recompute:
    """Rematerialisation that XLA does not undo by merging equal computations."""
    from torch_xla.core import xla_model

    def barrier(tensors: Sequence[Tensor]) -> None:
        xla_model.optimization_barrier_(list(tensors))

    return Recompute(barrier)


def _mended_kernel() -> Callable[..., Tensor]:
    """torch_xla's function, after two repairs of what it calls, neither of which it has an argument for."""
    from jax._src import tpu_custom_call
    from torch_xla.experimental import custom_kernel

    # pytorch/xla#9614: "Unsupported version: expected <= 7 but got 8".
    tpu_custom_call.get_ir_version = lambda ctx: _MOSAIC_VERSION
    custom_kernel.trace_pallas = _lower_for_tpu
    kernel: Callable[..., Tensor] = custom_kernel.flash_attention
    return kernel


def _lower_for_tpu(
    kernel: Callable[..., Any],
    *args: Any,
    static_argnums: Any = None,
    static_argnames: Any = None,
    use_cache: bool = False,
    **kwargs: Any,
) -> tuple[str, list[Tensor]]:
    """What `trace_pallas` does, for a TPU whatever jax itself would compute on.

    torch_xla holds the chips, so jax may see none and then refuses to lower for the CPU. Queries in float32 are
    multiplied as such, which jax asks for by itself as little as torch_xla does.
    """
    import jax
    import jax._src.pallas.mosaic.pallas_call_registration
    from torch_xla.experimental import custom_kernel

    tensors = [x for x in args if isinstance(x, Tensor)]
    shapes = [custom_kernel.to_jax_shape_dtype_struct(x) if isinstance(x, Tensor) else x for x in args]
    with jax.default_matmul_precision("highest" if tensors[0].dtype == torch.float32 else None):
        traced = jax.jit(kernel, static_argnums=static_argnums, static_argnames=static_argnames).trace(
            *shapes, **kwargs
        )
        module = traced.lower(lowering_platforms=("tpu",)).compiler_ir()
    payload: str = custom_kernel._extract_backend_config(module)
    return payload, tensors

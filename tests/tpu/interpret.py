"""Run octjob's flash attention through torch_xla's own forward and backward, its kernels by Pallas' interpreter.

In a process of its own, `python -m tests.tpu.interpret TOKENS`: prints as JSON the largest difference to torch's
attention of the result and of each gradient, over the largest value. Shapes: B K N F as in `octjob.models.attention`.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def main(tokens: str) -> None:
    """Compare for so many tokens."""
    os.environ["PJRT_DEVICE"] = "CPU"
    import torch

    from octjob.models.attention import sdpa
    from octjob.runtime.flash import flash_attention

    attend = flash_attention()
    _interpret()
    generator = torch.Generator().manual_seed(0)
    q, k, v, weight = (torch.randn(2, 2, int(tokens), 64, generator=generator) for _ in range(4))
    inputs = [x.requires_grad_() for x in (q, k, v)]
    found, expected = (_with_gradients(one, inputs, weight) for one in (attend, sdpa))
    names = ("result", "q", "k", "v")
    differences = {
        name: float((a - b).abs().max() / b.abs().max())
        for name, a, b in zip(names, found, expected, strict=True)
    }
    sys.stdout.write(json.dumps(differences))


def _with_gradients(attend: Any, inputs: list[Any], weight: Any) -> list[Any]:
    import torch

    mixed_BKNF = attend(*inputs)
    return [mixed_BKNF.detach(), *torch.autograd.grad((mixed_BKNF * weight).sum(), inputs)]


def _interpret() -> None:
    """Compute a kernel where torch_xla would lower it, and hand out its results where it would call it."""
    import torch_xla
    from torch_xla.experimental import custom_kernel

    custom_kernel.trace_pallas = _computed
    torch_xla._XLAC._xla_tpu_custom_call = _handed_out


def _computed(
    kernel: Any, *args: Any, static_argnums: Any = None, static_argnames: Any = None, **kwargs: Any
) -> Any:
    import jax.numpy as jnp
    import torch
    from jax.experimental.pallas import tpu

    kwargs.pop("use_cache", None)
    arrays = [jnp.asarray(x.detach().numpy()) if isinstance(x, torch.Tensor) else x for x in args]
    with tpu.force_tpu_interpret_mode():
        return kernel(*arrays, **kwargs), []


def _handed_out(args: Any, results: Any, shapes: Any, dtypes: Any) -> list[Any]:
    import numpy as np
    import torch

    results = results if isinstance(results, tuple | list) else [results]
    tensors = [torch.from_numpy(np.array(x)) for x in results if x is not None]
    # The kernel's row sums and maxima fill a register of 128 lanes, of which jax has taken the first.
    return [
        x if x.ndim == len(shape) else x[..., None].expand(*shape)
        for x, shape in zip(tensors, shapes, strict=False)
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])

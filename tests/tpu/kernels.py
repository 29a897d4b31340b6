"""Print as JSON whether the flash kernels, forward and backward, multiply float32 as such, for each type of queries.

In a process of its own, `python -m tests.tpu.kernels`.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from typing import Any


def main() -> None:
    """{"torch.float32": [whether, for each kernel], "torch.bfloat16": ...}."""
    os.environ["PJRT_DEVICE"] = "CPU"
    import torch
    import torch_xla
    from torch_xla.experimental import custom_kernel

    from octjob.runtime.flash import flash_attention

    attend = flash_attention()
    lower = custom_kernel.trace_pallas
    found: dict[str, list[bool]] = {}

    def looked_at(*args: Any, **kwargs: Any) -> Any:
        payload, tensors = lower(*args, **kwargs)
        (body,) = re.findall(r'"body": ?"([^"]+)"', payload)
        precise = b"contract_precision<fp32>" in base64.b64decode(body)
        found.setdefault(str(tensors[0].dtype), []).append(precise)
        return payload, tensors

    custom_kernel.trace_pallas = looked_at
    for dtype in (torch.float32, torch.bfloat16):
        inputs = [torch.zeros(1, 2, 1024, 64, dtype=dtype).to(torch_xla.device()) for _ in range(3)]
        attend(*(x.requires_grad_() for x in inputs)).sum().backward()  # type: ignore[no-untyped-call]
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()

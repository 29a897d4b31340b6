"""Building modules whose parameters have shapes but no values yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _SkipInit(TorchFunctionMode):
    """Turns `torch.nn.init.*` into no-ops."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs.get("tensor", args[0] if args else None)
        return func(*args, **kwargs)


@contextmanager
def without_values() -> Iterator[None]:
    """Modules built inside lie on the meta device: no memory, no random numbers drawn.

    Initialising on the meta device would be harmless but slow: torch imports its compiler for it, which takes
    seconds in every process.
    """
    with torch.device("meta"), _SkipInit():
        yield

"""Tensors of a file of unknown origin: what they say of themselves, checked before anything is computed with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import torch
from torch import Tensor

from octjob.errors import DataError


def is_dense(tensor: Tensor) -> bool:
    """Whether it holds its values one by one in memory."""
    return not _unusual(tensor)


def require_dense(tensors: Mapping[str, Tensor], uri: str) -> None:
    """Raise `DataError` naming the tensors that hold no values of their own.

    Those are meta, sparse, nested and quantized ones, and shapes of any size made of a few values by strides of 0
    or by a memory shared with another.
    """
    unusual = [f"{name} {problem}" for name in sorted(tensors) if (problem := _unusual(tensors[name]))]
    if unusual:
        raise DataError(
            f"{uri}: {len(unusual)} of {len(tensors)} tensors are not plain: {unusual[0]}",
            "Save the state dict of the whole model, dense and on the CPU.",
        )
    shared = next(_overlaps(tensors), None)
    if shared:
        raise DataError(
            f"{uri}: {shared[0]} and {shared[1]} share memory, as no two parameters of this encoder do",
            "Save a copy of each tensor: {k: v.clone() for k, v in state_dict.items()}.",
        )


def _unusual(tensor: Tensor) -> str:
    if tensor.is_nested:
        return "is a nested tensor"
    if tensor.is_meta:
        return "is on the meta device: a shape without values"
    if tensor.device.type != "cpu":
        return f"is on device {tensor.device}"
    if tensor.layout != torch.strided:
        return f"is {str(tensor.layout).removeprefix('torch.')}, not dense"
    if tensor.is_quantized:
        return f"is quantized ({tensor.dtype})"
    if type(tensor) not in (Tensor, torch.nn.Parameter):
        return f"is a {type(tensor).__name__}"
    if tensor.numel() > _extent(tensor):
        return f"has shape {tuple(tensor.shape)} but {_extent(tensor)} values (strides {tensor.stride()})"
    return ""


def _extent(tensor: Tensor) -> int:
    """Elements from its first to its last in memory."""
    if tensor.numel() == 0:
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _overlaps(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    places = sorted(
        (tensor.data_ptr(), tensor.data_ptr() + _extent(tensor) * tensor.element_size(), name)
        for name, tensor in tensors.items()
        if tensor.numel()
    )
    for (_, end, name), (start, _, other) in pairwise(places):
        if start < end:
            yield name, other

"""torch's AdamW and SGD for head and encoder, without importing torch's compiler.

torch decorates its optimizers so that their first use imports torch._dynamo: five seconds in every process of a
sweep, for a compiler that octjob does not use. The same functions, undecorated, do the same arithmetic.
"""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

import torch
from torch import nn

from octjob.spec.experiment import Train

Opt = TypeVar("Opt", bound=torch.optim.Optimizer)

_DECORATED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def _uncompiled(optimizer: type[Opt]) -> type[Opt]:
    """The class with the undecorated originals of its methods."""
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(optimizer, name)) for name in _DECORATED}
    methods["step"] = torch.no_grad()(inspect.unwrap(optimizer.step))
    return type(optimizer.__name__, (optimizer,), methods)


AdamW = _uncompiled(torch.optim.AdamW)
SGD = _uncompiled(torch.optim.SGD)


def make_optimizer(model: nn.Module, train: Train) -> torch.optim.Optimizer:
    """Groups `head` and, where the model has one, `encoder`, each with its `base_lr`.

    Both are there from the first step on, so that the schedule holds when the encoder is unfrozen.
    """
    encoder = getattr(model, "encoder", None)
    head = model if encoder is None else model.get_submodule("head")
    groups: list[dict[str, Any]] = [_group("head", head, train.lr_head)]
    if encoder is not None:
        groups.append(_group("encoder", encoder, train.lr_encoder))
    if train.optimizer == "SGD":
        return SGD(groups, lr=train.lr_head, momentum=0.9, weight_decay=train.weight_decay)
    return AdamW(groups, lr=train.lr_head, weight_decay=train.weight_decay)


def _group(name: str, module: nn.Module, lr: float) -> dict[str, Any]:
    return {"name": name, "params": list(module.parameters()), "lr": lr, "base_lr": lr}

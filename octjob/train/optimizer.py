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
from octjob.train.classifier import Classifier

Opt = TypeVar("Opt", bound=torch.optim.Optimizer)

_DECORATED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def _uncompiled(optimizer: type[Opt]) -> type[Opt]:
    """The class with the undecorated originals of its methods."""
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(optimizer, name)) for name in _DECORATED}
    methods["step"] = torch.no_grad()(inspect.unwrap(optimizer.step))
    return type(optimizer.__name__, (optimizer,), methods)


AdamW = _uncompiled(torch.optim.AdamW)
SGD = _uncompiled(torch.optim.SGD)


def make_optimizer(model: nn.Module, train: Train, *, compiled: bool = False) -> torch.optim.Optimizer:
    """Parts `head` and, of a `Classifier`, `encoder`, each with its `base_lr`, in up to two groups.

    Weight decay pulls towards 0, which is no neutral value of a bias, a norm's scale, a position or a query:
    a part's second group, `<part>_no_decay`, holds those. That is the custom since ViT, as in MAE's fine-tuning
    (He et al. 2022, arXiv:2111.06377). All groups are there from the first step on, so that the schedule holds
    when the encoder is unfrozen. compiled: as the runtime
    says; AdamW's numbers are then tensors, and SGD has none that depend on the step but the learning rate, which
    XLA takes as one.
    """
    head = model.head if isinstance(model, Classifier) else model
    groups = _groups("head", head, train.lr_head, train.weight_decay)
    if isinstance(model, Classifier):
        groups += _groups("encoder", model.encoder, train.lr_encoder, train.weight_decay)
    if train.optimizer == "SGD":
        return SGD(groups, lr=train.lr_head, momentum=0.9, weight_decay=train.weight_decay)
    return AdamW(groups, lr=train.lr_head, weight_decay=train.weight_decay, capturable=compiled)


def as_here(saved: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimizer's saved state, with what depends on the kind of device as `optimizer` has it."""
    groups = [
        {**group, "capturable": own["capturable"]} if "capturable" in own else group
        for group, own in zip(saved["param_groups"], optimizer.param_groups, strict=True)
    ]
    return {**saved, "param_groups": groups}


def _groups(part: str, module: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        (spared if _is_spared(name, parameter) else decayed).append(parameter)
    options = {"part": part, "lr": lr, "base_lr": lr}
    return [
        {"name": name, "params": parameters, "weight_decay": decay, **options}
        for name, parameters, decay in ((part, decayed, weight_decay), (f"{part}_no_decay", spared, 0.0))
        if parameters
    ]


def _is_spared(name: str, parameter: nn.Parameter) -> bool:
    """Biases and norms have one axis; positions and queries are known by name."""
    return parameter.ndim <= 1 or name.rpartition(".")[2] in ("pos_embed", "query")

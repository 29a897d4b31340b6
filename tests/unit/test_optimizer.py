"""Our optimizers are torch's, step for step, and do not import its compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from octjob.spec.experiment import Train
from octjob.train.optimizer import make_optimizer


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_the_same_steps_as_torchs_own(name: str) -> None:
    train = Train.model_validate({"optimizer": name, "lr_head": 0.05, "weight_decay": 0.1})
    options = {"lr": 0.05, "weight_decay": 0.1} | ({"momentum": 0.9} if name == "SGD" else {})
    models = [torch.nn.Linear(4, 3) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [
        make_optimizer(models[0], train),
        getattr(torch.optim, name)(models[1].parameters(), **options),
    ]
    for _ in range(5):
        x_BE = torch.randn(8, 4)
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            (model(x_BE) ** 2).sum().backward()
            optimizer.step()
    assert torch.equal(models[0].weight, models[1].weight)
    assert not torch.equal(models[0].weight, torch.nn.Linear(4, 3).weight)


def test_the_compiler_is_not_imported() -> None:
    script = (
        "import sys, torch\n"
        "from octjob.spec.experiment import Train\n"
        "from octjob.train.optimizer import make_optimizer\n"
        "model = torch.nn.Linear(4, 3)\n"
        "optimizer = make_optimizer(model, Train())\n"
        "model(torch.randn(2, 4)).sum().backward()\n"
        "optimizer.step()\n"
        "optimizer.load_state_dict(optimizer.state_dict())\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)

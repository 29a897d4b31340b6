"""Our optimizers are torch's, step for step, and do not import its compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from octjob.models.encoder import init_encoder
from octjob.models.shape import EncoderGeometry
from octjob.spec.experiment import Experiment, Train
from octjob.train.classifier import Classifier, make_head
from octjob.train.optimizer import make_optimizer


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_the_same_steps_as_torchs_own(name: str) -> None:
    train = Train.model_validate({"optimizer": name, "lr_head": 0.05, "weight_decay": 0.1})
    options = {"lr": 0.05, "weight_decay": 0.1} | ({"momentum": 0.9} if name == "SGD" else {})
    models = [torch.nn.Linear(4, 3) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    groups = [{"params": [models[1].weight]}, {"params": [models[1].bias], "weight_decay": 0.0}]
    optimizers = [make_optimizer(models[0], train), getattr(torch.optim, name)(groups, **options)]
    for _ in range(5):
        x_BE = torch.randn(8, 4)
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            (model(x_BE) ** 2).sum().backward()
            optimizer.step()
    assert torch.equal(models[0].weight, models[1].weight)
    assert torch.equal(models[0].bias, models[1].bias)
    assert not torch.equal(models[0].weight, torch.nn.Linear(4, 3).weight)


@pytest.mark.parametrize("pool_method", ["mean", "attentive"])
@pytest.mark.parametrize("hidden", [0, 8])
def test_weight_decay_shrinks_matrices_and_nothing_else(pool_method: str, hidden: int) -> None:
    config = Experiment.model_validate(
        {
            "model": {"pool_method": pool_method, "head": {"hidden": hidden}},
            "train": {"optimizer": "SGD", "lr_head": 0.1, "lr_encoder": 0.05, "weight_decay": 0.5},
        }
    )
    geometry = EncoderGeometry((4, 8, 8), (4, 4, 4), embed_dim=16, depth=1, num_heads=2)
    model = Classifier(init_encoder(geometry, 0), make_head(config, 16, 0), pool_method)
    for parameter in model.parameters():
        torch.nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    make_optimizer(model, config.train).step()
    for name, parameter in model.named_parameters():
        spared = (
            name.endswith(("bias", "pos_embed", "query")) or "norm" in name or name == "head.mlp.0.weight"
        )
        lr = 0.05 if name.startswith("encoder.") else 0.1
        expected = torch.full_like(parameter, 1.0 if spared else 1.0 - 0.5 * lr)
        torch.testing.assert_close(parameter.detach(), expected, msg=name)


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

"""One optimisation step: gradients of one or more batches, then the optimizer. Shapes: B padded batch, K classes.

This is what the TPU compiler is given, so nothing here reads a value back from a device.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from octjob.runtime.base import Runtime
from octjob.spec.experiment import Experiment
from octjob.train.classifier import Classifier
from octjob.train.loss import make_loss
from octjob.train.optimizer import make_optimizer


class Step:
    """Trains `model`, a head or a `Classifier` with its encoder, by `experiment` on `runtime`.

    size: samples of a full step. sums: float32 (2,) on the device: weighted loss and number of samples predicted
    right, over the steps taken since `forget`.
    """

    def __init__(self, model: nn.Module, experiment: Experiment, runtime: Runtime, size: int) -> None:
        self.model = runtime.place(model)
        self.experiment = experiment
        self.runtime = runtime
        self.size = size
        self.loss = make_loss(experiment.train)
        self.encoder = model.encoder if isinstance(model, Classifier) else None
        self.optimizer = make_optimizer(self.model, experiment.train, compiled=runtime.compiled)
        runtime.prime(self.optimizer)
        self.forget()

    def forget(self) -> None:
        """Begin new sums."""
        self.sums = self.runtime.constant(torch.zeros(2))
        self._part = self.runtime.constant(torch.zeros(2))

    def add(self, x_B: Tensor, label_B: Tensor, weight_B: Tensor) -> None:
        """Add a batch's share to the gradient of the step under way.

        weight_B: float32, 0 for padding. The sum is divided by the samples of a full step, whatever the batch
        holds: every sample of an epoch weighs the same, one in a short last step included, and the epoch's
        gradients, summed and multiplied by `size / num_samples`, are the gradient of the mean over all samples.
        """
        logits_BK = self.forward(x_B)
        loss = (weight_B * self.loss(logits_BK, label_B)).sum()
        (loss / self.size).backward()  # type: ignore[no-untyped-call]
        right_B = (logits_BK.detach().argmax(dim=1) == label_B) & (weight_B > 0)
        self._part = self._part + torch.stack([loss.detach(), right_B.sum().to(loss.dtype)])

    def apply(self, factor: float) -> None:
        """Take the step, at the base learning rates times `factor`."""
        train = self.experiment.train
        for group in self.optimizer.param_groups:
            group["last_lr"] = group["base_lr"] * factor
            lr = torch.tensor(group["last_lr"])
            group["lr"] = self.runtime.constant(lr) if group.get("capturable") else group["last_lr"]
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        self.runtime.sum([*(p.grad for p in parameters if p.grad is not None), self._part])
        if train.grad_clip:
            nn.utils.clip_grad_norm_(parameters, train.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.sums = self.sums + self._part
        self._part = torch.zeros_like(self._part)
        self.runtime.end_step()

    def forward(self, x_B: Tensor) -> Tensor:
        """Logits (B, K), float32."""
        bf16 = self.experiment.train.precision == "bf16" and self.encoder is not None
        with self.runtime.autocast(bf16):
            logits_BK: Tensor = self.model(x_B)
        return logits_BK.float()

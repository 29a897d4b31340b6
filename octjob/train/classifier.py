"""Encoder, pooling and head as one network. Shapes: B batch, C channels, D H W voxels, N tokens, E embedding."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from octjob.models.checkpoint import Encoder
from octjob.models.heads import Head, HeadKind, build_head
from octjob.models.pooling import pool_tokens
from octjob.spec.experiment import Experiment


def head_kind(experiment: Experiment) -> HeadKind:
    """The kind of head that is configured."""
    settings = experiment.model.head
    attentive = experiment.model.pool_method == "attentive"
    return "attentive" if attentive else "mlp" if settings.hidden else "linear"


def make_head(experiment: Experiment, in_dim: int, seed: int) -> Head:
    """The configured head, initialised from `seed` alone."""
    settings = experiment.model.head
    return build_head(
        head_kind(experiment),
        in_dim,
        experiment.classes.num_classes,
        seed=seed,
        hidden=settings.hidden,
        dropout=settings.dropout,
    )


class Classifier(nn.Module):
    """The network that is fine-tuned: (B, 1, D, H, W) -> logits (B, K).

    Pooled features are normalised before the head, by LayerNorm without parameters, so that one learning rate
    suits checkpoints whose features differ in scale. MAE (He et al. 2022, arXiv:2111.06377) has BatchNorm
    there in its linear probe and LayerNorm in fine-tuning; only the latter exists at batch size 1 and leaves a
    sample's logits to itself. The attentive head has a norm of its own.
    """

    def __init__(self, encoder: Encoder, head: Head, pool_method: str) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.pool_method = pool_method

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        tokens_BNE = self.encoder(x_BCDHW)
        if self.pool_method == "attentive":
            pooled = tokens_BNE
        else:
            pooled_BE = pool_tokens(tokens_BNE, self.pool_method)
            pooled = F.layer_norm(pooled_BE, pooled_BE.shape[-1:])
        logits_BK: Tensor = self.head(pooled)
        return logits_BK

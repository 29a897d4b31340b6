"""Encoder, pooling and head as one network. Shapes: B batch, C channels, D H W voxels, N tokens, E embedding."""

from __future__ import annotations

from torch import Tensor, nn

from octjob.models.encoder import Encoder3D
from octjob.models.heads import Head, HeadKind, build_head
from octjob.models.pooling import pool_tokens
from octjob.spec.experiment import Experiment


def make_head(experiment: Experiment, in_dim: int, seed: int) -> Head:
    """The configured head, initialised from `seed` alone."""
    settings = experiment.model.head
    attentive = experiment.model.pool_method == "attentive"
    kind: HeadKind = "attentive" if attentive else "mlp" if settings.hidden else "linear"
    return build_head(
        kind,
        in_dim,
        experiment.classes.num_classes,
        seed=seed,
        hidden=settings.hidden,
        dropout=settings.dropout,
    )


class Classifier(nn.Module):
    """The network that is fine-tuned: (B, 1, D, H, W) -> logits (B, K)."""

    def __init__(self, encoder: Encoder3D, head: Head, pool_method: str) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.pool_method = pool_method

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        tokens_BNE = self.encoder(x_BCDHW)
        pooled = tokens_BNE if self.pool_method == "attentive" else pool_tokens(tokens_BNE, self.pool_method)
        logits_BK: Tensor = self.head(pooled)
        return logits_BK

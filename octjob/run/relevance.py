"""The map over tokens of a trained head, chosen by what the head is.

Shapes: T tokens, E embedding, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from octjob.models.heads import AttentiveHead
from octjob.models.relevance import contrast, contributions
from octjob.records.examples import Kind
from octjob.spec.experiment import Experiment
from octjob.train.classifier import head_kind, make_head

# As of `torch.nn.functional.layer_norm`.
_EPS = 1e-5
HIDDEN = "a head with a hidden layer has no exact share for each patch"
NO_WEIGHTS = "the run kept no weights (log.save_best, log.save_last)"


@dataclass(frozen=True, eq=False)
class HeadWeights:
    """A unit's stored weights, as the trainers leave them, and what they are of."""

    experiment: Experiment
    weights: Mapping[str, Tensor]

    @property
    def kind(self) -> Kind:
        """What kind of map it has."""
        kind = head_kind(self.experiment)
        return "attention" if kind == "attentive" else "contribution" if kind == "linear" else "none"

    def map(self, tokens_TE: Tensor, predicted: int) -> Tensor:
        """The map (T) of float32 tokens, those of the encoder, or of its grid for an attentive probe."""
        if self.kind == "attention":
            return self._attention(tokens_TE)
        head = self._head()
        weight_KE = head.get("fc.weight", head.get("weight"))
        assert weight_KE is not None
        shift_E, scale_E = self._scaling(tokens_TE)
        weight_E = contrast(weight_KE.double(), predicted)
        method = self.experiment.model.pool_method
        return contributions(tokens_TE.double(), weight_E, method, shift_E, scale_E)

    def _head(self) -> dict[str, Tensor]:
        return {
            name.removeprefix("head."): x
            for name, x in self.weights.items()
            if not name.startswith("encoder.")
        }

    def _scaling(self, tokens_TE: Tensor) -> tuple[Tensor, Tensor]:
        """What is subtracted from the pooled features, and what they are divided by, before the head."""
        if self.experiment.mode == "finetune":
            x_TE = tokens_TE.double()
            pooled_E = x_TE.mean(dim=0) if self.experiment.model.pool_method == "mean" else x_TE.amax(dim=0)
            ones = torch.ones_like(pooled_E)
            return pooled_E.mean() * ones, (pooled_E.var(correction=0) + _EPS).sqrt() * ones
        ones = torch.ones(tokens_TE.shape[-1], dtype=torch.float64)
        return self.weights.get("feature_mean", 0 * ones), self.weights.get("feature_std", ones)

    def _attention(self, tokens_TE: Tensor) -> Tensor:
        head = make_head(self.experiment, tokens_TE.shape[-1], seed=0)
        assert isinstance(head, AttentiveHead)
        scale = ("feature_mean", "feature_std")
        head.load_state_dict({name: x for name, x in self._head().items() if name not in scale})
        head.eval()
        if "feature_mean" in self.weights:
            tokens_TE = (
                (tokens_TE.double() - self.weights["feature_mean"]) / self.weights["feature_std"]
            ).float()
        with torch.no_grad():
            return head.attention(tokens_TE[None])[0].double()

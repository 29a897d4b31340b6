"""What the weights themselves say about their training, and a digest that identifies them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

Verdict = Literal["untrained", "barely trained", "trained", "unknown"]
BARELY = 0.01
# The patch projection is left out: Conv3d's default initialisation gives it a non-zero bias.
_LINEAR_BIASES = ("attn.qkv.bias", "attn.proj.bias", "mlp.fc1.bias", "mlp.fc2.bias")
_NORMS = ("norm.", "norm1.", "norm2.")


@dataclass(frozen=True)
class Fingerprint:
    """How far an encoder is from its initialisation, without any data.

    This ViT starts with every Linear bias 0, every LayerNorm weight 1 and bias 0, exactly. `untrained`: all
    still are. `distance_to_target`: |context - target| / |target| over all parameters, if the context encoder
    was taken and the file has a target; for files of the original pretraining that is the distance to its own
    initialisation. A number is None where the encoder, of others, has nothing of the kind.
    """

    max_abs_linear_bias: float | None
    max_abs_layernorm_weight_minus_1: float | None
    max_abs_layernorm_bias: float | None
    untrained: bool
    distance_to_target: float | None
    verdict: Verdict


def fingerprint(tensors: Mapping[str, Tensor], target: Mapping[str, Tensor] | None = None) -> Fingerprint:
    """The fingerprint of an encoder's tensors (canonical names), beside the target encoder of the same file.

    Below 1 % distance to an untrained target the verdict is "barely trained". A target that was itself
    trained is no initialisation, and without any target there is nothing to compare with: then it is
    "unknown".
    """
    alone = _initialisation_marks(tensors)
    if target is None:
        return alone
    distance = relative_distance(tensors, target)
    verdict = alone.verdict
    if not alone.untrained and _initialisation_marks(target).untrained:
        verdict = "barely trained" if distance < BARELY else "trained"
    return replace(alone, distance_to_target=distance, verdict=verdict)


def _initialisation_marks(tensors: Mapping[str, Tensor]) -> Fingerprint:
    bias = norm_weight = norm_bias = 0.0
    for name, tensor in tensors.items():
        if name.endswith(_LINEAR_BIASES):
            bias = max(bias, float(tensor.abs().max()))
        elif any(part in name for part in _NORMS):
            if name.endswith("weight"):
                norm_weight = max(norm_weight, float((tensor.double() - 1).abs().max()))
            else:
                norm_bias = max(norm_bias, float(tensor.abs().max()))
    untrained = bias == norm_weight == norm_bias == 0
    return Fingerprint(
        bias, norm_weight, norm_bias, untrained, None, verdict="untrained" if untrained else "unknown"
    )


def module_fingerprint(module: nn.Module) -> Fingerprint:
    """The fingerprint of an encoder of others: "untrained" where it has Linear biases and LayerNorms and all of them
    are as torch's vision transformers begin; else "unknown", for there is no initialisation to measure from."""
    parts = list(module.modules())
    linear = [x.bias for x in parts if isinstance(x, nn.Linear) and x.bias is not None]
    norms = [x for x in parts if isinstance(x, nn.LayerNorm) and x.elementwise_affine]
    bias = _most(linear)
    norm_weight = _most([x.weight.double() - 1 for x in norms])
    norm_bias = _most([x.bias for x in norms if x.bias is not None])
    untrained = bias == norm_weight == 0 and norm_bias in (0, None)
    return Fingerprint(
        bias, norm_weight, norm_bias, untrained, None, verdict="untrained" if untrained else "unknown"
    )


def _most(tensors: Sequence[Tensor]) -> float | None:
    return max((float(tensor.detach().abs().max()) for tensor in tensors), default=None)


def relative_distance(tensors: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> float:
    """L2 norm of the difference over the L2 norm of `reference`, all parameters together, in float64."""
    difference = sum(float((tensors[k].double() - reference[k].double()).square().sum()) for k in reference)
    norm = sum(float(tensor.double().square().sum()) for tensor in reference.values())
    return math.sqrt(difference / norm) if norm else math.inf


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over name, dtype, shape and float32 bytes in name order, whatever file they came from."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().to(device="cpu", dtype=torch.float32).contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()

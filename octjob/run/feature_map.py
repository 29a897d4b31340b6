"""The feature map of a run: the held-out volumes' features, as its first head saw them, on two axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from octjob.data.augment import IDENTITY
from octjob.evaluate.arrays import FloatArray, StrArray
from octjob.evaluate.feature_map import explained_by, principal_axes
from octjob.records.feature_map import MAX_POINTS, ExplainedRecord, FeatureMap
from octjob.spec.experiment import Experiment
from octjob.train.scoring import Scorer
from octjob.train.trainers import Inputs, rescale, scale_of
from octjob.train.units import Unit

FINE_TUNED = "the encoder was fine-tuned, and its features are not kept"


def make_feature_map(
    experiment: Experiment, scorer: Scorer, units: Sequence[Unit], inputs: Inputs
) -> FeatureMap | None:
    """Of every volume that some unit scores; None for a fine-tuned run, which has no features at hand.

    Standardised as for the first unit's head where `train.standardize` says so. Tokens are averaged.
    """
    if not isinstance(inputs, Tensor):
        return None
    held_out = np.unique(np.concatenate([unit.eval_N for unit in units]))
    x = inputs[IDENTITY, held_out].double()
    pooled = x.mean(dim=1) if x.ndim == 3 else x
    if experiment.train.standardize:
        # Scaling is affine, so that it may as well come after the mean over tokens.
        pooled = rescale(pooled, scale_of(inputs, units[0].train_N))
    x_NE: FloatArray = pooled.double().numpy()
    label_N, device_N, site_N = (
        column[held_out] for column in (scorer.label_N, scorer.device_N, scorer.site_N)
    )
    found = explained_by(x_NE, {"class": label_N, "device": device_N, "site": site_N})
    at_N2, axes = principal_axes(x_NE)
    step = -(-len(held_out) // MAX_POINTS)
    at_N2 = at_N2[::step]
    # By x: an order that says nothing of who they are.
    order = np.lexsort((at_N2[:, 1], at_N2[:, 0]))
    devices, device_index_N = _indexed(device_N[::step][order])
    sites, site_index_N = _indexed(site_N[::step][order])
    scale = float(np.abs(at_N2).max()) or 1.0
    return FeatureMap(
        features=_described(experiment, x.ndim == 3),
        num_volumes=len(x_NE),
        num_features=x_NE.shape[1],
        axes=(_rounded(axes[0]), _rounded(axes[1])),
        explained={
            name: ExplainedRecord(
                share=_rounded(one.share), expected=_rounded(one.expected), num_groups=one.num_groups
            )
            for name, one in found.items()
        },
        x=tuple(round(float(value), 4) for value in at_N2[order, 0] / scale),
        y=tuple(round(float(value), 4) for value in at_N2[order, 1] / scale),
        label=tuple(int(value) for value in label_N[::step][order]),
        device=device_index_N,
        site=site_index_N,
        devices=devices,
        sites=sites,
    )


def _indexed(names_N: StrArray) -> tuple[tuple[str, ...], tuple[int, ...]]:
    names, index_N = np.unique(names_N, return_inverse=True)
    return tuple(names.tolist()), tuple(int(index) for index in index_N)


def _described(experiment: Experiment, tokens: bool) -> str:
    pooled = "mean of the tokens" if tokens else f"{experiment.model.pool_method} over the tokens"
    scale = ", standardised" if experiment.train.standardize else ""
    return f"{pooled}{scale}"


def _rounded(value: float) -> float:
    return round(value, 6)

"""Features to mean 0 and standard deviation 1, by the volumes that are trained on.

Shapes: V views, N volumes of the cohort, E embedding, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from octjob.spec.experiment import Experiment
from octjob.train.units import Indices, Unit


def scaled(experiment: Experiment, x_VN: Tensor, unit: Unit) -> tuple[Tensor, dict[str, Tensor]]:
    """The unit's features, standardised where the config says so, and what scaled them."""
    return standardize(x_VN, unit.train_N) if experiment.train.standardize else (x_VN, {})


def standardize(x_VN: Tensor, train_N: Indices) -> tuple[Tensor, dict[str, Tensor]]:
    """Each feature to mean 0 and std 1 over the training samples of all views; a constant one to 0.

    Returns the scaled features and what scaled them, to be stored with the weights.
    """
    scale = scale_of(x_VN, train_N)
    return rescale(x_VN, scale), scale


def scale_of(x_VN: Tensor, train_N: Indices) -> dict[str, Tensor]:
    """Mean and std of each feature, (E) float64, over the training samples of all views; 1 for a std of 0."""
    train = x_VN[:, train_N].double().flatten(0, -2)
    mean_E, std_E = train.mean(dim=0), train.std(dim=0, correction=0)
    std_E = torch.where(std_E > 0, std_E, torch.ones_like(std_E))
    return {"feature_mean": mean_E, "feature_std": std_E}


def rescale(x_VN: Tensor, scale: Mapping[str, Tensor]) -> Tensor:
    """Features scaled as `standardize` did, by the values that it returned."""
    return ((x_VN.double() - scale["feature_mean"]) / scale["feature_std"]).float()


def by_training_set(units: Sequence[Unit]) -> list[list[Unit]]:
    """The units that share a training set, and so what scales their features."""
    alike: dict[bytes, list[Unit]] = {}
    for unit in units:
        alike.setdefault(unit.train_N.tobytes(), []).append(unit)
    return list(alike.values())

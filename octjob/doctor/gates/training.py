"""Training: did it move what it was to move, and is what moved what was scored?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from octjob.doctor.finding import Finding

GATE = "training"
# A loss that fell by less than this share of itself did not fall.
_FELL = 1e-3
# Of its length; below, a fine-tuned encoder is the checkpoint's, and beyond, nothing is left of the checkpoint.
_UNMOVED, _LOST = 1e-6, 1.0
_GENTLE = "train.lr_encoder: 3.0e-5"


@dataclass(frozen=True)
class Unit:
    """One head or network that was trained, by epochs.

    scored_epoch, epochs_run: None where not recorded. encoder_change: of a fine-tuned encoder, relative to its
    length. losses: on the training samples, epoch by epoch.
    """

    name: str
    scored_epoch: int | None
    epochs_run: int | None
    encoder_change: float | None
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Trained:
    """A run that was trained by steps. unfreeze_at: the epoch from which its encoder moves; None for a probe.

    lr_head, lr_encoder: None where not recorded or, of a probe's encoder, not used.
    """

    name: str
    units: tuple[Unit, ...]
    unfreeze_at: int | None
    lr_head: float | None
    lr_encoder: float | None


def training(trained: Sequence[Trained]) -> Finding:
    """Fails for the first run whose encoder or loss did not move."""
    if not trained:
        return Finding(GATE, "not judged", "no run was trained by steps, or none recorded how")
    evidence = tuple(_told(one) for one in trained)
    for one in trained:
        if found := _encoder(one) or _loss(one):
            said, cure = found
            return Finding(GATE, "failed", said, evidence, cure)
    if all(len(unit.losses) < 2 for one in trained for unit in one.units):
        return Finding(GATE, "not judged", "one epoch shows no loss that falls", evidence)
    return Finding(GATE, "passed", "the loss fell wherever a run was trained by steps", evidence)


def moves(one: Trained) -> bool:
    """Whether this run's encoder and loss moved as they were to; also where that is not recorded."""
    return _encoder(one) is None and _loss(one) is None


def _encoder(one: Trained) -> tuple[str, str] | None:
    """What is wrong with a fine-tuned encoder, and what mends it."""
    if one.unfreeze_at is None:
        return None
    for unit in one.units:
        if unit.scored_epoch is not None and unit.scored_epoch < one.unfreeze_at:
            said = (
                f"{one.name} scores epoch {unit.scored_epoch} of {unit.name}, but its encoder moves from epoch"
                f" {one.unfreeze_at} on"
            )
            return said, "model.unfreeze_at_epoch: -1"
        if unit.encoder_change is not None and unit.encoder_change < _UNMOVED:
            said = (
                f"{one.name} is fine-tuned, but its encoder moved by {unit.encoder_change:.0e} of its length"
            )
            return said, _GENTLE
        if unit.encoder_change is not None and unit.encoder_change > _LOST:
            rate = "" if one.lr_encoder is None else f" at learning rate {one.lr_encoder:.0e}"
            said = (
                f"{one.name} is fine-tuned, and its encoder moved by {unit.encoder_change:.1f} times its length{rate}"
                ": nothing of the checkpoint is left in it"
            )
            return said, _GENTLE
    return None


def _loss(one: Trained) -> tuple[str, str] | None:
    """What is wrong with the loss, and what mends it."""
    curves = [unit.losses for unit in one.units if len(unit.losses) > 1]
    if not curves or any(min(losses[1:]) < (1 - _FELL) * losses[0] for losses in curves):
        return None
    first, last = curves[0][0], curves[0][-1]
    rate = "" if one.lr_head is None else f" at learning rate {one.lr_head:.0e}"
    return f"the loss of {one.name} never fell{rate} ({first:.4f} to {last:.4f})", "train.lr_head: 1.0e-3"


def _told(one: Trained) -> str:
    curves = [unit.losses for unit in one.units if unit.losses]
    loss = f"loss {curves[0][0]:.3f} to {curves[0][-1]:.3f}" if curves else "loss not recorded"
    rate = "" if one.lr_head is None else f", learning rate {one.lr_head:.0e}"
    changes = [unit.encoder_change for unit in one.units if unit.encoder_change is not None]
    moved = f", encoder moved by {min(changes):.1e}" if changes else ""
    return f"{one.name}: {loss}{rate}{moved}"

"""Give an encoder its attention and its rematerialisation, once, before anything is computed with it."""

from __future__ import annotations

from dataclasses import dataclass

from octjob.models.attention import Attend, query_blocks, sdpa
from octjob.models.choice import AttentionName, Backend, choose_attention
from octjob.models.encoder import Attention, Encoder3D
from octjob.models.recompute import Recompute
from octjob.spec.experiment import Experiment


@dataclass(frozen=True)
class Arrangement:
    """What was chosen, for the log and the result."""

    attention: AttentionName
    remat: bool


def arrange(
    encoder: Encoder3D,
    experiment: Experiment,
    backend: Backend,
    *,
    recompute: Recompute | None = None,
    flash: Attend | None = None,
) -> Arrangement:
    """Set the encoder's attention and rematerialisation as config and device ask, and say what they are.

    recompute: the device's own, where it needs one. flash: the kernel, on a TPU. Raises `SpecError` as
    `choose_attention` does.
    """
    recompute = recompute or Recompute()
    attention = choose_attention(experiment.model.attention, backend, encoder.geometry)
    remat = experiment.train.remat is True and experiment.mode == "finetune"
    if attention == "flash":
        assert flash is not None, "backend tpu comes with its kernel"
        attend = flash
    else:
        attend = query_blocks(recompute) if attention == "blocks" else sdpa
    for module in encoder.modules():
        if isinstance(module, Attention):
            module.attend = attend
    encoder.recompute = recompute if remat else None
    return Arrangement(attention, remat)

"""Give an encoder its attention and its rematerialisation, once, before anything is computed with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from octjob.models.attention import Attend, query_blocks, sdpa
from octjob.models.backbones.base import BackboneEncoder
from octjob.models.choice import AttentionName, Backend
from octjob.models.encoder import Attention, Encoder3D
from octjob.models.needs import main_work
from octjob.models.recompute import Recompute
from octjob.spec.experiment import Experiment


@dataclass(frozen=True)
class Arrangement:
    """What was chosen, for the log and the result.

    attention: `own` for a backbone, which keeps what its library gives it, and is never computed again.
    microbatches: equal parts that a training batch is taken in, one after the other; the step is that of the whole.
    """

    attention: AttentionName | Literal["own"]
    remat: bool
    microbatches: int = 1


def arrange(
    encoder: Encoder3D | BackboneEncoder,
    experiment: Experiment,
    backend: Backend,
    *,
    recompute: Recompute | None = None,
    flash: Attend | None = None,
    shards: int = 1,
    memory: int | None = None,
) -> Arrangement:
    """Set the encoder's attention and rematerialisation as config and device ask, and say what they are.

    recompute: the device's own, where it needs one. flash: the kernel, on a TPU. shards: devices that a batch is
    divided among. memory: bytes that each has for programs, where known.

    Raises `SpecError` as `choose_attention` does.
    """
    if isinstance(encoder, BackboneEncoder):
        return Arrangement("own", remat=False)
    recompute = recompute or Recompute()
    work = main_work(experiment, encoder.geometry, backend, shards, memory)
    attention, remat = work.attention, work.step is not None and work.step.remat
    if attention == "flash":
        assert flash is not None, "backend tpu comes with its kernel"
        attend = flash
    else:
        attend = query_blocks(recompute) if attention == "blocks" else sdpa
    for module in encoder.modules():
        if isinstance(module, Attention):
            module.attend = attend
    encoder.recompute = recompute if remat else None
    return Arrangement(attention, remat, 1 if work.step is None else work.step.microbatches)

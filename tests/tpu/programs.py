"""The programs that the TPU's compiler is shown, and the chips that it compiles them for. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from octjob.models.shape import ORIGINAL_GEOMETRY, EncoderGeometry
from octjob.spec.experiment import Experiment

# 2,048 tokens, which no other axis has, features of 64 a head as in the original; compiled in seconds.
TINY = EncoderGeometry((32, 128, 128), (4, 8, 8), embed_dim=128, depth=2, num_heads=2)


@dataclass(frozen=True)
class Program:
    """What one chip is given to do with one volume, under SPMD on as many chips as compile it together.

    encode: the pooled features of a frozen encoder. step: forward and backward of a classifier, AdamW.
    """

    work: Literal["encode", "step"]
    attention: Literal["sdpa", "blocks", "flash"]
    remat: bool = False
    size: Literal["full", "tiny"] = "full"
    chips: int = 1
    precision: Literal["bf16", "fp32"] = "bf16"

    @property
    def name(self) -> str:
        """For the table and for files."""
        remat = "-remat" if self.remat else ""
        return f"{self.work}-{self.attention}{remat}-{self.precision}-{self.size}-{self.chips}"

    @property
    def geometry(self) -> EncoderGeometry:
        """The encoder's."""
        return ORIGINAL_GEOMETRY if self.size == "full" else TINY

    @property
    def experiment(self) -> Experiment:
        """The config that `octjob train` would have."""
        return Experiment.model_validate(
            {
                "model": {"freeze_encoder": self.work == "encode", "attention": self.attention},
                "train": {"precision": self.precision, "remat": self.remat},
            }
        )


@dataclass(frozen=True)
class Chips:
    """A slice as libtpu names it; `one` of its chips may be compiled for alone."""

    name: str
    topology: str
    chips: int
    memory_gib: float
    options: tuple[tuple[str, str], ...] = ()


MEGACORE = (("chip_config_name", "megacore"),)  # a chip's two cores as one device, as on Cloud TPUs
V4_8 = Chips("v4-8", "v4:2x2x1", 4, 30.75, MEGACORE)
V4_32 = Chips("v4-32", "v4:2x2x4", 16, 30.75, MEGACORE)
V5E = Chips("v5litepod-4", "v5e:2x2", 4, 15.75)
V6E = Chips("v6e-4", "v6e:2x2", 4, 31.25)

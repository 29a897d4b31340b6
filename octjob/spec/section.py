"""What keys are made of: strict sections, and the kinds of numbers and lists that they take."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def as_tuple(value: Any) -> Any:
    """YAML and JSON write sequences as lists; strict pydantic wants a tuple."""
    return tuple(value) if isinstance(value, list) else value


# The upper ends are far beyond use: what lies above them is a slip of the keyboard, and would cost hours or memory.
MAX_LENGTH = 1000
Length = Annotated[int, Field(ge=1, le=4096)]
Size3 = Annotated[tuple[Length, Length, Length], BeforeValidator(as_tuple)]
Names = Annotated[tuple[str, ...], Field(max_length=MAX_LENGTH), BeforeValidator(as_tuple)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, le=1e6)]
NonNegative = Annotated[float, Field(ge=0.0, le=1e6)]
Count = Annotated[int, Field(ge=1, le=100_000)]
Workers = Annotated[int, Field(ge=0, le=1024)]
# requests keeps so many open, see `octjob.storage.connections`.
MOST_CONNECTIONS = 128
Connections = Annotated[int, Field(ge=1, le=MOST_CONNECTIONS)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]  # others count up from it; generators take 32 bits


class Section(BaseModel):
    """A frozen part of a config: unknown keys and loosely typed values are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

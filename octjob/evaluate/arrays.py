"""Array types of this package, and the way from results to JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
StrArray = NDArray[np.str_]

FLAT = {"flat": True}


def to_plain(value: Any) -> Any:
    """Dataclasses, mappings, sequences and numpy values as JSON-safe Python; NaN and infinities become None.

    The items of a mapping in a field with the metadata `FLAT` stand beside the other fields.

    JSON has no NaN, and a metric that is not defined (no participant of its class) must read as missing
    rather than as a number.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain: dict[str, Any] = {}
        for field in dataclasses.fields(value):
            item = to_plain(getattr(value, field.name))
            plain |= item if field.metadata.get("flat") else {field.name: item}
        return plain
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return to_plain(value.tolist())
    if isinstance(value, np.generic):
        return to_plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

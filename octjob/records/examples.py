"""A run's example B-scans, `examples.json` beside its predictions: pixels, and the part of each patch.

Only runs with `log.images` above 0 leave one. Pixels are plain bytes, so that nothing is decoded but by us.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from octjob.errors import DataError
from octjob.records.layout import run_key
from octjob.records.schema import Record
from octjob.storage.base import ObjectNotFoundError, ObjectStore

EXAMPLES = "examples.json"
# Of a picture, in pixels, and of a map, in patches.
MAX_SIDE = 192
_MAX_PATCHES = 128
MAX_EXAMPLES = 16
Kind = Literal["contribution", "attention", "none"]


class Example(Record):
    """The central B-scan of one held-out volume, and a map over its patches.

    pixels: rows x columns bytes in base64, row by row. kind: a `contribution` is a patch's part of the logit of the
    predicted class over the mean of all classes, `attention` the mean over heads; `none` without a map. relevance:
    map_rows x map_columns, row by row, over its largest absolute value. share: of the absolute relevance of the whole
    volume, what lies in this B-scan's layer of patches.
    """

    participant: str
    eye: str
    device: str
    label: int
    predicted: int
    probability: float = Field(ge=0, le=1)
    rows: int = Field(ge=1, le=MAX_SIDE)
    columns: int = Field(ge=1, le=MAX_SIDE)
    pixels: str
    kind: Kind
    map_rows: int = Field(0, ge=0, le=_MAX_PATCHES)
    map_columns: int = Field(0, ge=0, le=_MAX_PATCHES)
    relevance: tuple[float, ...] = ()
    share: float = 0.0

    @property
    def image(self) -> bytes:
        """The pixels."""
        return base64.b64decode(self.pixels)

    @model_validator(mode="after")
    def _fits(self) -> Example:
        try:
            pixels = base64.b64decode(self.pixels, validate=True)
        except binascii.Error:
            raise ValueError("pixels are no base64") from None
        if len(pixels) != self.rows * self.columns or len(self.relevance) != self.map_rows * self.map_columns:
            raise ValueError("pixels or relevance are not of the size given")
        if not all(-1 <= value <= 1 for value in self.relevance):
            raise ValueError("relevance lies outside -1..1")
        return self


class Examples(Record):
    """`examples.json`. reason: why there are no maps, where there are none."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_name: Literal["octjob.examples/1"] = Field("octjob.examples/1", alias="schema")
    unit: str
    examples: tuple[Example, ...] = Field(max_length=MAX_EXAMPLES)
    reason: str = ""


def write_examples(store: ObjectStore, run_id: str, made: Examples) -> str:
    """Store them, replacing what an earlier attempt left; returns the SHA-256."""
    text = json.dumps(made.model_dump(mode="json", by_alias=True), separators=(",", ":"), allow_nan=False)
    store.put(run_key(run_id, EXAMPLES), text.encode())
    return hashlib.sha256(text.encode()).hexdigest()


def read_examples(store: ObjectStore, run_id: str, sha256: str) -> Examples:
    """Those that the run's result speaks of.

    Raises `DataError` naming the URI where the file is gone, another one, or of another version.
    """
    key = run_key(run_id, EXAMPLES)
    hint = "Restore it, or draw the report without --with-images."
    try:
        data = store.get(key)
    except ObjectNotFoundError:
        raise DataError(f"{store.uri(key)}: gone, but the run's result names it", hint) from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DataError(f"{store.uri(key)}: not the file that the run's result names", hint)
    try:
        return Examples.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"{store.uri(key)}: not examples this version reads ({where}: {first['msg']})",
            "It was written by another version of octjob; draw the report without --with-images.",
        ) from None

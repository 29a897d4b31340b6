"""A run's features on two axes, `feature_map.json` beside its predictions: small, and without participants' ids."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from octjob.errors import DataError
from octjob.records.layout import run_key
from octjob.records.schema import Record
from octjob.storage.base import ObjectStore

FEATURE_MAP = "feature_map.json"
# What is left of more volumes is enough to look at.
MAX_POINTS = 300


class ExplainedRecord(Record):
    """See `octjob.evaluate.feature_map.Explained`."""

    share: float
    expected: float
    num_groups: int


class FeatureMap(Record):
    """`x`, `y`: at most `MAX_POINTS` of the held-out volumes, by x, in -1..1. label, device, site: of each point, the
    latter two as indices into `devices` and `sites`.

    features: what the map is of, in words. num_volumes, num_features: what shares were computed from. axes: the
    share of the variance on x and y. explained: by `class`, `device` and `site`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_name: Literal["octjob.feature_map/1"] = Field("octjob.feature_map/1", alias="schema")
    features: str
    num_volumes: int
    num_features: int
    axes: tuple[float, float]
    explained: dict[str, ExplainedRecord]
    x: tuple[float, ...]
    y: tuple[float, ...]
    label: tuple[int, ...]
    device: tuple[int, ...]
    site: tuple[int, ...]
    devices: tuple[str, ...]
    sites: tuple[str, ...]

    @model_validator(mode="after")
    def _fits(self) -> FeatureMap:
        if len({len(column) for column in (self.x, self.y, self.label, self.device, self.site)}) != 1:
            raise ValueError("columns differ in length")
        for column, names in ((self.device, self.devices), (self.site, self.sites)):
            if any(not 0 <= index < len(names) for index in column):
                raise ValueError("a point has a device or site that is not listed")
        return self


def write_feature_map(store: ObjectStore, run_id: str, made: FeatureMap) -> None:
    """Store it, replacing what an earlier attempt left."""
    text = json.dumps(made.model_dump(mode="json", by_alias=True), separators=(",", ":"), allow_nan=False)
    store.put(run_key(run_id, FEATURE_MAP), text.encode())


def read_feature_map(store: ObjectStore, run_id: str) -> FeatureMap:
    """Raises `DataError` naming the URI where it is damaged or of another version, `ObjectNotFoundError` where it is
    not there."""
    key = run_key(run_id, FEATURE_MAP)
    try:
        return FeatureMap.model_validate_json(store.get(key))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"{store.uri(key)}: not a feature map this version reads ({where}: {first['msg']})",
            "It was written by another version of octjob, or damaged.",
        ) from None

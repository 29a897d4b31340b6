"""What models trained on parts of the training participants predict, beside the run's own predictions.

Each share and draw has a file of its own, named after both: `predictions.parquet` stays what a reader of it takes it
for, the models trained on everyone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from octjob.catalog import RANKING, SampleUnit
from octjob.evaluate import Predictions, by_participant
from octjob.evaluate.metrics import mean_over_seeds
from octjob.records.layout import run_key
from octjob.records.predictions import decode_predictions, encode_predictions
from octjob.records.schema import Record
from octjob.storage.base import ObjectStore

SCHEMA = "octjob.label_efficiency/1"
LABEL_EFFICIENCY = "label_efficiency"


@dataclass(frozen=True, eq=False)
class Part:
    """What models trained on one part of the training participants predict, all passes."""

    share: float
    draw: int
    predictions: Predictions


class PartRecord(Record):
    """participants: trained on, hold-outs for early stopping included. metrics: by name, mean over passes; None where
    one is not defined."""

    share: float
    draw: int
    participants: int
    metrics: dict[str, float | None]


class PartsRecord(Record):
    """`data.label_efficiency` in a run's result: shares rise, and the last, 1, has one draw."""

    schema_name: Literal["octjob.label_efficiency/1"] = Field(alias="schema")
    parts: tuple[PartRecord, ...]


def part_key(share: float, draw: int) -> str:
    """The name of the predictions of a share below 1, beside `predictions.parquet`."""
    return f"parts/share-{share:g}-draw-{draw}.parquet"


def write_parts(store: ObjectStore, run_id: str, parts: Sequence[Part]) -> None:
    """Store each, replacing what an earlier attempt left."""
    for part in parts:
        store.put(run_key(run_id, part_key(part.share, part.draw)), encode_predictions(part.predictions))


def read_part(store: ObjectStore, run_id: str, share: float, draw: int) -> Predictions:
    """Raises as `decode_predictions`, and `ObjectNotFoundError` where there is none."""
    return decode_predictions(store.get(run_key(run_id, part_key(share, draw))))


def parts_facts(
    parts: Sequence[Part], num_people: Mapping[tuple[float, int], int], unit: SampleUnit
) -> dict[str, Any]:
    """For the run's result. num_people: participants trained on, by share and draw."""
    said = []
    for part in sorted(parts, key=lambda one: (one.share, one.draw)):
        scores = by_participant(part.predictions, how="mean" if unit == "participant" else "volume")
        values = mean_over_seeds(RANKING, scores, np.ones((1, len(scores.label_P))))
        metrics = {name: float(value_B[0]) for name, value_B in values.items()}
        said.append(
            {
                "share": part.share,
                "draw": part.draw,
                "participants": num_people[part.share, part.draw],
                "metrics": {name: value if np.isfinite(value) else None for name, value in metrics.items()},
            }
        )
    return {"schema": SCHEMA, "parts": said}


def read_parts_facts(data: Mapping[str, Any]) -> PartsRecord | None:
    """Of a result's `data`; None where it has none, or of a version that this one does not read."""
    try:
        return PartsRecord.model_validate(data.get(LABEL_EFFICIENCY))
    except ValidationError:
        return None

"""Which runs left example B-scans: the best of each checkpoint that did, by the digest of its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from octjob.leaderboard.checkpoints import MAX_COMPARED
from octjob.leaderboard.outcome import Scored
from octjob.leaderboard.rows import Row
from octjob.records.schema import Record


class ExamplesRecord(Record):
    """`data.examples` in a run's result."""

    key: str | None
    sha256: str
    count: int


@dataclass(frozen=True)
class CheckpointExamples:
    """`count` examples in a run's `examples.json` of this SHA-256."""

    checkpoint: str
    config: str
    run_id: str
    sha256: str
    count: int


def examples(rows: Sequence[Row], finished: Mapping[str, Scored]) -> tuple[CheckpointExamples, ...]:
    """Of the first `MAX_COMPARED` checkpoints with any, in the order of the table, which `rows` are in."""
    found: dict[str, CheckpointExamples] = {}
    for row in rows:
        if row.run_id not in finished or row.checkpoint in found:
            continue
        try:
            record = ExamplesRecord.model_validate(finished[row.run_id].result.data.get("examples"))
        except ValidationError:
            continue
        if record.key is not None and record.count:
            found[row.checkpoint] = CheckpointExamples(
                row.checkpoint, row.config, row.run_id, record.sha256, record.count
            )
    return tuple(found.values())[:MAX_COMPARED]

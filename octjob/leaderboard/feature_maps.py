"""The features of the held-out volumes on two axes, for each checkpoint's best run that has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from octjob.leaderboard.checkpoints import MAX_COMPARED
from octjob.leaderboard.outcome import Scored
from octjob.leaderboard.rows import Row
from octjob.records.feature_map import FEATURE_MAP, FeatureMap

# Of a run: its map, or None where it cannot be read.
ReadMap = Callable[[str], FeatureMap | None]
BEFORE = "not recorded by these runs, which an earlier octjob carried out"
_DAMAGED = "its feature_map.json cannot be read"


@dataclass(frozen=True)
class Explained:
    """Share of the features' variance between groups; `expected`, its mean for volumes dealt to them at random."""

    share: float
    expected: float
    num_groups: int


@dataclass(frozen=True)
class CheckpointMap:
    """Of one checkpoint: the run it is from, or why there is none (`missing`).

    features: what the head saw. axes: the shares of the variance on x and y. explained: by class, device and site,
    over all features. x, y: in -1..1, one a point; label: its class; device, site: indices into devices, sites.
    """

    checkpoint: str
    missing: str = ""
    config: str = ""
    run_id: str = ""
    features: str = ""
    num_volumes: int = 0
    num_features: int = 0
    axes: tuple[float, float] = (0.0, 0.0)
    explained: Mapping[str, Explained] = field(default_factory=dict)
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    label: tuple[int, ...] = ()
    device: tuple[int, ...] = ()
    site: tuple[int, ...] = ()
    devices: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()


def feature_maps(
    rows: Sequence[Row], finished: Mapping[str, Scored], read: ReadMap
) -> tuple[CheckpointMap, ...]:
    """Of the first `MAX_COMPARED` checkpoints with a result, in the order of the table, which `rows` are in."""
    by_checkpoint: dict[str, list[Row]] = {}
    for row in rows:
        if row.run_id in finished:
            by_checkpoint.setdefault(row.checkpoint, []).append(row)
    shown = list(by_checkpoint.items())[:MAX_COMPARED]
    return tuple(_of_checkpoint(name, runs, finished, read) for name, runs in shown)


def _of_checkpoint(
    name: str, runs: Sequence[Row], finished: Mapping[str, Scored], read: ReadMap
) -> CheckpointMap:
    said = {row.run_id: finished[row.run_id].result.data.get("feature_map") for row in runs}
    missing = BEFORE
    for row in runs:
        one = said[row.run_id]
        if not isinstance(one, dict):
            continue
        if one.get("key") != FEATURE_MAP:
            missing = str(one.get("reason") or BEFORE)
            continue
        found = read(row.run_id)
        if found is not None:
            return _shown(row, found)
        missing = _DAMAGED
        break
    return CheckpointMap(name, missing)


def _shown(row: Row, found: FeatureMap) -> CheckpointMap:
    return CheckpointMap(
        checkpoint=row.checkpoint,
        config=row.config,
        run_id=row.run_id,
        explained={
            name: Explained(one.share, one.expected, one.num_groups) for name, one in found.explained.items()
        },
        **found.model_dump(exclude={"schema_name", "explained"}),
    )

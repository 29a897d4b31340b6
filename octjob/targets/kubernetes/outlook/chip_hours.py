"""What a sweep's unfinished runs may cost in chip-hours: at most, and as far as finished runs tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import Literal

from octjob.errors import DataError
from octjob.records.layout import read_result
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore

# A few runs of a config tell its duration well enough, and each costs a read.
MAX_READ_PER_CONFIG = 5
_HOUR_S = 3600.0


@dataclass(frozen=True)
class ChipHours:
    """Chip-hours of the unfinished runs: `num_runs` of them, each on `chips` of what `unit` says; `num_encodings` of
    these are encodings.

    at_most: if each took the longest time allowed; None where no limit is enforced (no Kueue queue).
    estimate: from the median duration of finished runs of the same config, for `num_estimated` of the runs;
    None where results were not looked at.
    """

    num_runs: int
    chips: int
    max_hours: float | None
    at_most: float | None
    estimate: float | None
    num_estimated: int
    unit: Literal["chip", "GPU"] = "chip"
    num_encodings: int = 0

    def __str__(self) -> str:
        if self.num_runs == 0:
            return "nothing left to run"
        product = f"{self._who} x {self.chips} {self.unit}s"
        bound = f"no upper bound without compute.queue: {product} x as long as they take"
        if self.at_most is not None:
            bound = f"at most {self.at_most:,.0f} ({product} x compute.max_runtime_hours {self.max_hours:g})"
        if self.estimate is None:
            return bound
        if not self.num_estimated:
            return f"{bound}; no estimate before a run has finished"
        covered = "" if self.num_estimated == self.num_runs else f" for {self.num_estimated} of them"
        return f"{bound}; estimate {self.estimate:,.1f}{covered}, by the median duration of finished runs per config"

    @property
    def _who(self) -> str:
        runs = self.num_runs - self.num_encodings
        if not self.num_encodings:
            return f"{runs} runs"
        encodings = f"{self.num_encodings} encoding{'' if self.num_encodings == 1 else 's'}"
        return f"({encodings} + {runs} runs)" if runs else encodings


def chip_hours(
    unfinished: Sequence[Run],
    chips: int,
    max_hours: float | None,
    durations_s: Mapping[str, Sequence[float]] | None,
    unit: Literal["chip", "GPU"] = "chip",
) -> ChipHours:
    """What `unfinished` runs may cost.

    durations_s: config name to durations of finished runs, in seconds, of the attempt that finished; None:
    not looked at.
    """
    encodings = sum(bool(run.encodes) for run in unfinished)
    at_most = None if max_hours is None else len(unfinished) * chips * max_hours
    if durations_s is None:
        return ChipHours(len(unfinished), chips, max_hours, at_most, None, 0, unit, encodings)
    typical_s = {config: median(values) for config, values in durations_s.items() if values}
    known = [typical_s[run.config_name] for run in unfinished if run.config_name in typical_s]
    estimate = sum(known) * chips / _HOUR_S
    return ChipHours(len(unfinished), chips, max_hours, at_most, estimate, len(known), unit, encodings)


def read_durations(store: ObjectStore, finished: Sequence[Run]) -> dict[str, list[float]]:
    """Config name to the durations, in seconds, of at most `MAX_READ_PER_CONFIG` of its finished runs."""
    by_config: dict[str, list[Run]] = {}
    for run in finished:
        by_config.setdefault(run.config_name, []).append(run)
    chosen = [run for runs in by_config.values() for run in runs[:MAX_READ_PER_CONFIG]]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda run: _read_duration(store, run), chosen))
    durations: dict[str, list[float]] = {}
    for run, duration_s in zip(chosen, found, strict=True):
        if duration_s is not None:
            durations.setdefault(run.config_name, []).append(duration_s)
    return durations


def _read_duration(store: ObjectStore, run: Run) -> float | None:
    """None where there is no result, or none that can be read, which `status` and `collect` say."""
    try:
        result = read_result(store, run.run_id)
    except DataError:
        return None
    return None if result is None else result.duration_s

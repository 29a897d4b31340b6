"""Keys: does what configurations differ in change what is predicted?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from octjob.doctor.finding import Finding

GATE = "keys"
# They say how work is divided, not what comes of it.
_HARMLESS = {
    "data.val_batch_size", "data.shared_cache", "data.min_coverage", "data.max_corrupt",
    "train.early_stopping.enabled", "train.early_stopping.patience", "train.early_stopping.min_delta",
    "train.early_stopping.metric",
}  # fmt: skip


@dataclass(frozen=True)
class Same:
    """Two runs of the same weights whose probabilities agree to 1e-9.

    keys: in which their configurations differ. idle: why a key of these has no effect in that mode, where that is
    known.
    """

    first: str
    second: str
    keys: tuple[str, ...]
    idle: Mapping[str, str]


def keys(num_runs: int, same: Sequence[Same], unused: Sequence[str]) -> Finding:
    """num_runs: those compared, of one checkpoint or another. unused: what the plan noted of keys without effect."""
    evidence = tuple(unused[:4])
    for one in same:
        differing = [key for key in one.keys if key not in _HARMLESS]
        if not differing:
            continue
        why = "; ".join(f"{key}: {one.idle[key]}" for key in differing if key in one.idle)
        said = f"{', '.join(differing[:3])} changes nothing: {one.first} and {one.second} predict the same"
        cure = f"remove {differing[0]}" + (f", or change what disarms it ({why})" if why else "")
        return Finding(GATE, "failed", said, evidence, cure)
    if num_runs < 2:
        return Finding(GATE, "not judged", "no two configurations of one checkpoint", evidence)
    return Finding(GATE, "passed", f"no two of {num_runs} runs predict the same", evidence)

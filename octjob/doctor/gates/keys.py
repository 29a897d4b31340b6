"""Keys: does what configurations differ in change what is predicted?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from octjob.doctor.finding import Finding

GATE = "keys"
# They say how work is divided, not what comes of it.
HARMLESS = {
    "data.val_batch_size", "data.shared_cache", "data.min_coverage", "data.max_corrupt",
    "train.early_stopping.enabled", "train.early_stopping.patience", "train.early_stopping.min_delta",
    "train.early_stopping.metric",
}  # fmt: skip
# What the first optimisation steps do not show.
ACTS_LATER = (
    "train.epochs",
    "train.scheduler",
    "train.warmup_epochs",
    "train.early_stopping",
    "train.lr_encoder",
)

_ONE = "no two configurations of one checkpoint have finished"


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


@dataclass(frozen=True)
class Tried:
    """Two configurations of heads on the same cached features. keys: in which they differ. idle: those of them with
    which the first head's weights after some optimisation steps are the same to the bit, given the other's value."""

    first: str
    second: str
    keys: tuple[str, ...]
    idle: tuple[str, ...]


def keys(
    num_runs: int,
    same: Sequence[Same],
    unused: Sequence[str],
    tried: Sequence[Tried] = (),
    num_steps: int = 0,
    missing: str = "",
) -> Finding:
    """num_runs: those compared, of one checkpoint or another. unused: what the plan noted of keys without effect.
    num_steps: after which weights were compared in `tried`. missing: what there was to compare nothing by."""
    evidence = (*unused[:4], *(_told(one, num_steps) for one in tried[:4]))
    for one in same:
        differing = [key for key in one.keys if key not in HARMLESS]
        if not differing:
            continue
        why = "; ".join(f"{key}: {one.idle[key]}" for key in differing if key in one.idle)
        said = f"{', '.join(differing[:3])} changes nothing: {one.first} and {one.second} predict the same"
        cure = f"remove {differing[0]}" + (f", or change what disarms it ({why})" if why else "")
        return Finding(GATE, "failed", said, evidence, cure)
    for pair in tried:
        if pair.idle == pair.keys:
            said = (
                f"{', '.join(pair.keys[:3])} changes nothing in {num_steps} steps on cached features: {pair.first}"
                f" and {pair.second} are one configuration"
            )
            return Finding(GATE, "failed", said, evidence, f"remove {pair.keys[0]}, or give it another value")
    idle = f"; beside that, {_first_of(unused)}" if unused else ""
    if num_runs < 2 and tried:
        return Finding(GATE, "passed", f"every pair of {len(tried)} trains other weights{idle}", evidence)
    if num_runs < 2:
        return Finding(GATE, "not judged", (missing or _ONE) + idle, evidence)
    return Finding(GATE, "passed", f"no two of {num_runs} runs predict the same{idle}", evidence)


def _first_of(unused: Sequence[str]) -> str:
    more = f" (and {len(unused) - 1} more)" if len(unused) > 1 else ""
    return f"{unused[0]}{more}"


def _told(one: Tried, num_steps: int) -> str:
    live = [key for key in one.keys if key not in one.idle]
    parts = [f"{', '.join(one.idle)} changes nothing"] if one.idle else []
    parts += [f"{', '.join(live)} does or acts later"] if live else []
    return f"{one.first} and {one.second}, {num_steps} steps on cached features: {'; '.join(parts)}"

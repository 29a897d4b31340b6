"""Preprocessing: do encoders see what they saw in pretraining?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from octjob.doctor.finding import Finding

GATE = "preprocessing"
PRETRAINING = "pretraining"


@dataclass(frozen=True)
class Prepared:
    """How a run made its volumes. profile: empty where it is not recorded."""

    name: str
    checkpoint: str
    profile: str
    volume_size: tuple[int, ...]
    volume_dtype: str


def preprocessing(prepared: Sequence[Prepared]) -> Finding:
    """Fails where no run of a checkpoint has the profile of its pretraining; one to compare with is no fault."""
    known = [one for one in prepared if one.profile]
    if not known:
        return Finding(GATE, "not judged", "the runs' profiles are not recorded")
    ways = dict.fromkeys((one.checkpoint, one.profile, one.volume_size, one.volume_dtype) for one in known)
    evidence = tuple(
        f"{checkpoint}: profile {profile}, {'x'.join(map(str, size)) or 'unknown size'}, {dtype}"
        for checkpoint, profile, size, dtype in ways
    )
    for checkpoint in dict.fromkeys(one.checkpoint for one in known):
        profiles = {one.profile for one in known if one.checkpoint == checkpoint}
        if PRETRAINING not in profiles:
            seen = " and ".join(sorted(profiles))
            said = f"{checkpoint} only saw volumes of profile {seen}, not those of its pretraining"
            return Finding(GATE, "failed", said, evidence, f"data.profile: {PRETRAINING}")
    return Finding(GATE, "passed", "every checkpoint saw volumes as in its pretraining", evidence)

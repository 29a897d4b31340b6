"""How many volumes a run claims at a time."""

from __future__ import annotations

# As long as a shard is collected: who waits for the last round of another run waits no longer than that.
ROUND_S = 30.0
# Against a bucket a round costs some tenths of a second beside the encoding.
SHORT_ROUND_S = 3.0
_MIN_STEPS = 4


class Pace:
    """The size of a round: what the run encodes in `ROUND_S` seconds, found out from one round to the next.

    It begins with a few steps of all devices and at most doubles: the first step may be a compilation.
    """

    def __init__(self, num_shards: int) -> None:
        self._num_shards = num_shards
        self._steps = self._few = _MIN_STEPS

    def num_volumes(self, num_missing: int) -> int:
        """To claim, where `num_missing` are left: at most half, so that whoever else is there is not left idle."""
        half = -(-num_missing // (2 * self._num_shards))
        return self._num_shards * max(self._few, min(self._steps, half))

    def took(self, num_volumes: int, duration_s: float) -> None:
        """A round of so many volumes took so long."""
        steps = -(-num_volumes // self._num_shards)
        if steps:
            per_s = steps / max(duration_s, 1e-3)
            self._steps = max(_MIN_STEPS, min(2 * self._steps, int(ROUND_S * per_s)))
            self._few = max(_MIN_STEPS, min(self._steps, int(SHORT_ROUND_S * per_s)))

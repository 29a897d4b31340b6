"""Rounds last about half a minute, whatever the encoder and the device, and leave something for others."""

from __future__ import annotations

import pytest

from octjob.features.pace import ROUND_S, SHORT_ROUND_S, Pace


def rounds(num_volumes: int, num_shards: int, step_s: float) -> list[int]:
    """The rounds of a run alone."""
    pace, found = Pace(num_shards), list[int]()
    while num_volumes:
        found.append(min(num_volumes, pace.num_volumes(num_volumes)))
        num_volumes -= found[-1]
        pace.took(found[-1], step_s * -(-found[-1] // num_shards))
    return found


@pytest.mark.parametrize("num_shards", [1, 16])
@pytest.mark.parametrize("step_s", [0.02, 0.4, 6.0, 40.0])
def test_a_round_is_not_longer_than_the_others_wait_gladly(num_shards: int, step_s: float) -> None:
    found = rounds(8000, num_shards, step_s)
    assert sum(found) == 8000
    # Four steps of all devices at least.
    assert max(found) * step_s / num_shards <= max(ROUND_S, 4 * step_s)
    assert found[0] == 4 * num_shards


def test_a_quick_encoder_spends_no_time_on_claims() -> None:
    """8,000 volumes in 160 seconds: some at the beginning and at the end, else half a minute each."""
    found = rounds(8000, 1, 0.02)
    assert found[:4] == [4, 8, 16, 32]
    assert len(found) < 25
    assert min(found[10:-1]) * 0.02 >= 0.9 * SHORT_ROUND_S


def test_a_slow_first_step_does_not_last() -> None:
    pace = Pace(16)
    pace.took(64, 600.0)
    sizes = []
    for _ in range(5):
        sizes.append(pace.num_volumes(100_000))
        pace.took(sizes[-1], sizes[-1] / 16 * 0.1)
    assert sizes == [64, 128, 256, 512, 1024]


def test_half_is_left_to_others() -> None:
    pace = Pace(1)
    for _ in range(10):
        pace.took(100, 10.0)
    assert pace.num_volumes(1000) == 300
    assert pace.num_volumes(200) == 100
    assert pace.num_volumes(20) == 30

"""Leads are the simultaneous comparisons of the ranks, and the recognisable lead has the power it says."""

from __future__ import annotations

import numpy as np
import pytest

from octjob.evaluate import rank_ranges
from octjob.evaluate.lead import Leads, leads, recognisable_lead
from octjob.evaluate.simultaneous import PairErrors

SMALLEST = 11


def drawn(num_runs: int, shared: float, seed: int, num_draws: int = 4000) -> dict[str, np.ndarray]:
    """Draws around 0 with a standard deviation of 0.03, of which `shared` is common to all."""
    rng = np.random.default_rng(seed)
    common_B = rng.normal(size=num_draws)
    return {
        f"r{number}": 0.03 * (np.sqrt(shared) * common_B + np.sqrt(1 - shared) * rng.normal(size=num_draws))
        for number in range(num_runs)
    }


def found_leads(values: dict[str, float], draws: dict[str, np.ndarray]) -> Leads:
    return leads(values, PairErrors(np.stack([draws[name] for name in values])), SMALLEST)


@pytest.mark.parametrize("seed", range(20))
def test_tied_is_what_the_ranks_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    draws = drawn(8, 0.5, seed)
    values = {name: float(rng.normal(0.7, 0.08)) for name in draws}
    found, ranks = found_leads(values, draws), rank_ranges(values, draws, SMALLEST)
    beaten = {name for name, lead in found.behind.items() if not lead.tied}
    assert ranks[found.leader].worst == len(values) - len(beaten)
    assert all(lead.low <= lead.difference <= lead.high for lead in found.behind.values())


def test_of_equal_runs_the_first_by_name_leads_as_in_the_table() -> None:
    draws = drawn(3, 0.5, seed=1)
    a, b, c = draws
    assert found_leads({c: 0.9, b: 0.9, a: 0.5}, {c: draws[c], b: draws[b], a: draws[a]}).leader == min(b, c)


def test_runs_that_predict_alike_are_tied() -> None:
    draws = drawn(2, 0.0, 1)
    draws["twin"] = draws["r0"]
    found = found_leads({"r0": 0.8, "twin": 0.8, "r1": 0.5}, draws)
    assert found.behind["twin"].tied
    assert not found.behind["r1"].tied


def test_the_recognisable_lead_is_recognised_four_times_in_five() -> None:
    draws = drawn(6, 0.5, 3)
    others = [name for name in draws if name != "r0"]
    found = found_leads(dict.fromkeys(draws, 0.6) | {"r0": 0.9}, draws)
    lead = recognisable_lead("r0", others, draws, found.critical)
    assert lead is not None
    rng, told = np.random.default_rng(4), 0
    error = 0.03 * np.sqrt(2 * 0.5)
    for _ in range(2000):
        noise_R = 0.03 * np.sqrt(0.5) * rng.normal(size=6)
        differences_R = lead + noise_R[0] - noise_R[1:]
        told += bool((differences_R > found.critical * error).all())
    assert told / 2000 == pytest.approx(0.8, abs=0.03)


def test_nothing_to_be_ahead_of() -> None:
    draws = drawn(1, 0.0, 1)
    assert found_leads({"r0": 0.5}, draws).behind == {}
    assert recognisable_lead("r0", [], draws, 2.0) is None

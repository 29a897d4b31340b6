"""What runs cost: price tables, chip-hours used so far, and nothing invented."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from octjob.errors import SpecError
from octjob.records.status import RunStatus
from octjob.spec.accelerator import parse_accelerator
from octjob.spec.capacity import WORDS, Capacity
from octjob.spec.compute import Compute
from octjob.targets.kubernetes.capacity import dearest
from octjob.targets.kubernetes.observation.used import used
from octjob.targets.kubernetes.outlook.chip_hours import chip_hours
from octjob.targets.prices import accelerator_name, cost_of, parse_prices
from tests.doubles.cluster_runs import jobset, make_run

TABLE = """\
currency: EUR
date: 2026-12-01
chip_hours:
  v4: {on_demand: 2, spot: 0.5}
  nvidia-l4: {on_demand: 1}
"""
PRICES = parse_prices(TABLE, "prices.yaml")
RUNS = [make_run("logistic"), make_run("finetune")]


def test_money_is_chip_hours_times_the_price_with_its_date() -> None:
    hours = chip_hours(RUNS, 16, 72.0, {"logistic": [3600.0]})
    cost = cost_of(hours, "v4", "on_demand", PRICES)
    assert (cost.at_most, cost.estimate) == (2 * 16 * 72 * 2, 32)
    assert str(cost) == (
        "at most 4,608.00 EUR, estimate 32.00 EUR; 2 EUR a chip-hour of v4 on demand, prices.yaml of 2026-12-01"
    )


@pytest.mark.parametrize(("name", "capacity"), [("v4", "reservation"), ("v5e", "on_demand"), ("l4", "spot")])
def test_without_a_price_there_is_no_money(name: str, capacity: Capacity) -> None:
    cost = cost_of(chip_hours(RUNS, 16, 72.0, {}), name, capacity, PRICES)
    assert (cost.per_chip_hour, cost.at_most, cost.estimate) == (None, None, None)
    assert str(cost).startswith(f"no price for {name} {WORDS[capacity]} in prices.yaml")


def test_no_estimate_of_hours_is_none_of_money() -> None:
    cost = cost_of(chip_hours(RUNS, 16, None, {}), "v4", "spot", PRICES)
    assert (cost.at_most, cost.estimate) == (None, None)
    assert str(cost).startswith("no upper bound; 0.5 EUR a chip-hour of v4 Spot")


@pytest.mark.parametrize(
    ("compute", "name", "capacity"),
    [
        ({"accelerator": "v4-32"}, "v4", "on_demand"),
        ({"accelerator": "v4:2x2x4", "spot": True}, "v4", "spot"),
        ({"accelerator": "l4:1", "reservation": "r"}, "l4", "reservation"),
        (
            {
                "accelerator": "v5litepod-16",
                "pod": {"spec": {"nodeSelector": {"cloud.google.com/gke-flex-start": "true"}}},
            },
            "v5e",
            "flex_start",
        ),
        # Which of several it will be is not known: the dearest bounds it, and one without a price leaves it open.
        ({"accelerator": "v4-32", "capacity": ["spot", "on_demand"]}, "v4", "on_demand"),
        ({"accelerator": "l4:1", "capacity": ["on_demand", "flex_start"]}, "l4", "flex_start"),
    ],
)
def test_a_sweeps_keys_say_which_price(compute: dict[str, Any], name: str, capacity: str) -> None:
    asked = Compute.model_validate({"target": "kubernetes", **compute})
    assert accelerator_name(parse_accelerator(asked.accelerator or "")) == name
    assert dearest(asked, lambda one: PRICES.rate(name, one)) == capacity


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("currency: EUR\n", "prices.yaml:1: date", ""),
        (TABLE.replace("v4:", "v44:"), "prices.yaml:4: chip_hours: there is no v44", "Did you mean v4?"),
        (TABLE + "  l4: {spot: 1}\n", "l4 stands there twice", "Keep one"),
        (TABLE.replace("spot", "Spot"), "prices.yaml:4: chip_hours.v4.Spot", ""),
        (TABLE.replace("0.5", "-1"), "prices.yaml:4: chip_hours.v4.spot", ""),
        (TABLE.replace("EUR", "euro"), "prices.yaml:1: currency", ""),
    ],
)
def test_a_table_that_is_none_is_refused_with_its_line(text: str, message: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_prices(text, "prices.yaml")
    assert message in caught.value.message
    assert hint in caught.value.hint


def status(run_id: str, duration_s: float | None) -> RunStatus:
    return RunStatus(run_id, "a", "linear", "Running", duration_s=duration_s)


def test_what_runs_have_used_is_their_time_times_their_chips() -> None:
    first, second = jobset(), jobset(spot=True)
    ids = ["a.one-00000001", "a.two-00000002"]
    for document, run_id in zip((first, second), ids, strict=True):
        document["metadata"]["annotations"]["octjob.dev/run"] = run_id
    runs = [status(ids[0], 3600.0), status(ids[1], 7200.0), status("a.gone-00000003", 60.0)]
    ordinary, spot = used([first, second], runs, PRICES)
    assert (ordinary.accelerator, ordinary.capacity, ordinary.num_runs) == ("v4", "on_demand", 1)
    assert (ordinary.chip_hours, ordinary.cost, ordinary.currency) == (16, 32, "EUR")
    assert str(spot) == "32.0 chip-hours of v4 Spot, 16.00 EUR"
    (unpriced,) = used([first], runs, parse_prices(TABLE.replace("v4", "v5p"), "x"))
    assert (unpriced.chip_hours, unpriced.cost, unpriced.per_chip_hour) == (16, None, None)
    assert str(unpriced) == "16.0 chip-hours of v4 on demand"
    assert used([first], [status(ids[0], None)], PRICES) == []


def test_earlier_attempts_are_not_counted_and_said_not_to_be() -> None:
    document = jobset()
    document["metadata"]["annotations"]["octjob.dev/run"] = "a.one-00000001"
    again = replace(status("a.one-00000001", 3600.0), attempt=3)
    (found,) = used([document], [again], PRICES)
    assert (found.chip_hours, found.at_least) == (16, True)
    assert str(found) == "at least 16.0 chip-hours of v4 on demand, 32.00 EUR"

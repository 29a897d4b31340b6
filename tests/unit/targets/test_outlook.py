"""Chip-hours, quota and states that `octjob plan` shows, and how long `collect --wait` waits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from octjob.errors import Interrupted
from octjob.records.wait import Standings, wait_for_results
from octjob.targets.kubernetes.outlook.chip_hours import chip_hours
from octjob.targets.kubernetes.outlook.outlook import Outlook
from octjob.targets.kubernetes.outlook.quota import quota_of, read_quota
from octjob.targets.kubernetes.refusal import NotServed
from tests.doubles.cluster_runs import make_run

RUNS = [make_run("logistic"), make_run("logistic"), make_run("finetune")]


def test_the_upper_bound_is_a_product_and_says_so() -> None:
    cost = chip_hours(RUNS, 16, 72.0, {})
    assert (cost.at_most, cost.estimate, cost.num_estimated) == (3 * 16 * 72.0, 0.0, 0)
    assert str(cost) == (
        "at most 3,456 (3 runs x 16 chips x compute.max_runtime_hours 72); no estimate before a run has finished"
    )


def test_the_estimate_takes_the_median_of_each_config() -> None:
    durations = {"logistic": [1800.0, 3600.0, 36000.0], "finetune": [7200.0]}
    cost = chip_hours(RUNS, 16, 72.0, durations)
    assert cost.estimate == pytest.approx(16 * (1 + 1 + 2))
    assert "estimate 64.0, by the median duration of finished runs per config" in str(cost)


def test_configs_without_a_finished_run_are_not_estimated() -> None:
    cost = chip_hours(RUNS, 16, 72.0, {"finetune": [7200.0]})
    assert (cost.estimate, cost.num_estimated) == (32.0, 1)
    assert "estimate 32.0 for 1 of them" in str(cost)


def test_without_a_queue_nothing_bounds_a_run() -> None:
    cost = chip_hours(RUNS, 16, None, None)
    assert cost.at_most is None
    assert str(cost) == "no upper bound without compute.queue: 3 runs x 16 chips x as long as they take"
    assert str(chip_hours([], 16, 72.0, {})) == "nothing left to run"


LOCAL: dict[str, Any] = {
    "metadata": {"name": "tpu"},
    "spec": {"clusterQueue": "shared"},
    "status": {
        "pendingWorkloads": 2,
        "flavorsReservation": [{"name": "v4", "resources": [{"name": "google.com/tpu", "total": "16"}]}],
    },
}
SHARED: dict[str, Any] = {
    "spec": {
        "resourceGroups": [
            {
                "flavors": [
                    {
                        "name": "v4",
                        "resources": [
                            {"name": "google.com/tpu", "nominalQuota": "32"},
                            {"name": "cpu", "nominalQuota": "9k"},
                        ],
                    },
                    {"name": "spot", "resources": [{"name": "google.com/tpu", "nominalQuota": 16}]},
                ]
            }
        ]
    },
    "status": {
        "pendingWorkloads": 5,
        "flavorsReservation": [
            {"name": "v4", "resources": [{"name": "google.com/tpu", "total": "32", "borrowed": "0"}]}
        ],
    },
}


def test_the_quota_is_that_of_the_cluster_queue() -> None:
    quota = quota_of(LOCAL, SHARED)
    assert (quota.chips, quota.chips_used, quota.pending) == (48, 32, 5)
    assert (quota.here, quota.pending_here) == (16, 2)
    assert str(quota) == "LocalQueue tpu -> ClusterQueue shared: 32 of 48 chips in use, 5 waiting"


def test_what_is_borrowed_is_not_counted_against_the_queues_own() -> None:
    lent = json.loads(json.dumps(SHARED))
    lent["spec"]["resourceGroups"][0]["flavors"] = lent["spec"]["resourceGroups"][0]["flavors"][1:]
    (used,) = lent["status"]["flavorsReservation"][0]["resources"]
    used |= {"total": "48", "borrowed": "32"}
    quota = quota_of(LOCAL, lent)
    assert (quota.chips, quota.chips_used, quota.borrowed) == (16, 48, 32)
    assert "16 of 16 chips in use and 32 borrowed from its cohort, 5 waiting" in str(quota)


def test_without_the_right_to_read_it_the_rest_is_shown() -> None:
    quota = quota_of(LOCAL, None)
    assert quota.chips is None
    assert str(quota) == (
        "LocalQueue tpu, 16 chips in use, 2 waiting; how many there are is unknown: ClusterQueue shared may not be"
        " read or is not there"
    )


def test_the_store_decides_what_is_finished() -> None:
    outlook = Outlook("c", "n", {"a": "Failed", "b": "NoResult", "d": "Running"}, None)
    states = [outlook.state(run, {"a"}) for run in "abcd"]
    assert states == ["Succeeded", "NoResult", "Pending", "Running"]


def looks(*seen: Standings) -> Iterator[Standings]:
    yield from seen
    raise AssertionError("looked once too often")


def wait(*looked: Standings, timeout_s: float = 1e6) -> tuple[Standings, list[str], list[float]]:
    said: list[str] = []
    slept: list[float] = []
    source = looks(*looked)
    seen = wait_for_results(lambda: next(source), timeout_s, said.append, slept.append, lambda: sum(slept))
    return seen, said, slept


def test_waiting_ends_when_all_have_a_result_or_have_failed() -> None:
    one_left = Standings(results=("a",), open=("b",))
    seen, said, slept = wait(
        Standings(open=("a", "b")), one_left, one_left, Standings(results=("a",), failed=("b",))
    )
    assert said == [
        "2 runs: 2 to come",
        "2 runs: 1 have a result, 1 to come",
        "2 runs: 1 have a result, 1 failed",
    ]
    assert seen.failed == ("b",)
    assert len(slept) == 3


def test_a_run_that_is_being_submitted_is_not_given_up_at_once() -> None:
    gone = Standings(gone=("a",))
    assert wait(gone, gone, Standings(open=("a",)), gone, Standings(results=("a",)))[0].results == ("a",)
    assert wait(gone, gone, gone)[0].gone == ("a",)


def test_after_the_timeout_it_is_interrupted_and_says_what_is_missing() -> None:
    seen = Standings(open=("a",), results=("b",))
    with pytest.raises(Interrupted, match="1 have a result, 1 to come") as caught:
        wait(*[seen] * 20, timeout_s=100.0)
    assert caught.value.exit_code == 75


def test_a_queue_on_a_cluster_without_kueue_is_said_to_be_that() -> None:
    class NoKueue:
        def get(self, resource: Any, name: str) -> None:
            raise NotServed(f"{resource.full_name} is not served")

    assert str(read_quota(NoKueue(), "tpu")) == (  # type: ignore[arg-type]
        "LocalQueue tpu; the cluster has no Kueue: install it, or leave out compute.queue"
    )

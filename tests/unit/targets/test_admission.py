"""What is decided about a cluster from documents alone; tests/cluster asks real ones."""

from __future__ import annotations

from decimal import Decimal

import pytest
from doubles.cluster_runs import make_run, make_settings
from hypothesis import given
from hypothesis import strategies as st

from octjob.errors import SpecError
from octjob.spec.expand import Plan
from octjob.targets.kubernetes.documents.manifest import render_jobset
from octjob.targets.kubernetes.refusal import ClusterError
from octjob.targets.kubernetes.submission.admission import quantity, requested_resources, suits, tolerated
from octjob.targets.kubernetes.submission.dryrun import used_up
from octjob.targets.kubernetes.submission.existing import describe_changes
from octjob.targets.kubernetes.submission.preflight import MAX_RUN_ID, check_names, check_schema, pod_spec

TAINT = {"key": "google.com/tpu", "value": "present", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("text", "value"),
    [("16", 16), (16, 16), ("500m", Decimal("0.5")), ("2Gi", 2**31), ("1k", 1000), ("1.5", 1.5)],
)
def test_quantities(text: str | int, value: Decimal | float) -> None:
    assert quantity(text) == value


@given(st.integers(0, 10**12))
def test_whole_numbers_are_themselves(number: int) -> None:
    assert quantity(str(number)) == number


def test_a_run_asks_for_chips_only() -> None:
    assert requested_resources(pod_spec(render_jobset(make_run(), make_settings()))) == {"google.com/tpu"}


def test_a_limit_is_a_request_too() -> None:
    pod = {"containers": [{"resources": {"limits": {"cpu": "1"}}}], "initContainers": [{"resources": {}}]}
    assert requested_resources(pod) == {"cpu"}


def test_flavors_are_judged_by_the_labels_that_any_of_them_has() -> None:
    keys = frozenset({"topology"})
    assert suits({"topology": "2x2x4"}, {"topology": "2x2x4", "spot": "true"}, keys)
    assert not suits({"topology": "2x2x2"}, {"topology": "2x2x4"}, keys)
    assert not suits({}, {"topology": "2x2x4"}, keys)
    assert suits({}, {"topology": "2x2x4"}, frozenset())


@pytest.mark.parametrize(
    ("toleration", "covers"),
    [
        ({"key": "google.com/tpu", "operator": "Equal", "value": "present", "effect": "NoSchedule"}, True),
        ({"key": "google.com/tpu", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "google.com/tpu", "operator": "Equal", "value": "absent", "effect": "NoSchedule"}, False),
        ({"key": "google.com/tpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_taints(toleration: dict[str, str], covers: bool) -> None:
    assert tolerated(TAINT, [toleration]) == covers


def test_a_soft_taint_keeps_nobody_away() -> None:
    assert tolerated({**TAINT, "effect": "PreferNoSchedule"}, [])


@pytest.mark.parametrize(("limited", "name"), [(16, "chips"), (15, None)])
def test_a_full_namespace_quota_is_told_from_one_too_small(limited: int, name: str | None) -> None:
    message = (
        'pods "x" is forbidden: exceeded quota: chips, requested: pods=1,requests.google.com/tpu=4,'
        f" used: pods=4,requests.google.com/tpu=16, limited: pods=4,requests.google.com/tpu={limited}"
    )
    assert used_up(message, num_pods=4) == name
    assert used_up("something else", num_pods=4) is None


def test_names_too_long_for_a_folder() -> None:
    fits, too_long = ("x" * (MAX_RUN_ID - 2) + ".y", "x" * (MAX_RUN_ID - 1) + ".y")
    for run_id in (fits, too_long):
        run = make_run(run_id=run_id, checkpoint_name=run_id.split(".")[0], config_name="y")
        plan = Plan("phase3", run.output, run.cache, None, make_settings().compute, (run,))
        if run_id == fits:
            check_names(plan)
        else:
            with pytest.raises(SpecError, match=r"run id of 201 characters.*checkpoint xxx") as caught:
                check_names(plan)
            assert "Shorten the checkpoint's name" in caught.value.hint


def test_a_field_that_the_cluster_does_not_know() -> None:
    jobset = render_jobset(make_run(), make_settings())
    anything = {"x-kubernetes-preserve-unknown-fields": True}
    known = {key: {**anything, "items": anything} for key in jobset["spec"]}
    schema = {"properties": {"spec": {"properties": known}}}
    check_schema(jobset, schema, "https://server")
    del known["ttlSecondsAfterFinished"]
    with pytest.raises(ClusterError, match=r"does not know spec\.ttlSecondsAfterFinished") as caught:
        check_schema(jobset, schema, "https://server")
    assert "JobSet 0.10" in caught.value.hint


def test_changes_are_named_without_the_hash() -> None:
    live = render_jobset(make_run(), make_settings())
    wanted = render_jobset(make_run(), make_settings(image="other:v2", max_restarts=7))
    changes = describe_changes(live, wanted)
    assert [change.split(":")[0] for change in changes] == [
        "spec.failurePolicy.maxRestarts",
        "containers[0].image",
    ]

"""`octjob submit` cut off at the worst moments: no run is lost, none is there twice, the same command continues."""

from __future__ import annotations

import copy
import itertools
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from octjob.errors import Interrupted
from octjob.spec.expand import plan_sweep
from octjob.targets.kubernetes.api import Cluster
from octjob.targets.kubernetes.refusal import ClusterError, Unauthorized, WebhookDown
from octjob.targets.kubernetes.resources import JOBSETS, Resource
from tests.cluster.access import Document
from tests.cluster.controlplane import ControlPlane
from tests.cluster.submission import (
    SUBMITTER,
    connect,
    grant,
    jobset_uids,
    make_ready,
    octjob,
    stored_specs,
    submit_file,
    write_sweep,
)
from tests.cluster.tenancy import SUBMIT_ACCOUNT

# More than calls that are under way at a time, so that something is left to do when one fails.
NUM_CONFIGS = 8
NUM_RUNS = 3 * NUM_CONFIGS
CRD = "jobsets.jobset.x-k8s.io"
CRDS = Resource(
    "apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)


@pytest.fixture
def plane(own_control_plane: ControlPlane, namespace: str) -> ControlPlane:
    make_ready(own_control_plane, namespace)
    return own_control_plane


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write_sweep(tmp_path, num_configs=NUM_CONFIGS)


def when(stage: str, count: int, act: Callable[[], None]) -> Callable[[str, int, int], None]:
    """A listener that acts once, after the `count`-th thing of a stage was done."""
    acted: list[int] = []

    def listener(what: str, done: int, total: int) -> None:
        if what == stage and done >= count and not acted:
            acted.append(done)
            act()

    return listener


@contextmanager
def before_apply(cluster: Cluster, count: int, act: Callable[[], None]) -> Iterator[None]:
    """Act when `count` JobSets were asked for and before the next one is; the others wait meanwhile."""
    apply, lock, asked = cluster.apply, threading.Lock(), itertools.count()

    def acting(resource: Resource, document: Document, *, dry_run: bool = False) -> Document:
        with lock:
            if not dry_run and next(asked) == count:
                act()
        return apply(resource, document, dry_run=dry_run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "apply", acting)
        yield


def continues(plane: ControlPlane, namespace: str, sweep: Path, kubeconfig: Path | None = None) -> None:
    """The same command, until it is content: JobSet needs half a minute to find an API server that was away."""

    def submitted() -> bool:
        ended = octjob(plane, "submit", "-f", str(sweep), "-n", namespace, kubeconfig=kubeconfig)
        assert ended.code == 0 or "have no Job" in ended.err
        return ended.code == 0

    plane.wait_until(submitted, "the sweep is submitted", timeout_s=90)


def all_there(plane: ControlPlane, namespace: str, sweep: Path, before: dict[str, str]) -> None:
    """Every run once, those that were there `before` untouched, each with its Job; and again is a no-op."""
    uids = jobset_uids(plane, namespace)
    assert set(uids) == {run.run_id for run in plan_sweep(sweep).runs}
    assert before.items() <= uids.items()
    assert len(plane.list("jobs", namespace)) == NUM_RUNS
    assert stored_specs(sweep.parent) == set(uids)
    again = octjob(plane, "submit", "-f", str(sweep), "-n", namespace)
    assert f"{NUM_RUNS} runs: {NUM_RUNS} already there" in again.out
    assert jobset_uids(plane, namespace) == uids


@pytest.mark.parametrize("stage", ["checked", "created"])
def test_api_server_restarted(plane: ControlPlane, namespace: str, sweep: Path, stage: str) -> None:
    restart = threading.Thread(target=plane.restart_apiserver)
    done = submit_file(connect(plane, namespace), sweep, when(stage, 5, restart.start))
    restart.join()
    assert len(done.created) == NUM_RUNS
    all_there(plane, namespace, sweep, {})


def test_api_server_gone_for_long(plane: ControlPlane, namespace: str, sweep: Path) -> None:
    cluster = connect(plane, namespace)
    cluster.retry_s = 1.0
    # Those under way when it was killed may have been created without our knowing.
    message = r"\d+ of 24 runs created, then .* does not answer"
    with (
        pytest.raises(ClusterError, match=message) as caught,
        before_apply(cluster, 5, lambda: plane.stop_component("apiserver", signal.SIGKILL)),
    ):
        submit_file(cluster, sweep)
    plane.start_component("apiserver")
    assert "The same command continues." in caught.value.hint
    before = jobset_uids(plane, namespace)
    assert len(before) < NUM_RUNS
    # Specs come first: a pod that starts early finds its own.
    assert set(before) <= stored_specs(sweep.parent)
    continues(plane, namespace, sweep)
    all_there(plane, namespace, sweep, before)


def test_interrupted(plane: ControlPlane, namespace: str, sweep: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    cluster = connect(plane, namespace)
    with pytest.raises(Interrupted, match="nothing was created"):
        submit_file(cluster, sweep, when("checked", 5, interrupt))
    assert jobset_uids(plane, namespace) == {}
    with pytest.raises(Interrupted, match=r"\d+ of 24 runs created") as caught:
        submit_file(cluster, sweep, when("created", 5, interrupt))
    before = jobset_uids(plane, namespace)
    assert caught.value.message == f"{len(before)} of 24 runs created"
    assert len(before) >= 5
    continues(plane, namespace, sweep)
    all_there(plane, namespace, sweep, before)


def test_webhook_down(plane: ControlPlane, namespace: str, sweep: Path) -> None:
    cluster = connect(plane, namespace)
    cluster.retry_s = 1.0
    plane.stop_jobset()
    try:
        with pytest.raises(WebhookDown, match="does not answer") as caught:
            submit_file(cluster, sweep)
    finally:
        plane.start_jobset()
    assert "-n jobset-system get pods" in caught.value.hint
    assert jobset_uids(plane, namespace) == {}
    assert stored_specs(sweep.parent) == set()
    try:
        with (
            pytest.raises(WebhookDown, match=r"\d+ of 24 runs created, then"),
            before_apply(cluster, 5, lambda: plane.stop_component("jobset", signal.SIGKILL)),
        ):
            submit_file(cluster, sweep)
    finally:
        plane.start_jobset()
    before = jobset_uids(plane, namespace)
    assert len(before) < NUM_RUNS
    continues(plane, namespace, sweep)
    all_there(plane, namespace, sweep, before)


def test_token_expired_before(plane: ControlPlane, namespace: str, sweep: Path) -> None:
    # Kubernetes overlooks one minute.
    expired = plane.user_kubeconfig(SUBMIT_ACCOUNT, namespace, seconds=-90)
    ended = octjob(plane, "submit", "-f", str(sweep), "-n", namespace, kubeconfig=expired)
    assert ended.code == 4
    assert "does not accept the credentials, which may have expired" in ended.err
    assert "auth whoami" in ended.err
    assert jobset_uids(plane, namespace) == {}


def test_token_expired_halfway(plane: ControlPlane, namespace: str, sweep: Path) -> None:
    grant(plane, namespace, SUBMIT_ACCOUNT, SUBMITTER)
    user = connect(plane, namespace, plane.user_kubeconfig(SUBMIT_ACCOUNT, namespace))

    def invalidate() -> None:
        plane.kubectl("-n", namespace, "delete", "serviceaccount", SUBMIT_ACCOUNT)
        # The server remembers a good token for ten seconds.
        plane.restart_apiserver()

    message = r"\d+ of 24 runs created, then .* may have expired"
    with pytest.raises(Unauthorized, match=message), before_apply(user, 5, invalidate):
        submit_file(user, sweep)
    before = jobset_uids(plane, namespace)
    assert len(before) < NUM_RUNS
    plane.kubectl("-n", namespace, "create", "serviceaccount", SUBMIT_ACCOUNT)
    renewed = plane.user_kubeconfig(SUBMIT_ACCOUNT, namespace)
    continues(plane, namespace, sweep, renewed)
    all_there(plane, namespace, sweep, before)


def properties(crd: Document, *path: str) -> Document:
    node: Document = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for key in path:
        node = node["items"] if key == "[]" else node["properties"][key]
    found: Document = node["properties"]
    return found


@contextmanager
def jobset_without(plane: ControlPlane, namespace: str, *path: str) -> Iterator[None]:
    """The cluster's JobSet as one that does not know a field yet."""
    original = plane.get("crd", CRD)
    assert original is not None
    older = copy.deepcopy(original)
    del properties(older, *path[:-1])[path[-1]]
    cluster = connect(plane, namespace)

    def known() -> bool:
        schema = cluster.schema(JOBSETS) or {}
        crd = {"spec": {"versions": [{"schema": {"openAPIV3Schema": schema}}]}}
        return path[-1] in properties(crd, *path[:-1])

    def serve(crd: Document, *, with_field: bool) -> None:
        cluster.merge(CRDS, CRD, {"spec": {"versions": crd["spec"]["versions"]}})
        plane.wait_until(lambda: known() == with_field, f"{path[-1]} is {'' if with_field else 'un'}known")

    serve(older, with_field=False)
    try:
        yield
    finally:
        serve(original, with_field=True)


def test_jobset_older_than_message_patterns(plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path)
    with jobset_without(
        plane, namespace, "spec", "failurePolicy", "rules", "[]", "onJobFailureMessagePatterns"
    ):
        ended = octjob(plane, "submit", "-f", str(sweep), "-n", namespace)
        assert (ended.code, "6 runs: 6 created" in ended.out) == (0, True)
        assert "warning: this cluster's JobSet is older than 0.10" in ended.err
        rules = plane.list("jobsets", namespace)[0]["spec"]["failurePolicy"]["rules"]
        assert [rule["name"] for rule in rules] == ["interrupted"]
        before = jobset_uids(plane, namespace)
    # JobSet was upgraded meanwhile: the sweep is still the same.
    again = octjob(plane, "submit", "-f", str(sweep), "-n", namespace)
    assert "6 already there" in again.out
    assert jobset_uids(plane, namespace) == before


def test_jobset_too_old(plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    with jobset_without(plane, namespace, "spec", "ttlSecondsAfterFinished"):
        ended = octjob(plane, "submit", "-f", str(write_sweep(tmp_path)), "-n", namespace)
    assert ended.code == 4
    assert "does not know spec.ttlSecondsAfterFinished" in ended.err
    assert "octjob needs JobSet 0.10 or later" in ended.err
    assert jobset_uids(plane, namespace) == {}

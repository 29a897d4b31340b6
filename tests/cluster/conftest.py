"""Fixtures of the tests that need a real control plane: `make test-cluster`."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.access import ClusterAccess
from tests.cluster.controlplane import ControlPlane
from tests.cluster.tenancy import make_namespace, make_nodes, make_queues, remove_namespace

EXISTING = "OCTJOB_TEST_KUBECONFIG"


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterAccess]:
    """A cluster with JobSet, Kueue, two fake v4-32 slices and quota for both.

    OCTJOB_TEST_KUBECONFIG: use this cluster, which must have JobSet, Kueue and kwok, instead of starting one.
    """
    data = tmp_path_factory.mktemp("control-plane")
    if existing := os.environ.get(EXISTING):
        cluster = ClusterAccess(Path(existing).expanduser(), data)
        make_nodes(cluster)
        make_queues(cluster)
        yield cluster
        return
    with _removed_with_this_process(data):
        plane = ControlPlane.create(data)
        try:
            plane.start()
            yield plane
        finally:
            plane.stop()


@pytest.fixture(scope="session")
def own_control_plane(control_plane: ClusterAccess) -> ControlPlane:
    """The same where its components may be stopped and started; elsewhere the test is skipped."""
    if not isinstance(control_plane, ControlPlane):
        pytest.skip(f"{EXISTING} is set: the components of that cluster are not ours to stop")
    return control_plane


@pytest.fixture
def namespace(control_plane: ClusterAccess) -> Iterator[str]:
    """A namespace of the test's own, see `make_namespace`; its runs are gone when the next test starts."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    make_namespace(control_plane, name)
    yield name
    remove_namespace(control_plane, name)


@contextmanager
def _removed_with_this_process(data: Path) -> Iterator[None]:
    """Should the test process be killed, a process that waits for just that stops what it had started."""
    command = [sys.executable, "-m", "tests.cluster", "down", "--data", str(data), "--after-stdin"]
    root = Path(__file__).parents[2]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=root, start_new_session=True)
    try:
        yield
    finally:
        watcher.communicate()

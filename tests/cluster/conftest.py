"""Fixtures of the tests that need a real control plane: `make test-cluster`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.access import ClusterAccess
from tests.cluster.controlplane import ControlPlane
from tests.cluster.leftovers import removed_with_this_process
from tests.cluster.tenancy import make_nodes, make_queues, own_namespace

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
    with removed_with_this_process(data):
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
    with own_namespace(control_plane) as name:
        yield name

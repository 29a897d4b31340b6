"""Fixtures of the tests on real pods: `make test-e2e`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.leftovers import removed_with_this_process
from tests.cluster.tenancy import own_namespace
from tests.pods.clouds import Bucket, bucket
from tests.pods.cluster import PodPlane
from tests.pods.enclosure import enclosed
from tests.pods.images import built_image
from tests.pods.needs import IMAGE, missing


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodPlane]:
    """A control plane with one real node of a v4-32's chips; from here on this process is in its network."""
    if reason := missing():
        pytest.skip(reason)
    data = tmp_path_factory.mktemp("control-plane")
    image = built_image(IMAGE)
    with enclosed(), removed_with_this_process(data, "tests.pods"):
        plane = PodPlane.with_image(data, image)
        try:
            plane.start()
            yield plane
        finally:
            plane.stop()


@pytest.fixture(scope="session")
def clouds(plane: PodPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with bucket(tmp_path_factory.mktemp("bucket")) as filled:
        yield filled


@pytest.fixture
def namespace(plane: PodPlane) -> Iterator[str]:
    """A namespace of the test's own, which enforces `restricted`; its pods are gone when the next test starts."""
    with own_namespace(plane) as name:
        yield name

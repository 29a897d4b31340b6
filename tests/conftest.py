"""Fixtures of the whole test suite; the doubles they stand on are in `tests/doubles`."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import hypothesis
from doubles.b2_server import B2Server
from doubles.gcs import GcsServer

from octjob.storage import ObjectStore
from octjob.storage.open import forget_stores

RETRY_S = 6.0
BUCKET = "octjob-test"

# How long an example takes says more about a machine's other work than about the code.
hypothesis.settings.register_profile("octjob", deadline=None)
hypothesis.settings.load_profile("octjob")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-goldens", action="store_true", help="Write tests/golden anew instead of comparing."
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow tests begin first, so that no worker is left alone with them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    _skip_charts_without_go(items)


def _skip_charts_without_go(items: list[pytest.Item]) -> None:
    """Tests marked `chart` are skipped on a machine without Go; CI insists on them."""
    from tests.cluster.build import OF_CHARTS, BuildError, NoCompilerError, tool

    of_charts = [item for item in items if item.get_closest_marker("chart")]
    if not of_charts:
        return
    try:
        for name in OF_CHARTS:
            tool(name)
    except NoCompilerError as error:
        if os.environ.get("CI"):
            raise pytest.UsageError(str(error)) from None
        for item in of_charts:
            item.add_marker(pytest.mark.skip(reason="no Go compiler to build helm with"))
    except BuildError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.fixture(autouse=True)
def _fresh_stores() -> None:
    """Tests change the environment that cached stores connected with."""
    forget_stores()


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[GcsServer]:
    with GcsServer() as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture(scope="session")
def b2_server() -> Iterator[B2Server]:
    with B2Server() as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture
def file_store(tmp_path: Path) -> ObjectStore:
    from octjob.storage.file import FileStore

    return FileStore(f"file://{tmp_path}/store")


@pytest.fixture
def gcs_store(gcs_server: GcsServer, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A store under a prefix of its own, on the session's server."""
    from octjob.storage.gcs import GcsStore

    for name, value in gcs_server.env.items():
        monkeypatch.setenv(name, value)
    return GcsStore(f"gs://{BUCKET}/{uuid.uuid4().hex}", retry_s=RETRY_S)


@pytest.fixture
def b2_store(b2_server: B2Server, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A store under a prefix of its own, on the session's server, with the account's master key."""
    from octjob.storage.b2 import B2Store

    for name, value in b2_server.env.items():
        monkeypatch.setenv(name, value)
    return B2Store(f"b2://{BUCKET}/{uuid.uuid4().hex}", retry_s=RETRY_S)


@pytest.fixture(params=["file", "gcs", "b2"])
def any_store(request: pytest.FixtureRequest) -> ObjectStore:
    """Each kind of store in turn."""
    store: ObjectStore = request.getfixturevalue(f"{request.param}_store")
    return store

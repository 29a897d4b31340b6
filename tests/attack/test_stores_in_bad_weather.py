"""The stores' contract, word for word, while every fifth request meets a fault of the network, service or disk."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from doubles import fault_proxy
from doubles.b2_server import B2Server
from doubles.bad_disk import BadDisk, Weather
from doubles.fault_proxy import FaultProxy
from doubles.gcs import GcsServer

from octjob import env
from octjob.storage import ObjectStore, patience
from octjob.storage.b2 import B2Store
from octjob.storage.file import FileStore
from octjob.storage.gcs import GcsStore
from tests.integration.test_storage_contract import *  # noqa: F403

SEED = 9
RATE = 0.2
KINDS = ("truncate", "reset", "429", "503", "stall", "drop_reply", "short")
RETRY_S, TIMEOUT_S, STALL_S = 60.0, 0.5, 0.8


@pytest.fixture(scope="module")
def gcs_proxy(gcs_server: GcsServer) -> Iterator[FaultProxy]:
    with FaultProxy(gcs_server.url) as proxy:
        yield proxy
        print(f"\ngs://: {proxy.summary()}")  # noqa: T201
        assert len({kind for kind, _, _ in proxy.struck}) >= len(KINDS) - 2


@pytest.fixture(scope="module")
def b2_proxy(b2_server: B2Server) -> Iterator[FaultProxy]:
    with FaultProxy(b2_server.url) as proxy:
        yield proxy
        print(f"\nb2://: {proxy.summary()}")  # noqa: T201
        assert len({kind for kind, _, _ in proxy.struck}) >= len(KINDS) - 2


@pytest.fixture(scope="module")
def struck() -> Iterator[Counter[str]]:
    """The disk's faults of all tests."""
    seen: Counter[str] = Counter()
    yield seen
    print(f"\nfile://: {dict(seen)}")  # noqa: T201


@pytest.fixture(params=["gcs", "b2", "file"])
def any_store(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[ObjectStore]:
    """Each store in turn, with a seeded sequence of faults of its own in every test."""
    monkeypatch.setenv(env.STORAGE_RETRY_S, str(RETRY_S))
    if request.param != "file":
        yield remote_store(request, monkeypatch)
        return
    struck: Counter[str] = request.getfixturevalue("struck")
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.001)
    weather = Weather(SEED, RATE)
    with BadDisk(tmp_path / "store", weather):
        yield FileStore(f"file://{tmp_path}/store", retry_s=RETRY_S)
    struck.update(weather.struck)


def remote_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    proxy: FaultProxy = request.getfixturevalue(f"{request.param}_proxy")
    proxy.stall_s = STALL_S
    proxy.weather = fault_proxy.Weather(SEED, RATE, KINDS)
    b2_server: B2Server = request.getfixturevalue("b2_server")
    monkeypatch.setenv(env.STORAGE_TIMEOUT_S, str(TIMEOUT_S))
    below = f"octjob-test/{uuid.uuid4().hex}"
    if request.param == "gcs":
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        return GcsStore(f"gs://{below}", retry_s=RETRY_S, timeout_s=TIMEOUT_S)
    for name, value in (b2_server.env | {"B2_ENVIRONMENT": proxy.url}).items():
        monkeypatch.setenv(name, value)
    return B2Store(f"b2://{below}", retry_s=RETRY_S, timeout_s=TIMEOUT_S)

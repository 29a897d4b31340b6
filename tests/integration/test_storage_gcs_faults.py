"""GcsStore against refusals, lost replies and damage."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from doubles.fault_proxy import Fault, FaultProxy
from doubles.gcs import GcsServer
from doubles.placed import Placed

from octjob import env
from octjob.errors import AccessError, DataError, UnavailableError
from octjob.storage import AlreadyExistsError, ObjectNotFoundError, VersionConflictError, download
from octjob.storage.gcs import GcsStore
from octjob.storage.open import open_store

UPLOAD = "/upload/"


@pytest.fixture
def proxy(gcs_server: GcsServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with FaultProxy(gcs_server.url) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        yield proxy


@pytest.fixture
def store(proxy: FaultProxy) -> GcsStore:
    return GcsStore(f"gs://octjob-test/{uuid.uuid4().hex}", retry_s=6.0)


def test_create_whose_reply_was_lost_counts_as_won(store: GcsStore, proxy: FaultProxy) -> None:
    proxy.inject(Fault("drop_reply", "POST", UPLOAD))
    version = store.put("claim", b"mine", if_absent=True)
    assert [kind for kind, _, _ in proxy.struck] == ["drop_reply"]
    assert store.head("claim").version == version
    with pytest.raises(AlreadyExistsError):
        store.put("claim", b"other", if_absent=True)
    assert store.get("claim") == b"mine"


def test_create_whose_request_was_lost_to_another_is_lost(store: GcsStore, proxy: FaultProxy) -> None:
    store.put("claim", b"theirs", if_absent=True)
    proxy.inject(Fault("drop_reply", "POST", UPLOAD))
    with pytest.raises(AlreadyExistsError):
        store.put("claim", b"mine", if_absent=True)
    assert store.get("claim") == b"theirs"


def test_replacement_whose_reply_was_lost_counts_as_won(store: GcsStore, proxy: FaultProxy) -> None:
    first = store.put("state", b"one")
    proxy.inject(Fault("drop_reply", "POST", UPLOAD))
    second = store.put("state", b"two", if_version=first)
    assert store.head("state").version == second
    with pytest.raises(VersionConflictError):
        store.put("state", b"three", if_version=first)


def test_passing_unavailability_is_ridden_out(store: GcsStore, proxy: FaultProxy) -> None:
    store.put("a", b"one")
    proxy.inject(Fault("status", "GET", "a", status=503))
    assert store.get("a") == b"one"
    assert len(proxy.struck) == 1


def test_lasting_unavailability_ends_within_the_deadline(proxy: FaultProxy) -> None:
    store = GcsStore("gs://octjob-test/x", retry_s=0.5)
    proxy.inject(Fault("status", status=503, times=1000))
    with pytest.raises(UnavailableError, match="gs://octjob-test/x/a") as caught:
        store.get("a")
    assert caught.value.exit_code == 1


def test_a_silent_server_is_given_up_after_the_timeout_of_the_environment(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(env.STORAGE_TIMEOUT_S, "0.2")
    monkeypatch.setenv(env.STORAGE_RETRY_S, "0")
    proxy.stall_s = 30.0
    proxy.inject(Fault("stall", "GET", times=1000))
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="gs://octjob-test/x/a cannot be reached"):
        open_store("gs://octjob-test/x").get("a")
    assert time.monotonic() - began < 10.0


@pytest.mark.parametrize("create_only", [False, True])
def test_an_upload_damaged_on_its_way_is_repeated(
    store: GcsStore, proxy: FaultProxy, create_only: bool
) -> None:
    proxy.inject(Fault("flip_upload", "POST", UPLOAD))
    version = store.put("a", b"payload", if_absent=create_only)
    assert [kind for kind, _, _ in proxy.struck] == ["flip_upload"]
    assert store.get("a") == b"payload"
    assert store.head("a").version == version


@pytest.mark.parametrize(
    ("status", "message"), [(401, "no usable Google credentials"), (403, "permission refused")]
)
def test_refusal_names_the_object_and_a_way_out(
    store: GcsStore, proxy: FaultProxy, status: int, message: str
) -> None:
    proxy.inject(Fault("status", status=status, times=1000))
    actions = [
        lambda: store.get("a"),
        lambda: store.head("a"),
        lambda: store.exists("a"),
        lambda: store.put("a", b""),
        lambda: store.put("a", b"", if_absent=True),
        lambda: store.delete("a"),
        lambda: list(store.list()),
    ]
    for action in actions:
        with pytest.raises(AccessError, match=message) as caught:
            action()
        assert store.root in caught.value.message
        assert "gcloud auth application-default login" in caught.value.hint


def test_missing_bucket_is_not_a_missing_object(proxy: FaultProxy) -> None:
    store = GcsStore("gs://no-such-bucket/x", retry_s=2.0)
    actions = [
        lambda: store.get("a"),
        lambda: store.exists("a"),
        lambda: store.put("a", b""),
        lambda: list(store.list()),
    ]
    for action in actions:
        with pytest.raises(AccessError, match="bucket no-such-bucket does not exist") as caught:
            action()
        assert not isinstance(caught.value, ObjectNotFoundError)


def test_flipped_bit_is_noticed_and_fetched_again(store: GcsStore, proxy: FaultProxy) -> None:
    store.put("a", b"payload")
    proxy.inject(Fault("flip", "GET", "alt=media"))
    assert store.get("a") == b"payload"
    assert len(proxy.struck) == 1


def test_lasting_damage_is_an_error(store: GcsStore, proxy: FaultProxy) -> None:
    store.put("a", b"payload")
    proxy.inject(Fault("flip", "GET", "alt=media", times=1000))
    with pytest.raises(DataError, match="arrived damaged") as caught:
        store.get("a")
    assert store.uri("a") in caught.value.message


def test_range_that_comes_short_is_noticed(store: GcsStore, proxy: FaultProxy) -> None:
    store.put("a", bytes(range(256)))
    proxy.inject(Fault("short", "GET", "alt=media"))
    assert store.get_range("a", 10, 100) == bytes(range(10, 110))
    proxy.inject(Fault("short", "GET", "alt=media", times=1000))
    with pytest.raises(DataError, match="arrived damaged") as caught:
        store.get_range("a", 10, 100)
    assert store.uri("a") in caught.value.message


@pytest.mark.parametrize("kind", ["truncate", "drop_reply", "short", "status"])
def test_a_fault_in_a_copied_range_is_written_over(store: GcsStore, proxy: FaultProxy, kind: str) -> None:
    content = bytes(range(256)) * 4000
    store.put("a", content)
    proxy.inject(Fault(kind, "GET", "alt=media"))
    copy = bytearray(len(content))

    def write(at: int, piece: bytes | memoryview) -> None:
        copy[at : at + len(piece)] = piece

    store.copy_range("a", 1000, 900_000, write)
    assert copy[1000:901_000] == content[1000:901_000]
    assert copy[:1000] == copy[901_000:][:1000] == bytes(1000)
    assert len(proxy.struck) == 1
    proxy.inject(Fault("short", "GET", "alt=media", times=1000))
    with pytest.raises(DataError, match="arrived damaged") as caught:
        store.copy_range("a", 1000, 900_000, write)
    assert store.uri("a") in caught.value.message


def test_a_range_comes_in_few_pieces(store: GcsStore) -> None:
    store.put("a", bytes(1 << 20))
    lengths: list[int] = []
    store.copy_range("a", 0, 1 << 20, lambda at, piece: lengths.append(len(piece)))
    assert sum(lengths) == 1 << 20
    assert len(lengths) <= 8


@pytest.mark.parametrize("kind", [None, "truncate", "drop_reply", "short", "status"])
def test_a_range_comes_where_it_belongs_without_a_copy(
    store: GcsStore, proxy: FaultProxy, kind: str | None
) -> None:
    content = bytes(range(1, 251)) * 12_000
    store.put("a", content)
    if kind:
        proxy.inject(Fault(kind, "GET", "alt=media"))
    placed = Placed(len(content))
    store.copy_range("a", 1000, 2_900_000, placed)
    assert placed.copy == bytes(1000) + content[1000:2_901_000] + bytes(len(content) - 2_901_000)
    assert placed.num_in_place >= 2_900_000


def test_what_a_server_says_of_a_fault_is_put_nowhere(store: GcsStore, proxy: FaultProxy) -> None:
    store.put("a", bytes(1000))
    proxy.inject(Fault("status", "GET", "alt=media", status=403, times=1000))
    placed = Placed(1000)
    with pytest.raises(AccessError):
        store.copy_range("a", 0, 1000, placed)
    assert placed.copy == bytes(1000)


def test_connections_are_kept_for_more_threads_than_ten(store: GcsStore, proxy: FaultProxy) -> None:
    store.put("a", bytes(2000))
    with ThreadPoolExecutor(16) as pool:
        for _ in range(4):
            barrier = threading.Barrier(16)

            def read(i: int, barrier: threading.Barrier = barrier) -> None:
                barrier.wait()
                store.copy_range("a", i, 100, lambda at, piece: None)

            list(pool.map(read, range(16)))
    assert proxy.connections <= 20


@pytest.mark.parametrize("kind", ["truncate", "drop_reply"])
def test_broken_streams_are_completed(store: GcsStore, proxy: FaultProxy, kind: str) -> None:
    store.put("a", bytes(range(256)) * 100)
    proxy.inject(Fault(kind, "GET", "alt=media"))
    assert store.get("a") == bytes(range(256)) * 100
    proxy.inject(Fault(kind, "GET", "alt=media"))
    assert store.get_range("a", 256, 512) == bytes(range(256)) * 2
    assert len(proxy.struck) == 2


def test_download_damaged_in_one_range_is_fetched_again(
    store: GcsStore, proxy: FaultProxy, tmp_path: Path
) -> None:
    store.put("a", bytes(range(256)) * 100)
    proxy.inject(Fault("flip", "GET", "alt=media", after=3))
    download(store, "a", tmp_path / "copy", chunk_bytes=5000)
    assert (tmp_path / "copy").read_bytes() == bytes(range(256)) * 100
    proxy.inject(Fault("flip", "GET", "alt=media", times=1000))
    with pytest.raises(DataError, match="checksum"):
        download(store, "a", tmp_path / "other", chunk_bytes=5000)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_large_create_carries_its_precondition(store: GcsStore, proxy: FaultProxy) -> None:
    # fake-gcs-server ignores the precondition of resumable uploads, so look at what it is asked.
    content = b"0123456789abcdef" * (9 * 2**16)  # 9 MiB: the SDK sends it as a resumable upload
    store.put("big", content, if_absent=True)
    starts = [path for method, path in proxy.seen if method == "POST" and "uploadType=resumable" in path]
    assert len(starts) == 1
    assert "ifGenerationMatch=0" in starts[0]
    assert store.get("big") == content


def test_without_credentials_the_error_says_how_to_get_some(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT", "CLOUDSDK_AUTH_DISABLE_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    with pytest.raises(AccessError, match="no usable Google credentials") as caught:
        GcsStore("gs://bucket/x").get("a")
    assert "gs://bucket/x/a" in caught.value.message
    assert "gcloud auth" in caught.value.hint

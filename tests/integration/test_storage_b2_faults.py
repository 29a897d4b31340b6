"""B2Store against refusals, lost replies, damage and racing writers that died."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from doubles.b2_server import B2Server
from doubles.fault_proxy import Fault, FaultProxy
from doubles.placed import Placed

from octjob.errors import AccessError, DataError
from octjob.storage import AlreadyExistsError, ObjectNotFoundError, VersionConflictError, download
from octjob.storage.b2 import B2Store
from octjob.storage.b2_versions import ABSENT, AFTER, OWNER

BUCKET = "octjob-test"
LARGE = bytes(range(251)) * 48_000  # 12 MB: two parts


@pytest.fixture
def env(b2_server: B2Server, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    use(monkeypatch, b2_server.env)
    return monkeypatch


@pytest.fixture
def store(env: pytest.MonkeyPatch) -> B2Store:
    return new_store()


@pytest.fixture
def proxy(b2_server: B2Server, env: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with FaultProxy(b2_server.url) as proxy:
        env.setenv("B2_ENVIRONMENT", proxy.url)
        yield proxy


def use(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "S3_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def new_store(retry_s: float = 6.0) -> B2Store:
    return B2Store(f"b2://{BUCKET}/{uuid.uuid4().hex}", retry_s=retry_s)


def name_of(store: B2Store, key: str) -> str:
    return store.uri(key).removeprefix(f"b2://{BUCKET}/")


def test_create_whose_reply_was_lost_counts_as_won(proxy: FaultProxy, b2_server: B2Server) -> None:
    store = new_store()
    proxy.inject(Fault("drop_reply", "POST", "/upload"))
    version = store.put("claim", b"mine", if_absent=True)
    assert len(proxy.struck) == 1
    assert store.head("claim").version == version
    assert len(b2_server.versions(BUCKET, name_of(store, "claim"))) == 1
    with pytest.raises(AlreadyExistsError):
        store.put("claim", b"other", if_absent=True)


def test_loser_that_died_before_cleaning_up_never_counts(store: B2Store) -> None:
    store.put("claim", b"winner", if_absent=True)
    # What a slower creator leaves when it dies between its upload and its look at the others.
    store._upload("claim", b"loser", {AFTER: ABSENT, OWNER: "dead"})
    assert store.get("claim") == b"winner"
    assert store.get_range("claim", 1, 3) == b"inn"
    assert store.head("claim").size == 6
    assert [info.size for info in store.list()] == [6]
    with pytest.raises(AlreadyExistsError):
        store.put("claim", b"third", if_absent=True)
    version = store.head("claim").version
    store.put("claim", b"newer", if_version=version)
    assert store.get("claim") == b"newer"
    store._upload("claim", b"late", {AFTER: version, OWNER: "dead"})
    assert store.get("claim") == b"newer"
    with pytest.raises(VersionConflictError):
        store.put("claim", b"x", if_version=version)


def test_object_hidden_by_another_tool_is_absent(store: B2Store) -> None:
    store.put("a", b"one", if_absent=True)
    _, bucket = store._client.get()
    bucket.hide_file(name_of(store, "a"))
    assert not store.exists("a")
    assert list(store.list()) == []
    store.put("a", b"two", if_absent=True)
    assert store.get("a") == b"two"


def test_replacement_survives_the_removal_of_what_it_followed(store: B2Store, b2_server: B2Server) -> None:
    first = store.put("a", b"one")
    store.put("a", b"two", if_version=first)
    api, _ = store._client.get()
    api.delete_file_version(first, name_of(store, "a"))  # as a lifecycle rule would
    assert store.get("a") == b"two"


def test_damage_in_a_small_file_is_noticed(proxy: FaultProxy) -> None:
    store = new_store()
    store.put("a", b"payload")
    proxy.inject(Fault("flip", "GET", "/file/"))
    assert store.get("a") == b"payload"
    proxy.inject(Fault("flip", "GET", "/file/", times=1000))
    with pytest.raises(DataError, match="SHA-1") as caught:
        store.get("a")
    assert store.uri("a") in caught.value.message


def test_damage_in_a_large_file_is_noticed(store: B2Store, b2_server: B2Server, tmp_path: Path) -> None:
    store.put("big", LARGE)
    (stored,) = b2_server.versions(BUCKET, name_of(store, "big"))
    assert stored.content_sha1 == "none"
    assert store.get("big") == LARGE
    download(store, "big", tmp_path / "copy", chunk_bytes=5_000_000)
    assert (tmp_path / "copy").read_bytes() == LARGE
    stored.data_bytes = LARGE[:-1] + b"!"
    with pytest.raises(DataError, match="SHA-1"):
        store.get("big")
    with pytest.raises(DataError, match="checksum"):
        download(store, "big", tmp_path / "other", chunk_bytes=5_000_000)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_range_that_comes_short_is_noticed(proxy: FaultProxy) -> None:
    store = new_store()
    store.put("a", bytes(range(256)))
    proxy.inject(Fault("short", "GET", "/file/"))
    assert store.get_range("a", 10, 100) == bytes(range(10, 110))
    proxy.inject(Fault("short", "GET", "/file/", times=1000))
    with pytest.raises(DataError, match="arrived damaged") as caught:
        store.get_range("a", 10, 100)
    assert store.uri("a") in caught.value.message


@pytest.mark.parametrize("kind", ["truncate", "drop_reply", "short", "status"])
def test_a_fault_in_a_copied_range_is_written_over(proxy: FaultProxy, kind: str) -> None:
    store = new_store()
    content = bytes(range(256)) * 4000
    store.put("a", content)
    proxy.inject(Fault(kind, "GET", "/file/"))
    copy = bytearray(len(content))

    def write(at: int, piece: bytes | memoryview) -> None:
        copy[at : at + len(piece)] = piece

    store.copy_range("a", 1000, 900_000, write)
    assert copy[1000:901_000] == content[1000:901_000]
    assert copy[:1000] == copy[901_000:][:1000] == bytes(1000)
    assert len(proxy.struck) == 1
    proxy.inject(Fault("short", "GET", "/file/", times=1000))
    with pytest.raises(DataError, match="arrived damaged") as caught:
        store.copy_range("a", 1000, 900_000, write)
    assert store.uri("a") in caught.value.message


@pytest.mark.parametrize("kind", [None, "truncate", "drop_reply", "short", "status"])
def test_a_range_comes_where_it_belongs_without_a_copy(proxy: FaultProxy, kind: str | None) -> None:
    store = new_store()
    content = bytes(range(1, 251)) * 12_000
    store.put("a", content)
    if kind:
        proxy.inject(Fault(kind, "GET", "/file/"))
    placed = Placed(len(content))
    store.copy_range("a", 1000, 2_900_000, placed)
    assert placed.copy == bytes(1000) + content[1000:2_901_000] + bytes(len(content) - 2_901_000)
    assert placed.num_in_place >= 2_900_000


def test_what_a_server_says_of_a_fault_is_put_nowhere(proxy: FaultProxy) -> None:
    store = new_store()
    store.put("a", bytes(1000))
    proxy.inject(Fault("status", "GET", "/file/", status=403, times=1000))
    placed = Placed(1000)
    with pytest.raises(AccessError):
        store.copy_range("a", 0, 1000, placed)
    assert placed.copy == bytes(1000)


def test_connections_are_kept_for_more_threads_than_ten(proxy: FaultProxy) -> None:
    store = new_store()
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
def test_broken_streams_are_completed(proxy: FaultProxy, kind: str) -> None:
    store = new_store()
    store.put("a", bytes(range(256)) * 100)
    proxy.inject(Fault(kind, "GET", "/file/"))
    assert store.get("a") == bytes(range(256)) * 100
    proxy.inject(Fault(kind, "GET", "/file/"))
    assert store.get_range("a", 256, 512) == bytes(range(256)) * 2
    assert len(proxy.struck) == 2


def test_passing_unavailability_is_ridden_out(proxy: FaultProxy) -> None:
    store = new_store()
    store.put("a", b"one")
    proxy.inject(Fault("status", "GET", "/file/", status=503))
    proxy.inject(Fault("status", "POST", "b2_list_file_versions", status=429))
    proxy.inject(Fault("status", "POST", "/upload", status=503, times=6))
    assert store.get("a") == b"one"
    assert [info.key for info in store.list()] == ["a"]
    store.put("b", b"two")
    assert len(proxy.struck) == 8


def test_lasting_unavailability_ends_within_the_deadline(proxy: FaultProxy) -> None:
    store = new_store(retry_s=0.2)
    store.put("a", b"one")
    proxy.inject(Fault("status", status=503, times=1000))
    for action in (lambda: store.get("a"), lambda: store.put("a", b"two"), lambda: list(store.list())):
        with pytest.raises(AccessError, match="503") as caught:
            action()
        assert store.root in caught.value.message


def test_expired_token_is_renewed(store: B2Store, b2_server: B2Server) -> None:
    store.put("a", b"one")
    b2_server.expire_tokens()
    assert store.get("a") == b"one"


def test_read_only_key_reads_and_is_refused_writing(env: pytest.MonkeyPatch, b2_server: B2Server) -> None:
    full = new_store()
    full.put("a", b"one")
    use(env, b2_server.create_key("listBuckets", "listFiles", "readFiles", bucket=BUCKET))
    store = B2Store(full.root)
    assert store.get("a") == b"one"
    assert [info.key for info in store.list()] == ["a"]
    actions = [
        lambda: store.put("a", b"two"),
        lambda: store.put("b", b"two", if_absent=True),
        lambda: store.delete("a"),
    ]
    for action in actions:
        with pytest.raises(AccessError, match="permission refused") as caught:
            action()
        assert store.root in caught.value.message
        assert "capabilities" in caught.value.hint
    assert full.get("a") == b"one"


def test_key_of_another_bucket_is_refused(env: pytest.MonkeyPatch, b2_server: B2Server) -> None:
    b2_server.create_bucket(f"other-{uuid.uuid4().hex}")
    other = next(name for name in b2_server.sim.bucket_name_to_bucket if name.startswith("other-"))
    use(env, b2_server.create_key("listBuckets", "listFiles", "readFiles", bucket=other))
    with pytest.raises(AccessError, match="permission refused"):
        new_store().get("a")


def test_wrong_key_is_refused(env: pytest.MonkeyPatch) -> None:
    env.setenv("B2_APPLICATION_KEY", "wrong")
    with pytest.raises(AccessError, match="permission refused") as caught:
        new_store().exists("a")
    assert "B2_APPLICATION_KEY" in caught.value.hint
    assert "wrong" not in caught.value.message


def test_missing_bucket_is_not_a_missing_object(env: pytest.MonkeyPatch) -> None:
    store = B2Store("b2://no-such-bucket/x")
    for action in (lambda: store.exists("a"), lambda: store.put("a", b""), lambda: list(store.list())):
        with pytest.raises(AccessError, match="bucket no-such-bucket does not exist") as caught:
            action()
        assert not isinstance(caught.value, ObjectNotFoundError)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "no B2 credentials"),
        ({"B2_APPLICATION_KEY_ID": "id"}, "B2_APPLICATION_KEY is not set"),
        ({"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}, "S3_ENDPOINT_URL is not set"),
        (
            {
                "AWS_ACCESS_KEY_ID": "id",
                "AWS_SECRET_ACCESS_KEY": "key",
                "S3_ENDPOINT_URL": "https://s3.eu-west-1.amazonaws.com",
            },
            "S3_ENDPOINT_URL=https://s3.eu-west-1.amazonaws.com is not for Backblaze B2",
        ),
    ],
)
def test_credentials_that_cannot_serve_are_named(
    env: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    env.delenv("B2_APPLICATION_KEY_ID")
    env.delenv("B2_APPLICATION_KEY")
    use(env, variables)
    with pytest.raises(AccessError, match=message) as caught:
        new_store().get("a")
    assert "B2_APPLICATION_KEY_ID" in caught.value.hint


def test_the_original_projects_names_serve(env: pytest.MonkeyPatch, b2_server: B2Server) -> None:
    key = b2_server.create_key("listBuckets", "listFiles", "readFiles", "writeFiles", bucket=BUCKET)
    for name in ("B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY"):
        env.delenv(name)
    env.setenv("AWS_ACCESS_KEY_ID", key["B2_APPLICATION_KEY_ID"])
    env.setenv("AWS_SECRET_ACCESS_KEY", key["B2_APPLICATION_KEY"])
    env.setenv("S3_ENDPOINT_URL", "https://s3.us-west-004.backblazeb2.com")
    store = new_store()
    store.put("a", b"one")
    assert store.get("a") == b"one"


def test_another_process_reaches_the_double(env: pytest.MonkeyPatch) -> None:
    script = Path(__file__).parents[1] / "doubles" / "b2_server.py"
    with subprocess.Popen([sys.executable, str(script), BUCKET], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        use(env, json.loads(process.stdout.readline()))
        store = new_store()
        store.put("a", b"one", if_absent=True)
        assert store.get("a") == b"one"
        process.terminate()


@pytest.mark.parametrize(("age_h", "left"), [(1, 1), (25, 0)])
def test_parts_that_a_killed_writer_left_are_removed_once_they_are_a_day_old(
    store: B2Store, b2_server: B2Server, age_h: int, left: int
) -> None:
    api, bucket = store._client.get()
    names = [name_of(store, "weights"), name_of(store, "weights-of-another")]
    abandoned, other = (
        api.services.large_file.start_large_file(
            bucket.id_, name, "b2/x-auto", {"large_file_sha1": "0" * 40}
        ).file_id
        for name in names
    )
    for file_id in (abandoned, other):
        b2_server.sim.bucket_name_to_bucket[BUCKET].file_id_to_file[file_id].upload_timestamp -= (
            age_h * 3_600_000
        )
    store.put("weights", LARGE)
    assert store.get("weights") == LARGE
    unfinished = {file.file_id for file in bucket.list_unfinished_large_files(prefix=names[0])}
    assert unfinished == {other} | ({abandoned} if left else set())

"""What every store promises, asked of all three."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from octjob.errors import SpecError
from octjob.storage import (
    AlreadyExistsError,
    ObjectNotFoundError,
    ObjectStore,
    VersionConflictError,
    download,
    open_store,
    read_uri,
)

T = TypeVar("T")
CONTENT = bytes(range(256)) * 40


def race(num_threads: int, action: Callable[[int], T]) -> list[T]:
    with ThreadPoolExecutor(num_threads) as pool:
        return list(pool.map(action, range(num_threads)))


@pytest.mark.parametrize("content", [b"", b"x", CONTENT])
@pytest.mark.parametrize("key", ["plain", "deep/er/name.json", "ünï/日本 😀 + %2F & #?*[1].txt"])
def test_what_is_put_is_what_is_got(any_store: ObjectStore, key: str, content: bytes) -> None:
    version = any_store.put(key, content)
    assert any_store.get(key) == content
    info = any_store.head(key)
    assert (info.key, info.size, info.version) == (key, len(content), version)
    assert list(any_store.list()) == [info]
    assert any_store.exists(key)
    assert any_store.uri(key) == f"{any_store.root}/{key}"


def test_absent_objects_say_so_with_their_uri(any_store: ObjectStore) -> None:
    actions: list[Callable[[str], object]] = [
        any_store.get,
        any_store.head,
        any_store.delete,
        lambda key: any_store.get_range(key, 0, 1),
        lambda key: any_store.copy_range(key, 0, 1, lambda at, piece: None),
    ]
    for action in actions:
        with pytest.raises(ObjectNotFoundError) as caught:
            action("no/such")
        assert f"{any_store.root}/no/such" in caught.value.message
    assert not any_store.exists("no/such")
    assert list(any_store.list()) == []


def test_put_replaces_and_changes_the_version(any_store: ObjectStore) -> None:
    first = any_store.put("a", b"one")
    second = any_store.put("a", b"two")
    assert first != second
    assert any_store.get("a") == b"two"
    assert [info.size for info in any_store.list()] == [3]


def test_delete_removes_and_lets_create_again(any_store: ObjectStore) -> None:
    any_store.put("a", b"one")
    any_store.put("a", b"two")
    any_store.delete("a")
    assert not any_store.exists("a")
    assert list(any_store.list()) == []
    any_store.put("a", b"three", if_absent=True)
    assert any_store.get("a") == b"three"


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, 1), (100, 200), (0, 10240), (10239, 1), (10000, 5000), (10240, 1), (20000, 10), (5, 0)],
)
def test_ranges_are_like_slices(any_store: ObjectStore, start: int, length: int) -> None:
    any_store.put("a", CONTENT)
    assert any_store.get_range("a", start, length) == CONTENT[start : start + length]


@pytest.mark.parametrize(
    ("start", "length"), [(0, 1), (100, 200), (0, 10240), (10000, 5000), (10240, 1), (20000, 10), (5, 0)]
)
def test_a_range_is_copied_to_its_place_and_nowhere_else(
    any_store: ObjectStore, start: int, length: int
) -> None:
    any_store.put("a", CONTENT)
    copy = bytearray(b"-" * (len(CONTENT) + 100))
    expected = bytes(copy[:start]) + CONTENT[start : start + length]
    any_store.copy_range("a", start, length, lambda at, piece: into(copy, at, piece))
    assert copy == expected + b"-" * (len(copy) - len(expected))


def test_threads_fill_one_copy_together(any_store: ObjectStore) -> None:
    any_store.put("a", CONTENT)
    copy = bytearray(len(CONTENT))
    race(10, lambda i: any_store.copy_range("a", 1024 * i, 1024, lambda at, piece: into(copy, at, piece)))
    assert copy == CONTENT


def test_whoever_takes_the_bytes_may_end_the_copying(any_store: ObjectStore) -> None:
    any_store.put("a", CONTENT)

    def refuse(at: int, piece: object) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        any_store.copy_range("a", 0, 5000, refuse)


def into(copy: bytearray, at: int, piece: bytes | memoryview) -> None:
    copy[at : at + len(piece)] = piece


def test_range_of_an_empty_object(any_store: ObjectStore) -> None:
    any_store.put("a", b"")
    assert any_store.get_range("a", 0, 10) == b""


def test_listing_takes_string_prefixes_in_key_order(any_store: ObjectStore) -> None:
    keys = ["a-b", "a.txt", "a/b/c", "a/b.txt", "a/b0", "a0", "b/ä", "b/z"]
    for key in reversed(keys):
        any_store.put(key, key.encode())
    for prefix in ["", "a", "a/", "a/b", "a/b/", "a.", "b/", "c", "a//", "/", "a/b/c/d"]:
        expected = [(key, len(key.encode())) for key in sorted(keys) if key.startswith(prefix)]
        assert [(info.key, info.size) for info in any_store.list(prefix)] == expected, prefix


def test_create_only_refuses_what_exists(any_store: ObjectStore) -> None:
    any_store.put("a", b"first", if_absent=True)
    with pytest.raises(AlreadyExistsError, match="/a exists already"):
        any_store.put("a", b"second", if_absent=True)
    assert any_store.get("a") == b"first"
    any_store.put("a", b"third")
    with pytest.raises(AlreadyExistsError):
        any_store.put("a", b"fourth", if_absent=True)
    assert any_store.get("a") == b"third"


def test_one_of_sixteen_racing_creators_wins(any_store: ObjectStore) -> None:
    def create(number: int) -> bool:
        try:
            any_store.put("claim", str(number).encode(), if_absent=True)
        except AlreadyExistsError:
            return False
        return True

    won = race(16, create)
    assert won.count(True) == 1
    assert any_store.get("claim") == str(won.index(True)).encode()
    assert len(list(any_store.list())) == 1


def test_conditional_writes_count_without_losing_any(any_store: ObjectStore) -> None:
    any_store.put("counter", b"0")

    def add_five(_: int) -> None:
        for _ in range(5):
            while True:
                version = any_store.head("counter").version
                value = int(any_store.get("counter"))
                try:
                    any_store.put("counter", str(value + 1).encode(), if_version=version)
                    break
                except VersionConflictError:
                    continue

    race(4, add_five)
    assert any_store.get("counter") == b"20"


def test_conditional_write_refuses_another_version(any_store: ObjectStore) -> None:
    old = any_store.put("a", b"one")
    new = any_store.put("a", b"two")
    with pytest.raises(VersionConflictError):
        any_store.put("a", b"three", if_version=old)
    any_store.put("a", b"four", if_version=new)
    assert any_store.get("a") == b"four"
    any_store.delete("a")
    with pytest.raises(VersionConflictError):
        any_store.put("a", b"five", if_version=new)
    assert not any_store.exists("a")


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/./b", "a\nb", "x" * 1025])
def test_keys_no_store_can_hold_are_refused(any_store: ObjectStore, key: str) -> None:
    with pytest.raises(SpecError):
        any_store.put(key, b"")


def test_stores_travel_to_other_processes(any_store: ObjectStore) -> None:
    any_store.put("a", b"one")
    copy = pickle.loads(pickle.dumps(any_store))
    assert copy.root == any_store.root
    assert copy.get("a") == b"one"


def test_open_store_and_read_uri_find_the_same_object(any_store: ObjectStore) -> None:
    any_store.put("a/b", b"one")
    store = open_store(any_store.root + "/")
    assert store is open_store(any_store.root)
    assert store.get("a/b") == b"one"
    assert read_uri(any_store.uri("a/b")) == b"one"


def test_download_streams_in_order(any_store: ObjectStore, tmp_path: Path) -> None:
    any_store.put("big", CONTENT)
    seen: list[tuple[int, int]] = []
    target = tmp_path / "new" / "copy"
    info = download(
        any_store, "big", target, lambda done, total: seen.append((done, total)), chunk_bytes=1000
    )
    assert target.read_bytes() == CONTENT
    assert info == any_store.head("big")
    assert seen == [(min(done, 10240), 10240) for done in range(1000, 11001, 1000)]
    assert [path.name for path in target.parent.iterdir()] == ["copy"]


def test_download_of_an_empty_object(any_store: ObjectStore, tmp_path: Path) -> None:
    any_store.put("empty", b"")
    download(any_store, "empty", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b""

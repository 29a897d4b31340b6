"""Objects in ranges over several connections: the same bytes, bounded memory, an end when nobody wants them."""

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, wait
from pathlib import Path

import pytest
from doubles.fault_proxy import FaultProxy, Weather
from doubles.gcs import GcsServer
from doubles.interleaved import MemoryStore
from hypothesis import given
from hypothesis import strategies as st

from octjob.data import downloads as downloads_module
from octjob.data.downloads import LEAST_RANGE_BYTES, RANGE_BYTES, Downloads, split, verified
from octjob.data.wanted import Wanted
from octjob.errors import AccessError
from octjob.storage.base import ObjectInfo, Write
from octjob.storage.gcs import GcsStore

CONTENT = bytes(range(251)) * 4000


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads_module, "RANGE_BYTES", 100_000)
    monkeypatch.setattr(downloads_module, "LEAST_RANGE_BYTES", 10_000)


class Gate(MemoryStore):
    """A store in memory whose ranges wait until they may go on; knows how many are under way."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.starts: list[int] = []
        self.ended = threading.Semaphore(0)

    def copy_range(self, key: str, start: int, length: int, write: Write) -> None:
        self.starts.append(start)
        try:
            self.go.wait()
            data = self.get_range(key, start, length)
            for at in range(0, len(data), 1000):
                write(start + at, data[at : at + 1000])
        finally:
            self.ended.release()


@given(st.integers(0, 5 * RANGE_BYTES), st.integers(0, 40), st.floats(0, 1))
def test_ranges_cover_an_object_once_and_are_neither_tiny_nor_huge(
    size: int, num_free: int, taken: float
) -> None:
    ranges = split(size, num_free, taken)
    assert [start for start, _ in ranges] == [0, *(start + length for start, length in ranges)][:-1]
    assert sum(length for _, length in ranges) == size
    lengths = [length for _, length in ranges]
    assert max(lengths) <= RANGE_BYTES
    assert len(ranges) == 1 or min(lengths) >= LEAST_RANGE_BYTES
    assert max(lengths) - min(lengths) <= 1
    least = max(LEAST_RANGE_BYTES, round(taken * RANGE_BYTES))
    assert len(ranges) <= max(1, -(-size // RANGE_BYTES), size // least)
    if size >= num_free * least:
        assert len(ranges) >= num_free


def test_the_first_object_comes_over_all_connections_at_once(small_ranges: None) -> None:
    store = Gate()
    store.put("a", CONTENT)
    downloads = Downloads(store, 20, 10**9)
    first = downloads.fetch(Wanted(store.head("a")))
    until(lambda: len(store.starts) == 20)
    store.go.set()
    with first.result() as file:
        assert file.read() == CONTENT
    downloads.close()


def test_whatever_faults_there_are_used_memory_holds_the_object(
    small_ranges: None, gcs_server: GcsServer, gcs_store: GcsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = {f"{number}": CONTENT[number : 900_000 - number] for number in range(10)}
    for key, content in objects.items():
        gcs_store.put(key, content)
    with FaultProxy(gcs_server.url) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        store = GcsStore(gcs_store.root, retry_s=60)
        proxy.weather = Weather(5, 0.1, ("503", "truncate", "reset", "drop_reply", "short"))
        downloads = Downloads(store, 8, 2 * len(CONTENT))
        kept = downloads.fetch(Wanted(store.head("0"))).result()
        used = []
        for key, content in objects.items():
            info = store.head(key)
            with downloads.fetch(Wanted(info)).result() as file, verified(store, info, file) as whole:
                assert whole is file
                assert file.read() == content
                used.append(file.descriptor)
        assert len(set(used)) == 1
        kept.close()
        downloads.close()
    assert any("alt=media" in path for _, _, path in proxy.struck)


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_an_object_is_not_cut_up_while_others_wait_for_their_decoder(small_ranges: None) -> None:
    store = Gate()
    store.go.set()
    for key in "abcd":
        store.put(key, CONTENT[:200_000])
    downloads = Downloads(store, 20, 800_000)
    files, nums = [], []
    for key in "abcd":
        store.starts.clear()
        files.append(downloads.fetch(Wanted(store.head(key))).result())
        nums.append(len(store.starts))
    # Some connections may not have come back from the object before.
    assert nums[0] == 20
    assert all(num <= most for num, most in zip(nums, [20, 8, 4, 2], strict=True))
    for file in files:
        assert file.read() == CONTENT[:200_000]
        file.close()
    downloads.close()


def test_no_more_is_under_way_than_there_is_room_for(small_ranges: None) -> None:
    store = Gate()
    store.go.set()
    for key in "abc":
        store.put(key, CONTENT)
    downloads = Downloads(store, 4, 2 * len(CONTENT))
    files = [downloads.fetch(Wanted(store.head(key))).result() for key in "ab"]
    third = []
    thread = threading.Thread(target=lambda: third.append(downloads.fetch(Wanted(store.head("c"))).result()))
    thread.start()
    thread.join(0.2)
    assert not third
    files[0].close()
    thread.join(20)
    assert third[0].read() == CONTENT
    downloads.close()


def test_memory_is_used_again_while_some_is_in_use_and_then_freed(small_ranges: None) -> None:
    store = MemoryStore()
    contents = {"a": CONTENT, "b": CONTENT[::-1], "c": CONTENT[5:], "d": CONTENT[:300_000], "e": CONTENT[9:]}
    for key, content in contents.items():
        store.put(key, content)
    downloads = Downloads(store, 4, 2 * len(CONTENT))
    first, before = downloads.fetch(Wanted(store.head("a"))).result(), open_memory()
    for key in "bcbc":  # each in the other's place
        with downloads.fetch(Wanted(store.head(key))).result() as file:
            assert file.read() == contents[key]
            assert b"".join(file.pieces()) == contents[key]
    assert open_memory() == before + 1
    with downloads.fetch(Wanted(store.head("d"))).result() as file:  # far smaller: in memory of its own
        assert file.read() == contents["d"]
        assert open_memory() == before + 1
    first.close()
    assert open_memory() == before - 1
    with downloads.fetch(Wanted(store.head("e"))).result() as file:
        assert file.read() == contents["e"]
    downloads.close()
    assert open_memory() == before - 1


def open_memory() -> int:
    """Memory files of this process, under however many descriptors each."""
    found = set()
    for file in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if "octjob-volume" in str(file.readlink()):
                found.add(file.stat().st_ino)
    return len(found)


def test_of_an_object_in_parts_only_the_parts_take_memory(small_ranges: None) -> None:
    store = MemoryStore()
    store.put("a", CONTENT)
    spans = ((1000, 1500), (700_000, 730_000), (len(CONTENT) - 10, len(CONTENT)))
    downloads = Downloads(store, 4, 10**9)
    with downloads.fetch(Wanted(store.head("a"), CONTENT[:200], spans)).result() as file:
        parts = [CONTENT[start:end] for start, end in ((0, 200), *spans)]
        assert file.read() == b"".join(parts)
        assert (file.size, file.num_bytes) == (len(CONTENT), sum(map(len, parts)))
        for start in (199, 200, 999, 1499, 5000, len(CONTENT) - 1):
            with pytest.raises(ValueError, match="not among those that are held"):
                file.write(start, b"xx")
    downloads.close()


def test_one_object_larger_than_the_room_still_comes(small_ranges: None) -> None:
    store = MemoryStore()
    store.put("a", CONTENT)
    with Downloads(store, 4, 1000).fetch(Wanted(store.head("a"))).result() as file:
        assert file.read() == CONTENT


def test_closing_ends_transfers_in_their_midst(small_ranges: None) -> None:
    store = Gate()
    store.put("a", CONTENT)
    downloads = Downloads(store, 3, 10**9)
    arriving = downloads.fetch(Wanted(store.head("a")))
    until(lambda: len(store.starts) == 3)
    downloads.close()
    store.go.set()
    with pytest.raises(CancelledError):
        arriving.result(20)
    assert len(store.starts) == 3  # and no further range was begun
    with pytest.raises(CancelledError):
        downloads.fetch(Wanted(store.head("a")))


def test_a_store_that_refuses_one_range_ends_the_object_and_gives_its_room_back(small_ranges: None) -> None:
    class Refusing(MemoryStore):
        def copy_range(self, key: str, start: int, length: int, write: Write) -> None:
            if key == "a" and start:
                raise AccessError("no")
            super().copy_range(key, start, length, write)

    store = Refusing()
    for key in "ab":
        store.put(key, CONTENT)
    downloads = Downloads(store, 4, len(CONTENT))
    with pytest.raises(AccessError, match="no"):
        downloads.fetch(Wanted(store.head("a"))).result()
    with downloads.fetch(Wanted(store.head("b"))).result() as file:
        assert file.read() == CONTENT
    downloads.close()


def test_what_is_not_what_the_store_has_is_read_again_whole(small_ranges: None) -> None:
    store = MemoryStore()
    store.put("a", CONTENT)
    old = store.head("a")
    downloads = Downloads(store, 4, 10**9)
    store.put("a", CONTENT[::-1])  # replaced after it was looked up
    file = downloads.fetch(Wanted(old)).result()
    with verified(store, old, file) as whole:
        assert whole.read() == CONTENT[::-1]
    sha1 = ObjectInfo("a", len(CONTENT), "", "sha1:" + "0" * 40)
    file = downloads.fetch(Wanted(sha1)).result()
    with verified(store, sha1, file) as whole:
        assert whole is not file
    downloads.close()


def test_faults_cost_their_range_alone(
    small_ranges: None, gcs_server: GcsServer, gcs_store: GcsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = {f"{number}": CONTENT[number:] for number in range(8)}
    for key, content in objects.items():
        gcs_store.put(key, content)
    with FaultProxy(gcs_server.url) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        store = GcsStore(gcs_store.root, retry_s=60)
        infos = [store.head(key) for key in objects]
        proxy.weather = Weather(3, 0.1, ("503", "429", "truncate", "reset", "drop_reply", "short"))
        downloads = Downloads(store, 8, 10**9)
        arriving = [downloads.fetch(Wanted(info)) for info in infos]
        wait(arriving)
        for info, arrived in zip(infos, arriving, strict=True):
            with arrived.result() as file, verified(store, info, file) as whole:
                assert whole is file
                assert file.read() == objects[info.key]
        downloads.close()
    assert any("alt=media" in path for _, _, path in proxy.struck)

"""Threads that nobody has to wait for."""

import threading
from concurrent.futures import CancelledError, Future
from pathlib import Path

import pytest

from octjob.data.cores import num_cores
from octjob.data.memory import available_bytes
from octjob.data.pool import Pool


def test_results_and_errors_come_to_whoever_asks() -> None:
    pool = Pool(3, "test")
    results = [pool.submit(lambda i=i: 10 // i) for i in range(5)]
    with pytest.raises(ZeroDivisionError):
        results[0].result()
    assert [result.result() for result in results[1:]] == [10, 5, 3, 2]
    assert pool.after(results[1], lambda x: x + 1).result() == 11
    with pytest.raises(ZeroDivisionError):
        pool.after(results[0], lambda x: x + 1).result()
    pool.close()


def test_work_begins_in_the_order_it_came_in_on_no_more_threads_than_asked_for() -> None:
    pool, begun, go = Pool(2, "test"), [], threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        go.wait()
        return threading.get_ident()

    results = [pool.submit(work, number) for number in range(8)]
    assert pool.num_free == 0
    go.set()
    assert len({result.result() for result in results}) <= 2
    assert sorted(begun[:2]) == [0, 1]
    assert begun[2:] == sorted(begun[2:])


def test_closing_cancels_what_has_not_begun_and_waits_for_nothing() -> None:
    pool, go = Pool(1, "test"), threading.Event()
    running, waiting = pool.submit(go.wait), pool.submit(int)
    while not running.running():
        pass
    after = pool.after(waiting, str)
    pool.close()
    with pytest.raises(CancelledError):
        waiting.result()
    with pytest.raises(CancelledError):
        after.result()
    assert pool.submit(int).cancelled()
    go.set()
    assert running.result() is True
    given: Future[int] = Future()
    given.set_result(1)
    with pytest.raises(CancelledError):
        pool.after(given, str).result()


@pytest.mark.parametrize(
    ("text", "most"), [("max 100000", 10**6), ("250000 100000", 3), ("50000 100000", 1), ("", 10**6)]
)
def test_a_containers_share_of_time_counts(tmp_path: Path, text: str, most: int) -> None:
    (tmp_path / "cpu.max").write_text(text)
    everywhere = num_cores(tmp_path / "absent")
    assert num_cores(tmp_path / "cpu.max") == min(most, everywhere)
    assert everywhere >= 1


def test_what_is_left_of_a_containers_memory_counts(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 100 kB\nMemAvailable: 50 kB\n")
    assert available_bytes(meminfo, tmp_path) == 50 * 1024
    (tmp_path / "memory.current").write_text("1000\n")
    for limit, left in (("max", 50 * 1024), ("3000", 2000), ("500", 0)):
        (tmp_path / "memory.max").write_text(limit)
        assert available_bytes(meminfo, tmp_path) == left

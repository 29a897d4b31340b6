"""What holds sockets is made anew after a fork."""

from __future__ import annotations

import os

from octjob.storage.perprocess import PerProcess


def test_each_process_makes_its_own_once() -> None:
    made: list[int] = []

    def make() -> int:
        made.append(os.getpid())
        return os.getpid()

    holder = PerProcess(make)
    assert holder.get() == holder.get() == os.getpid()
    assert len(made) == 1
    child = os.fork()
    if child == 0:
        os._exit(0 if holder.get() == os.getpid() else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0

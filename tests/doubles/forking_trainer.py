"""`octjob train` many times for the price of one import: a process that forks a child for every attempt.

Requests and answers are JSON lines on standard input and output:

    {"uris": [run, ...], "after": n, "signal": 9, "threads": 1, "hosts": 1, "struck": 0}
    ->  {"exit": code or -signal, "events": m, "answered_s": seconds, "exits": [code or -signal of each host]}

The child reports each of its events (a write to a store, an encoded volume, a training step) through a pipe;
after the n-th the parent sends the signal, so that it strikes at about a chosen share of the work, whatever the
machine's speed. Some writes are due by the clock, so the n-th event is not the same one each time: `after` may also
be the end of a key, and the child sends itself the signal once that is written. `after` null: the attempt is left
alone. Several runs share the child, as they share a command. Several hosts are a child each, who carry the run out
together; events are those of the one that is struck.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import scipy.optimize  # noqa: F401
import torch

import octjob.cli
from octjob.features.encoding import Encoding
from octjob.storage.file import FileStore
from octjob.train.stack_optimizer import StackAdamW
from octjob.train.step import Step

EVENTS = ((FileStore, "put"), (Encoding, "encode"), (Step, "apply"), (StackAdamW, "step"))


def report(function: Callable[..., Any], pipe: int) -> Callable[..., Any]:
    """The function, which says so through the pipe when it is done."""

    @functools.wraps(function)
    def reporting(*args: Any, **kwargs: Any) -> Any:
        value = function(*args, **kwargs)
        os.write(pipe, b".")
        return value

    return reporting


def strike_after(put: Callable[..., Any], end: str, number: int) -> Callable[..., Any]:
    """`FileStore.put`, with which the process sends itself signal `number` once a key that ends so is written."""

    @functools.wraps(put)
    def striking(store: FileStore, key: str, *args: Any, **kwargs: Any) -> Any:
        value = put(store, key, *args, **kwargs)
        if key.endswith(end):
            os.kill(os.getpid(), number)
        return value

    return striking


def child(request: dict[str, Any], pipe: int, host: int) -> int:
    """One attempt, in the forked process of a host."""
    torch.set_num_threads(request.get("threads", 1))
    if request["hosts"] > 1:
        os.environ["OCTJOB_NUM_HOSTS"] = str(request["hosts"])
        os.environ["JOB_COMPLETION_INDEX"] = str(host)
        os.environ["OCTJOB_COORDINATOR"] = f"127.0.0.1:{request['port']}"
    file = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    for owner, name in EVENTS:
        setattr(owner, name, report(getattr(owner, name), pipe))
    if isinstance(request["after"], str) and host == request["struck"]:
        FileStore.put = strike_after(FileStore.put, request["after"], request["signal"])  # type: ignore[method-assign]
    return octjob.cli.run(["train", *(word for uri in request["uris"] for word in ("--run", uri))])


def attempt(request: dict[str, Any]) -> dict[str, Any]:
    """Fork, count events, strike, wait."""
    request = {"hosts": 1, "struck": 0, "port": free_port(), **request}
    reader, writer = os.pipe()
    pids = [fork(request, writer, host) for host in range(request["hosts"])]
    os.close(writer)
    events, struck_at = 0, time.monotonic()
    while os.read(reader, 1):
        events += 1
        if events == request["after"]:
            struck_at = time.monotonic()
            os.kill(pids[request["struck"]], request["signal"])
    os.close(reader)
    exits = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    answered_s = time.monotonic() - struck_at
    return {"exit": exits[0], "events": events, "answered_s": answered_s, "exits": exits}


def fork(request: dict[str, Any], pipe: int, host: int) -> int:
    """The process id of a child; only the one to be struck says its events."""
    pid = os.fork()
    if pid:
        return pid
    if host != request["struck"]:
        os.close(pipe)
        pipe = os.open(os.devnull, os.O_WRONLY)
    try:
        code = child(request, pipe, host)
    except BaseException:  # noqa: BLE001 - a forked child must never return into the parent's code
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    """Serve until standard input ends."""
    torch.set_num_threads(1)
    # The first optimizer imports half of torch; the children shall find it there.
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    for line in sys.stdin:
        print(json.dumps(attempt(json.loads(line))), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

"""`octjob` many times for the price of one import: a process that forks a child for every command.

Requests and answers are JSON lines on standard input and output. The command may be killed, or meet a full disk:

    {"args": ["collect", ...], "log": path, "below": folder, "kill_at": n}   killed at the n-th change below a folder
    {"args": ["submit", ...], "log": path, "kill_after_s": s}             killed after s seconds
    {"args": ["train", ...], "log": path, "below": folder, "full_at": n}   the disk is full from the n-th change on
    {"args": ["train", ...], "log": path, "remove": folder, "remove_after_s": s}   a folder is removed meanwhile

`signal` is sent in place of SIGKILL. `beside`: the arguments of another command, started when the first was struck,
or with it; a stopped one goes on when the other has ended. `lease_s`: how long leases last.
`encodes`: {"log": path, "encode_s": seconds, "kill_at": n}: encoding takes so long and begins when both are about
to; the log gets a line for each volume encoded and each shard written; the command, not the one beside, is killed
after its n-th volume.

    ->  {"exit": code or -signal, "changes": n, "beside": code of the other, "left": [pids], "left_s": seconds}

`left`: what still ran `PATIENCE_S` after the command's own end; it is killed. `left_s`: how long the last one ran on.
The launcher forks its trainers too, as sessions of their own that start with default signal handlers.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import google.cloud.storage  # noqa: F401
import scipy.optimize  # noqa: F401
import torch

import octjob.cli
import octjob.cli.collect
import octjob.cli.submit
import octjob.cli.train
import octjob.data.volumes
import octjob.features.claims
import octjob.leaderboard.collect
import octjob.run.job
import octjob.spec.expand
import octjob.storage.b2
from doubles.bad_disk import At, BadDisk, Full
from octjob.data.memory_file import MemoryFile
from octjob.data.prepared import PreparedVolume, prepare_volume
from octjob.features.encoding import Encoding
from octjob.features.store import FeatureStore
from octjob.storage.lease import Lease
from octjob.targets.local import LocalTarget

PATIENCE_S = 20.0
_PR_SET_CHILD_SUBREAPER = 36


class Forked:
    """What `LocalTarget` needs of `Popen`, of a forked function."""

    def __init__(self, function: Callable[[], int], log: int) -> None:
        self.returncode: int | None = None
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            os.dup2(log, 1)
            os.dup2(log, 2)
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            _exit_with(function)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Decoders:
    """Decodes in this process: starting another takes longer than a whole run."""

    def prepare(self, file: MemoryFile, *wanted: Any) -> PreparedVolume:
        return prepare_volume(file.read(), *wanted)

    def start_one(self) -> None:
        pass


def _exit_with(function: Callable[[], int]) -> None:
    """A forked child must never return into its parent's code."""
    try:
        code = function()
    except BaseException:  # noqa: BLE001
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _spawn(self: LocalTarget, command: list[str], log: IO[bytes]) -> Any:
    return Forked(lambda: octjob.cli.run(command[3:]), log.fileno())


def _command(request: dict[str, Any], changes: int) -> int:
    """The command, in the forked process; tells the number of changes through the pipe."""
    _prepare(request)
    _log_encodes("command", request.get("encodes"))

    def kill() -> None:
        os.write(changes, f"{hook.count}\n".encode())
        os.kill(os.getpid(), request.get("signal", signal.SIGKILL))

    hook: At | Full = At(request.get("kill_at"), kill)
    if "full_at" in request:
        hook = Full(request["full_at"])
    with BadDisk(request.get("below", "/nowhere"), hook):
        code = octjob.cli.run(request["args"])
    os.write(changes, f"{hook.count}\n".encode())
    return code


def _prepare(request: dict[str, Any]) -> None:
    os.environ.update(request.get("env", {}))
    if "lease_s" in request:
        octjob.features.claims.Lease = partial(Lease, duration_s=request["lease_s"])  # type: ignore[misc]


def _log_encodes(who: str, wanted: dict[str, Any] | None) -> None:
    """Write `who encoded <digest of volume>` and `who wrote <number>` lines; be killed where it is asked for."""
    if wanted is None:
        return
    encode, write = Encoding.encode, FeatureStore.write
    log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    kill_at = wanted.get("kill_at") if who == "command" else None
    count = 0

    def encoding(self: Encoding, volumes: Sequence[Any], poolings: Sequence[str]) -> Any:
        nonlocal count
        if count == 0:
            os.write(log, f"{who} begins\n".encode())
            while Path(wanted["log"]).read_text().count("begins") < 2:
                time.sleep(0.005)
        time.sleep(wanted["encode_s"])
        features = encode(self, volumes, poolings)
        for x_DHW in volumes:
            count += 1
            os.write(log, f"{who} encoded {hashlib.sha256(x_DHW.tobytes()).hexdigest()}\n".encode())
        if kill_at is not None and count >= kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return features

    def writing(self: FeatureStore, features: Any) -> bool:
        kept = write(self, features)
        os.write(log, f"{who} wrote {len(features)}\n".encode())
        return kept

    Encoding.encode = encoding  # type: ignore[method-assign]
    FeatureStore.write = writing  # type: ignore[method-assign]


def _beside(request: dict[str, Any]) -> int:
    _prepare(request)
    _log_encodes("beside", request.get("encodes"))
    return octjob.cli.run(request["beside"])


def attempt(request: dict[str, Any]) -> dict[str, Any]:
    """Fork, strike, wait for the command and for all that it started."""
    reader, writer = os.pipe()
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    process = Forked(lambda: _command(request, writer), log)
    os.close(writer)
    told = b""
    beside = None
    if "beside" in request:
        told = os.read(reader, 100) if "kill_at" in request else b""
        beside = Forked(lambda: _beside(request), log)
    os.close(log)
    if "kill_after_s" in request:
        time.sleep(request["kill_after_s"])
        process.kill()
    if "remove_after_s" in request:
        time.sleep(request["remove_after_s"])
        shutil.rmtree(request["remove"], ignore_errors=True)
    if beside is not None:
        _wait(beside)
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
    _wait(process)
    left, left_s = _reap()
    told += os.read(reader, 100)
    os.close(reader)
    return {
        "exit": process.returncode,
        "beside": beside and beside.returncode,
        "changes": int((told.split() or [b"0"])[-1]),
        "left": left,
        "left_s": left_s,
    }


def _wait(process: Forked) -> None:
    while process.poll() is None:
        time.sleep(0.005)


def _reap() -> tuple[list[int], float]:
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE_S:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.01)
        except ChildProcessError:
            return [], time.monotonic() - began
    left = [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return left, PATIENCE_S


def main() -> None:
    """Serve until standard input ends."""
    # Whatever a killed command leaves behind becomes a child of this process, which can see it end.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    torch.set_num_threads(1)
    # The first optimizer imports half of torch; the children shall find it there.
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    LocalTarget._spawn = _spawn  # type: ignore[method-assign]
    octjob.data.volumes.Decoders = _Decoders  # type: ignore[assignment,misc]
    for line in sys.stdin:
        print(json.dumps(attempt(json.loads(line))), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

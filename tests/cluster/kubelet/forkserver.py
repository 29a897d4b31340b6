"""`octjob` for the price of a fork: a process that has imported it, and forks a child for every container.

A slice's pods are four trainers that start at once, and importing PyTorch four times on two cores takes longer than
the runs of these tests.

A request is a packet {"args": [...], "env": {...}, "cwd": path} with the file descriptor for the child's output. The
answers on the same connection are its process id, and once it has ended its exit code (or -signal).
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[3]
_MAX_BYTES = 1 << 20
_START_S = 120.0


class ForkServer:
    """The client's side."""

    def __init__(self) -> None:
        self._name = f"octjob-forks-{uuid.uuid4().hex}"
        # It ends with this process, whose end of the pipe closes.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.kubelet.forkserver", self._name],
            stdin=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        )

    def start(self, args: list[str], env: dict[str, str], cwd: Path) -> Forked:
        """`octjob ARGS` with that environment."""
        connection = self._connect()
        reader, writer = os.pipe()
        request = json.dumps({"args": args, "env": env, "cwd": str(cwd)}).encode()
        socket.send_fds(connection, [request], [writer])
        os.close(writer)
        return Forked(connection, os.fdopen(reader, "rb"))

    def _connect(self) -> socket.socket:
        deadline = time.monotonic() + _START_S
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                connection.connect(_address(self._name))
            except OSError:
                connection.close()
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.1)
            else:
                return connection


class Forked:
    """What a kubelet needs of `Popen`."""

    def __init__(self, connection: socket.socket, stdout: IO[bytes]) -> None:
        self.stdout = stdout
        self._connection = connection
        self.pid = int(connection.recv(32))

    def wait(self) -> int:
        with self._connection:
            return int(self._connection.recv(32) or -signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


class _Server:
    def __init__(self, name: str, run: Callable[[list[str]], int]) -> None:
        self._run = run
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(_address(name))
        self._listener.listen(64)
        self._events = selectors.DefaultSelector()
        self._events.register(self._listener, selectors.EVENT_READ, self._accept)
        self._events.register(sys.stdin, selectors.EVENT_READ, sys.exit)

    def serve(self) -> None:
        while True:
            for key, _ in self._events.select():
                key.data()

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        packet, (output,), _, _ = socket.recv_fds(connection, _MAX_BYTES, 1)
        pid = os.fork()
        if pid == 0:
            _become(json.loads(packet), output, self._run)
        os.close(output)
        connection.send(str(pid).encode())
        ended = os.pidfd_open(pid)

        def reap() -> None:
            self._events.unregister(ended)
            os.close(ended)
            _, status = os.waitpid(pid, 0)
            with connection, contextlib.suppress(OSError):
                connection.send(str(os.waitstatus_to_exitcode(status)).encode())

        self._events.register(ended, selectors.EVENT_READ, reap)


def _address(name: str) -> bytes:
    """In Linux's abstract namespace: no file, no limit on a folder's length."""
    return b"\0" + name.encode()


def _become(request: dict[str, Any], output: int, run: Callable[[list[str]], int]) -> None:
    """The child: a session of its own, with nothing of the server's."""
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.closerange(3, 256)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        code = run(request["args"])
    except BaseException:  # noqa: BLE001 - a forked child must never return into its parent's code
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    import google.cloud.storage  # noqa: F401
    import scipy.optimize  # noqa: F401
    import torch
    import torch.distributed

    import octjob.cli.train
    import octjob.data.volumes
    import octjob.run.job
    import octjob.runtime.group
    from octjob.data.memory_file import MemoryFile
    from octjob.data.prepared import PreparedVolume, prepare_volume

    class Decoders:
        """Decodes in the trainer's process: starting another takes longer than a whole run."""

        def prepare(self, file: MemoryFile, *wanted: Any) -> PreparedVolume:
            return prepare_volume(file.read(), *wanted)

        def start_one(self) -> None:
            pass

    octjob.data.volumes.Decoders = Decoders  # type: ignore[assignment,misc]
    torch.set_num_threads(1)
    # The first optimizer imports half of torch; the children shall find it there.
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    _Server(sys.argv[1], octjob.cli.run).serve()


if __name__ == "__main__":
    main()

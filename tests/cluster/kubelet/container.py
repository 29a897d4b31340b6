"""A container's main process as a process of this machine, with its log, its directories and its last words."""

from __future__ import annotations

import datetime
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .environment import expand
from .forkserver import Forked, ForkServer

Document = dict[str, Any]

MAX_MESSAGE_BYTES = 4096
# FallbackToLogsOnError takes the end of the log, as much as both allow.
_FALLBACK_BYTES, _FALLBACK_LINES = 2048, 80
START_ERROR = 128


def now() -> str:
    """The time, as Kubernetes writes it in a status."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Ended:
    """How the process ended, as a kubelet tells it."""

    exit_code: int
    reason: str
    message: str
    started_at: str
    finished_at: str


class Container:
    """One container of a pod.

    folder: the pod's own, for volumes, log and termination message.
    forks: starts `octjob`.
    """

    def __init__(self, container: Document, volumes: list[Document], folder: Path, forks: ForkServer) -> None:
        self.spec = container
        self.folder = folder
        self.forks = forks
        self.log = folder / "log"
        self.message = folder / "termination-log"
        self.mounts = self._make_volumes(volumes)
        self.log.touch()
        self.message.touch()
        self.finished = threading.Event()
        self.process: subprocess.Popen[bytes] | Forked | None = None
        self.started_at = now()

    def start(self, env: dict[str, str]) -> None:
        """Start the process; raises `OSError` where there is no such program."""
        argv = [*(self.spec.get("command") or ["octjob"]), *(self.spec.get("args") or ())]
        argv = [expand(word, env) for word in argv]
        own = self._local(env)
        self.started_at = now()
        self.process = self._spawn(argv, own)
        # For a test that strikes it.
        (self.folder / "pid").write_text(str(self.process.pid))

    def _spawn(self, argv: list[str], own: dict[str, str]) -> subprocess.Popen[bytes] | Forked:
        if argv[0] == "octjob":
            return self.forks.start(argv[1:], own, self.folder)
        program = shutil.which(argv[0], path=own["PATH"]) or argv[0]
        return subprocess.Popen(
            [program, *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=own,
            cwd=self.folder,
            start_new_session=True,
        )

    def wait(self) -> Ended:
        """Copy the output into the log until the process has ended."""
        assert self.process is not None
        assert self.process.stdout is not None
        with self.process.stdout, self.log.open("ab", buffering=0) as log:
            for line in self.process.stdout:
                stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z ")
                log.write(stamp.encode() + line.rstrip(b"\n") + b"\n")
        code = self.process.wait()
        self.kill()
        return self.ended(code if code >= 0 else 128 - code)

    def ended(self, code: int, reason: str = "", message: str = "") -> Ended:
        """Close the books."""
        self.finished.set()
        reason = reason or ("Completed" if code == 0 else "Error")
        return Ended(code, reason, message or self._last_words(code), self.started_at, now())

    def terminate(self) -> None:
        """SIGTERM to the main process alone."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to all that is left of the container."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return

    def _make_volumes(self, volumes: list[Document]) -> dict[str, str]:
        """Mount path to directory, for volumes that a pod writes to."""
        empty = {volume["name"] for volume in volumes if "emptyDir" in volume}
        mounts = {}
        for mount in self.spec.get("volumeMounts") or ():
            if mount["name"] in empty:
                folder = self.folder / "volumes" / mount["name"]
                folder.mkdir(parents=True, exist_ok=True)
                mounts[mount["mountPath"]] = str(folder)
        return mounts

    def _local(self, env: dict[str, str]) -> dict[str, str]:
        """The environment with this machine's places for the container's."""
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        tmp = self.mounts.get("/tmp", str(self.folder))
        places = {
            **self.mounts,
            self.spec.get("terminationMessagePath", "/dev/termination-log"): str(self.message),
        }
        own = {name: places.get(value, value) for name, value in env.items()}
        # The machine has neither TPUs nor cores for several pods' threads.
        return {
            "HOME": tmp,
            **own,
            "OCTJOB_DEVICE": "cpu",
            "TMPDIR": tmp,
            "OMP_NUM_THREADS": "1",
            "PATH": path,
        }

    def _last_words(self, code: int) -> str:
        words = self.message.read_bytes()[:MAX_MESSAGE_BYTES]
        fallback = self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        if not words and code != 0 and fallback:
            lines = [line.partition(b" ")[2] for line in self.log.read_bytes().splitlines(keepends=True)]
            words = b"".join(lines[-_FALLBACK_LINES:])[-_FALLBACK_BYTES:]
        return words.decode(errors="replace")

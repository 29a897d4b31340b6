"""Long-running programs that outlive the process that started them, each known by a small file on disk."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .certs import LOOPBACK

POLL_S = 0.05
_LOG_TAIL_LINES = 25
# Without these a program that was started here could not be waited for.
_children: dict[int, subprocess.Popen[bytes]] = {}


class ComponentError(Exception):
    """A component did not start or did not become ready; the message shows the end of its log."""


@dataclass(frozen=True)
class Health:
    """How to see that a component is ready: a TCP port, and a path on it if it speaks HTTP.

    cert, key: shown to a server that asks for a client certificate.
    """

    port: int
    path: str = ""
    tls: bool = True
    cert: str = ""
    key: str = ""

    def ready(self) -> bool:
        try:
            return self._get() if self.path else self._connect()
        except (OSError, http.client.HTTPException):
            return False

    def _connect(self) -> bool:
        with socket.create_connection((LOOPBACK, self.port), timeout=2):
            return True

    def _get(self) -> bool:
        connection: http.client.HTTPConnection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=5)
        if self.tls:
            # Only readiness is asked here; who answers is checked by whoever uses the component.
            context = ssl._create_unverified_context()
            if self.cert:
                context.load_cert_chain(self.cert, self.key)
            connection = http.client.HTTPSConnection(LOOPBACK, self.port, timeout=5, context=context)
        try:
            connection.request("GET", self.path)
            return connection.getresponse().status == 200
        finally:
            connection.close()


@dataclass(frozen=True)
class Component:
    """One program of the control plane.

    grace_s: how long it may take to end after SIGTERM before it is killed.
    """

    name: str
    argv: list[str]
    health: Health
    env: dict[str, str] = field(default_factory=dict)
    grace_s: float = 10.0


class Supervisor:
    """Starts and stops components; `folder` holds NAME.json (what runs, and its pid) and NAME.log."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def names(self) -> list[str]:
        """Every component ever started, oldest first."""
        files = sorted(self.folder.glob("*.json"), key=lambda path: json.loads(path.read_text())["order"])
        return [path.stem for path in files]

    def start(self, component: Component) -> None:
        """Start without waiting, see `wait_ready`."""
        with (self.folder / f"{component.name}.log").open("ab") as log:
            child = subprocess.Popen(
                component.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=component.env,
                cwd=self.folder,
                # Ctrl-C in the terminal must not reach it: what stops it is the orderly `stop`.
                start_new_session=True,
            )
        _children[child.pid] = child
        order = self._read(component.name)["order"] if self._known(component.name) else len(self.names())
        record = {"pid": child.pid, "born": _born(child.pid), "order": order, "component": asdict(component)}
        partial = self.folder / f"{component.name}.partial"
        partial.write_text(json.dumps(record, indent=1))
        partial.replace(self._file(component.name))

    def restart(self, name: str) -> None:
        """Start again, with the arguments of the last time, a component that is stopped."""
        if not self.running(name):
            self.start(self.component(name))

    def wait_ready(self, name: str, timeout_s: float = 60.0) -> None:
        """Return once the component answers.

        Raises:
            ComponentError: it ended, or it does not answer within `timeout_s`.
        """
        component = self.component(name)
        deadline = time.monotonic() + timeout_s
        while not component.health.ready():
            if not self.running(name):
                raise ComponentError(
                    f"{name} ended while starting; the end of its log:\n{self.log_tail(name)}"
                )
            if time.monotonic() > deadline:
                message = f"{name} is not ready after {timeout_s:.0f} s; the end of its log:"
                raise ComponentError(f"{message}\n{self.log_tail(name)}")
            time.sleep(POLL_S)

    def stop(self, name: str, sig: signal.Signals = signal.SIGTERM) -> None:
        """End the component and what it started, and wait until it is gone. Harmless when it is not running."""
        if not self._known(name):
            return
        pid = int(self._read(name)["pid"])
        deadline = time.monotonic() + self.component(name).grace_s
        if self.running(name):
            os.killpg(pid, sig)
        while self.running(name):
            if time.monotonic() > deadline:
                os.killpg(pid, signal.SIGKILL)
            time.sleep(POLL_S)
        if child := _children.pop(pid, None):
            child.wait()

    def running(self, name: str) -> bool:
        if not self._known(name):
            return False
        record = self._read(name)
        if child := _children.get(record["pid"]):
            return child.poll() is None
        # A process id is used again some day; the time of birth tells ours from another's.
        return bool(_born(record["pid"]) == record["born"] != 0)

    def component(self, name: str) -> Component:
        record = self._read(name)["component"]
        return Component(**{**record, "health": Health(**record["health"])})

    def log_tail(self, name: str, lines: int = _LOG_TAIL_LINES) -> str:
        text = (self.folder / f"{name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _known(self, name: str) -> bool:
        return self._file(name).exists()

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _read(self, name: str) -> dict[str, Any]:
        return json.loads(self._file(name).read_text())  # type: ignore[no-any-return]


def free_ports(count: int, base: int | None = None) -> list[int]:
    """Ports on loopback that nobody listens on; from `base` upwards if one is given."""
    if base is not None:
        return list(range(base, base + count))
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _born(pid: int) -> int:
    """Clock ticks since boot at which the process started; 0 if there is none or it is a zombie."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if state == "Z" else int(rest[18])

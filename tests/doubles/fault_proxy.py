"""A proxy in front of a store's double that injects the faults of real networks and services."""

from __future__ import annotations

import http.client
import json
import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from doubles.http_base import Handler, Server


@dataclass
class Fault:
    """One fault and the requests it strikes.

    kind: `drop_reply` (the backend answers, the client's connection closes), `status` (answered here, the
    backend sees nothing), `truncate` (half the body, then close), `short` (half the body, announced as
    such), `flip` (the first bit of the body), `flip_upload` (the first bit of what the client sends), `reset`
    (half the headers and body, then RST), `stall` (silence for the proxy's `stall_s`, then close).
    method, path: regular expressions; path includes the query. after: how many matches pass first.
    times: how many are struck.
    """

    kind: str
    method: str = ".*"
    path: str = ".*"
    status: int = 503
    after: int = 0
    times: int = 1

    def strikes(self, method: str, path: str) -> bool:
        """Whether this request is struck; counts it."""
        if self.times <= 0 or not re.fullmatch(self.method, method) or not re.search(self.path, path):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.times -= 1
        return True


@dataclass
class Weather:
    """Faults of `kinds` (statuses as "429"), at random to a share `rate` of all requests whose path matches.

    Each call, method and path with its numbers and ids taken out, has a random sequence of its own, so that threads
    do not disturb the others' and every kind of request meets every fault.
    """

    seed: int
    rate: float
    kinds: tuple[str, ...]
    path: str = ".*"
    # Bits are flipped only in bodies that a checksum goes with; TLS sees to the others.
    summed: str = r"alt=media|^/file/|b2_download_file_by_id"

    def __post_init__(self) -> None:
        self._sequences: dict[str, random.Random] = {}

    def next_fault(self, method: str, path: str) -> Fault | None:
        """The fault of this request, if it has one."""
        if not re.search(self.path, path):
            return None
        call = method + re.sub(r"[0-9a-f]{6,}|\d+", "#", path.partition("?")[0])
        rng = self._sequences.setdefault(call, random.Random(f"{self.seed} {call}"))
        if rng.random() >= self.rate:
            return None
        kind = rng.choice(self.kinds)
        if kind == "flip" and not re.search(self.summed, path):
            kind = "truncate"
        return Fault("status", status=int(kind)) if kind.isdigit() else Fault(kind)


class FaultProxy(Server):
    """Forwards everything to `backend`; `inject` adds a fault, `seen` and `struck` list requests so far,
    `connections` counts those opened.

    `weather`, where set, strikes at random what no injected fault does.
    """

    def __init__(self, backend: str) -> None:
        super().__init__(_ProxyHandler)
        self.backend = urlsplit(backend).netloc
        self.seen: list[tuple[str, str]] = []
        self.struck: list[tuple[str, str, str]] = []
        self.weather: Weather | None = None
        self.stall_s = 1.0
        self.connections = 0
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def inject(self, fault: Fault) -> None:
        """Add a fault to those waiting."""
        with self._lock:
            self._faults.append(fault)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Count the connections that clients open."""
        self.connections += 1
        super().process_request(request, client_address)

    def next_fault(self, method: str, path: str) -> Fault | None:
        """The first waiting fault that strikes this request."""
        with self._lock:
            self.seen.append((method, path))
            for fault in self._faults:
                if fault.strikes(method, path):
                    self.struck.append((fault.kind, method, path))
                    return fault
            fault = self.weather.next_fault(method, path) if self.weather else None
            if fault is not None:
                kind = str(fault.status) if fault.kind == "status" else fault.kind
                self.struck.append((kind, method, path))
            return fault

    def summary(self) -> str:
        """Requests and faults so far in one line."""
        kinds = Counter(kind for kind, _, _ in self.struck)
        each = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        return f"{len(self.seen)} requests, {len(self.struck)} struck ({each})"


class _ProxyHandler(Handler):
    server: FaultProxy

    def handle_request(self) -> None:
        body = self.body()
        fault = self.server.next_fault(self.command, self.path)
        if fault is not None and fault.kind == "status":
            self._refuse(fault.status)
            return
        if fault is not None and fault.kind == "flip_upload":
            # In a multipart body the content is what follows the last empty line.
            start = body.rfind(b"\r\n\r\n") + 4
            body = body[:start] + bytes([body[start] ^ 1]) + body[start + 1 :]
            fault = None
        status, headers, reply = self._forward(body)
        if fault is None:
            self.answer(status, headers, reply)
            return
        self.close_connection = True
        if fault.kind == "flip":
            self.answer(status, headers, bytes([reply[0] ^ 1]) + reply[1:] if reply else reply)
        elif fault.kind == "short":
            self.answer(status, headers, reply[: len(reply) // 2])
        elif fault.kind == "stall":
            time.sleep(self.server.stall_s)
        elif fault.kind in ("truncate", "reset"):
            self.answer(status, {**headers, "Content-Length": str(len(reply))}, reply[: len(reply) // 2])
            if fault.kind == "reset":
                # No lingering: the kernel sends RST in place of FIN, and drops what was not yet sent.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

    def _refuse(self, status: int) -> None:
        # The fields that Google's and Backblaze's clients look for, together.
        code = {401: "unauthorized", 403: "access_denied"}.get(status, "service_unavailable")
        error = {"code": status, "message": code}
        body = json.dumps({"status": status, "code": code, "message": code, "error": error}).encode()
        self.answer(status, {"Content-Type": "application/json"}, body)

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.server.backend)
        try:
            # The Host header stays the client's, so that URLs in answers lead back through here.
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            reply = response.read()
            skipped = {"transfer-encoding", "connection", "date", "server"} | (
                set() if self.command == "HEAD" else {"content-length"}
            )
            headers = {name: value for name, value in response.getheaders() if name.lower() not in skipped}
            return response.status, headers, reply
        finally:
            connection.close()

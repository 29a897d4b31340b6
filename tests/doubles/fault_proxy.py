"""A proxy in front of a store's double that injects the faults of real networks and services."""

from __future__ import annotations

import http.client
import json
import re
import threading
from dataclasses import dataclass
from urllib.parse import urlsplit

from doubles.http_base import Handler, Server


@dataclass
class Fault:
    """One fault and the requests it strikes.

    kind: `drop_reply` (the backend answers, the client's connection closes), `status` (answered here, the
    backend sees nothing), `truncate` (half the body, then close), `short` (half the body, announced as
    such), `flip` (one bit of the body).
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


class FaultProxy(Server):
    """Forwards everything to `backend`; `inject` adds a fault, `seen` and `struck` list requests so far."""

    def __init__(self, backend: str) -> None:
        super().__init__(_ProxyHandler)
        self.backend = urlsplit(backend).netloc
        self.seen: list[tuple[str, str]] = []
        self.struck: list[tuple[str, str, str]] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def inject(self, fault: Fault) -> None:
        """Add a fault to those waiting."""
        with self._lock:
            self._faults.append(fault)

    def next_fault(self, method: str, path: str) -> Fault | None:
        """The first waiting fault that strikes this request."""
        with self._lock:
            self.seen.append((method, path))
            for fault in self._faults:
                if fault.strikes(method, path):
                    self.struck.append((fault.kind, method, path))
                    return fault
        return None


class _ProxyHandler(Handler):
    server: FaultProxy

    def handle_request(self) -> None:
        body = self.body()
        fault = self.server.next_fault(self.command, self.path)
        if fault is not None and fault.kind == "status":
            self._refuse(fault.status)
            return
        status, headers, reply = self._forward(body)
        if fault is None:
            self.answer(status, headers, reply)
            return
        self.close_connection = True
        if fault.kind == "flip":
            self.answer(status, headers, bytes([reply[0] ^ 1]) + reply[1:])
        elif fault.kind == "short":
            self.answer(status, headers, reply[: len(reply) // 2])
        elif fault.kind == "truncate":
            self.answer(status, {**headers, "Content-Length": str(len(reply))}, reply[: len(reply) // 2])

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

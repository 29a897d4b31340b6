"""What the doubles' HTTP servers share: keep-alive, no Nagle delay, silence, start and stop."""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class Handler(BaseHTTPRequestHandler):
    """Answers whole bodies over kept-alive connections."""

    protocol_version = "HTTP/1.1"
    methods = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH")
    disable_nagle_algorithm = True

    def __getattr__(self, name: str) -> Any:
        # The base class looks up do_GET and so on; one method serves all here.
        if name.removeprefix("do_") in self.methods:
            return self.handle_request
        raise AttributeError(name)

    def handle_request(self) -> None:
        """Answer the request, whatever its method."""
        raise NotImplementedError

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def body(self) -> bytes:
        """The request's body."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Send a whole response; a `HEAD` gets the headers only."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """A server on a free port of 127.0.0.1 as a context manager."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler: type[Handler], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent where the client hung up; anything else is a fault of the double."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()

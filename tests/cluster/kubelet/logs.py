"""What `kubectl logs` asks of a kubelet: /containerLogs/<namespace>/<pod>/<container>, over TLS."""

from __future__ import annotations

import re
import ssl
import time
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.cluster.certs import Identity

from .container import Container
from .kubelet import Kubelet

POLL_S = 0.1
_LOGS = re.compile(r"/containerLogs/([^/]+)/([^/]+)/([^/]+)")
_HEALTH = ("/healthz", "/readyz", "/")


class LogServer(ThreadingHTTPServer):
    """Serves on loopback, each request in a thread."""

    daemon_threads = True

    def __init__(self, kubelet: Kubelet, address: tuple[str, int], identity: Identity) -> None:
        super().__init__(address, _Handler)
        self.kubelet = kubelet
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.cert, identity.key)
        # The handshake is the request's own: a client that only connects must not hold up the others.
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error of ours."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LogServer

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path in _HEALTH:
            self._answer(200, b"ok")
            return
        match = _LOGS.fullmatch(url.path)
        pod = self.server.kubelet.find(match[1], match[2]) if match else None
        if pod is None or match is None or pod.container.spec["name"] != match[3]:
            self._answer(404, f"{url.path}: no such container here\n".encode())
            return
        asked = {key: values[0] for key, values in parse_qs(url.query).items()}
        self._send_log(pod.container, asked)

    def _send_log(self, container: Container, asked: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        tail = int(asked["tailLines"]) if "tailLines" in asked else None
        for line in lines(container, tail, follow=asked.get("follow") == "true"):
            shown = line if asked.get("timestamps") == "true" else line.partition(b" ")[2]
            if shown:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(shown), shown))
        self.wfile.write(b"0\r\n\r\n")

    def _answer(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def lines(container: Container, tail: int | None, *, follow: bool) -> Iterator[bytes]:
    """The last `tail` lines of the log, with their times.

    With `follow` also those to come, until the container ends.
    """
    with container.log.open("rb") as file:
        yield from deque(file, tail)
        while follow:
            over = container.finished.is_set()
            yield from file
            if over:
                return
            time.sleep(POLL_S)

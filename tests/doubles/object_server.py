"""An object store across a network: latency, a width per connection, and faults, in a process of its own.

    with serving(folder) as url: ...

serves the files of a folder as objects of any bucket, to Google's client (STORAGE_EMULATOR_HOST), to S3 clients with
path-style addresses, and as plain files: `<url>/<bucket>/<key>`. Every connection has the same width, as those of
large stores do; a share of the requests is answered with 503 or cut off amid the body, at random from a seed.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import email.utils
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import google_crc32c

from doubles.http_base import Handler, Server

_GCS = re.compile(r"/(?:download/)?storage/v1/b/[^/]+/o/([^/?]+)$")
_GCS_BUCKET = re.compile(r"/storage/v1/b/([^/?]+)$")
_PIECE_BYTES = 1 << 17


class ObjectServer(Server):
    """Reads `folder`; seconds before every answer, bytes a second of every connection, share of faults."""

    def __init__(self, folder: Path, latency_s: float, rate: float, faults: float) -> None:
        super().__init__(_ObjectHandler)
        self.folder, self.latency_s, self.rate, self.faults = folder, latency_s, rate, faults
        self.rng = random.Random(0)
        self.lock = threading.Lock()
        self.sums: dict[Path, str] = {}

    def checksum(self, path: Path) -> str:
        """CRC-32C as Google writes it."""
        if path not in self.sums:
            value = google_crc32c.value(path.read_bytes())
            self.sums[path] = base64.b64encode(value.to_bytes(4, "big")).decode()
        return self.sums[path]

    def fault(self) -> tuple[bool, float]:
        """Whether the next request is struck, and where between the answer's start and its end."""
        with self.lock:
            return self.rng.random() < self.faults, 2 * self.rng.random() - 1


class _ObjectHandler(Handler):
    server: ObjectServer

    def handle_request(self) -> None:
        self.body()
        time.sleep(self.server.latency_s)
        url = urlsplit(self.path)
        match = _GCS.fullmatch(url.path)
        key = unquote(match[1]) if match else unquote(url.path).split("/", 2)[-1]
        path = self.server.folder / key
        struck, place = self.server.fault()
        if struck and place < 0:
            self.answer(503, {"Retry-After": "0"}, b"{}")
        elif bucket := _GCS_BUCKET.fullmatch(url.path):
            # Google's client asks once; without an answer it would with every request.
            facts = {"name": bucket[1], "projectNumber": "1", "location": "EU"}
            self.answer(200, {"Content-Type": "application/json"}, json.dumps(facts).encode())
        elif not key or not path.is_file():
            self.answer(404, {}, b"{}")
        elif match and "alt=media" not in url.query:
            self._tell(key, path)
        else:
            self._send(path, place if struck else 1.0)

    def _tell(self, key: str, path: Path) -> None:
        size = str(path.stat().st_size)
        facts = {"name": key, "size": size, "generation": "1", "crc32c": self.server.checksum(path)}
        self.answer(200, {"Content-Type": "application/json"}, json.dumps(facts).encode())

    def _send(self, path: Path, share: float) -> None:
        size = path.stat().st_size
        start, end = 0, size
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted:
            start, end = int(wanted[1]), min(size, int(wanted[2] or size - 1) + 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(end - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", email.utils.formatdate(path.stat().st_mtime, usegmt=True))
        self.send_header("X-Goog-Generation", "1")
        self.end_headers()
        if self.command != "HEAD":
            self._pour(path, start, start + int(share * (end - start)))
            self.close_connection = share < 1

    def _pour(self, path: Path, start: int, end: int) -> None:
        """At the connection's width: a piece leaves when those before it would have arrived."""
        due = time.monotonic()
        with open(path, "rb") as file:
            while start < end:
                sent = os.sendfile(
                    self.connection.fileno(), file.fileno(), start, min(_PIECE_BYTES, end - start)
                )
                start += sent
                due += sent / self.server.rate
                time.sleep(max(0.0, due - time.monotonic()))


@contextlib.contextmanager
def serving(folder: Path, latency_s: float = 0.05, rate: float = 20e6, faults: float = 0.01) -> Iterator[str]:
    """The URL of a server in another process, so that its work is not the client's."""
    options = [str(folder), str(latency_s), str(rate), str(faults)]
    with subprocess.Popen([sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    for name in ("latency_s", "rate", "faults"):
        parser.add_argument(name, type=float)
    args = parser.parse_args()
    with ObjectServer(args.folder, args.latency_s, args.rate, args.faults) as server:
        print(server.url, flush=True)  # noqa: T201
        threading.Event().wait()


if __name__ == "__main__":
    main()

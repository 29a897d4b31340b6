"""A webhook's receiver on loopback: takes what is posted and answers as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from doubles.http_base import Handler, Server


class WebhookReceiver(Server):
    """Remembers bodies, content types and credentials, in order. answers: statuses of the first requests, then 204.

    struck: called before the answer, with the number of the request from 0.
    """

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.bodies: list[Any] = []
        self.types: list[str] = []
        self.credentials: list[str | None] = []
        self.answers: list[int] = []
        self.struck: Callable[[int], None] = lambda number: None
        self.lock = threading.Lock()

    @property
    def ids(self) -> list[str]:
        """Of the events as they came."""
        return [body["id"] for body in self.bodies]


class _Handler(Handler):
    server: WebhookReceiver

    def handle_request(self) -> None:
        with self.server.lock:
            number = len(self.server.bodies)
            self.server.bodies.append(json.loads(self.body()))
            self.server.credentials.append(self.headers["Authorization"])
            self.server.types.append(self.headers["Content-Type"])
            status = self.server.answers.pop(0) if self.server.answers else 204
        self.server.struck(number)
        self.answer(status, {"Location": "/elsewhere"} if status // 100 == 3 else {}, b"")

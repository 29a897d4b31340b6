"""What is tried again, how long, and when bytes are damaged where they lie rather than on their way.

Each store says in one predicate which of its client's errors are transient. A transient fault is tried again
with growing, jittered pauses until the patience of the operation is used up.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from octjob.errors import DataError

T = TypeVar("T")

FIRST_PAUSE_S = 0.2
MAX_PAUSE_S = 30.0
# Bytes that are wrong in the same way this often are wrong in the store: no network repeats itself so.
_NUM_SAME_DAMAGE = 4


class DamagedBytesError(Exception):
    """Bytes that are not what the store says they are; transient until they are so again and again."""


def is_broken_transport(error: BaseException) -> bool:
    """Whether `error` is a connection's, of whatever layer: reset, cut body, timeout, a reply cut in its JSON."""
    import requests
    import urllib3

    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return False
    kinds = (
        DamagedBytesError,
        ConnectionError,
        TimeoutError,
        http.client.HTTPException,
        json.JSONDecodeError,
        requests.RequestException,
        urllib3.exceptions.HTTPError,
    )
    return isinstance(error, kinds)


def persist(action: Callable[[], T], pause_after: Callable[[Exception], float | None], retry_s: float) -> T:
    """The result of `action`, tried again after faults for `retry_s` seconds at most; then its last error.

    pause_after: the least pause in seconds that an error asks for; None where it is not transient.
    """
    deadline = time.monotonic() + retry_s
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return action()
        except Exception as error:
            asked_s = pause_after(error)
            wait_s = max(pause_s * random.uniform(0.5, 1.0), asked_s or 0.0)
            if asked_s is None or time.monotonic() + wait_s > deadline:
                raise
        time.sleep(wait_s)
        pause_s = min(2 * pause_s, MAX_PAUSE_S)


def counted(read: Callable[[], tuple[int, str]], uri: str) -> Callable[[], None]:
    """As `verified`, of bytes that went elsewhere: `read` gives their number, and what is wrong, empty if nothing."""
    seen: Counter[int] = Counter()

    def action() -> None:
        number, problem = read()
        if problem:
            seen[number] += 1
            raise _damage(problem, seen[number], uri)

    return action


def _damage(problem: str, times: int, uri: str) -> Exception:
    if times == _NUM_SAME_DAMAGE:
        return DataError(
            f"{uri} arrived damaged: {problem}, {times} times",
            "try again; if it persists, upload the object anew",
        )
    return DamagedBytesError(f"arrived damaged: {problem}")


def verified(read: Callable[[], tuple[bytes, str]], uri: str) -> Callable[[], bytes]:
    """An action that reads anew each time and returns only bytes without a problem.

    read: the bytes, and what is wrong with them, empty if nothing. The action raises `DamagedBytesError`, and
    `DataError` once the same wrong bytes have come several times.
    """
    seen: Counter[bytes] = Counter()

    def action() -> bytes:
        data, problem = read()
        if not problem:
            return data
        digest = hashlib.sha256(data).digest()
        seen[digest] += 1
        raise _damage(problem, seen[digest], uri)

    return action

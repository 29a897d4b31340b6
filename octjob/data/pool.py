"""Threads that nobody has to wait for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")


class Pool:
    """At most `num_threads` threads that carry out what is submitted, first come first served, started when needed.

    Unlike those of `concurrent.futures` they keep neither `close` nor the end of the process waiting for a request
    that is not answered.
    """

    def __init__(self, num_threads: int, name: str) -> None:
        self.num_threads = num_threads
        self._name = name
        self._change = threading.Condition()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._num_started = 0
        self._num_idle = 0
        self._closed = False

    @property
    def num_free(self) -> int:
        """Threads, started or not, that have nothing to do."""
        with self._change:
            return max(0, self.num_threads - self._num_started + self._num_idle - len(self._waiting))

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """The result to come of `function(*args)`; cancelled where the pool is closed before."""
        future: Future[T] = Future()
        with self._change:
            if self._closed:
                future.cancel()
                return future
            self._waiting.append((future, lambda: function(*args)))
            if self._num_idle < len(self._waiting) and self._num_started < self.num_threads:
                self._num_started += 1
                threading.Thread(
                    target=self._work, name=f"{self._name}-{self._num_started}", daemon=True
                ).start()
            self._change.notify()
        return future

    def after(self, given: Future[S], function: Callable[[S], T]) -> Future[T]:
        """The result to come of `function` on the result of `given`, submitted once that is there; or its error."""
        future: Future[T] = Future()

        def begin(given: Future[S]) -> None:
            if (error := _error_of(given)) is not None:
                future.set_exception(error)
            else:
                self.submit(function, given.result()).add_done_callback(pass_on)

        def pass_on(made: Future[T]) -> None:
            if (error := _error_of(made)) is not None:
                future.set_exception(error)
            else:
                future.set_result(made.result())

        given.add_done_callback(begin)
        return future

    def close(self) -> None:
        """Cancel what has not begun; what has, ends when it ends."""
        with self._change:
            self._closed = True
            never = [future for future, _ in self._waiting]
            self._waiting.clear()
            self._change.notify_all()
        for future in never:
            future.cancel()

    def _work(self) -> None:
        while (task := self._next()) is not None:
            _carry_out(*task)
            del task  # an idle thread keeps no result in memory

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._change:
            self._num_idle += 1
            while not self._waiting and not self._closed:
                self._change.wait()
            self._num_idle -= 1
            return self._waiting.popleft() if self._waiting else None


def _error_of(future: Future[Any]) -> BaseException | None:
    return CancelledError() if future.cancelled() else future.exception()


def _carry_out(future: Future[Any], function: Callable[[], Any]) -> None:
    if future.set_running_or_notify_cancel():
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 (goes to whoever asks for the result)
            future.set_exception(error)
        else:
            future.set_result(result)

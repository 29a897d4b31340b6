"""How the stores' clients use their connections: how many they keep open, and how they read what comes."""

from __future__ import annotations

import contextlib
import http.client
import weakref
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import requests
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from octjob.spec.section import MOST_CONNECTIONS
from octjob.storage.pieces import PIECE_BYTES, Pieces

# Whose bytes this thread receives.
_RECEIVED: ContextVar[Pieces | None] = ContextVar("received", default=None)


@contextlib.contextmanager
def received(pieces: Pieces) -> Iterator[None]:
    """Within, a body that this thread reads comes where `pieces` have a place for it, if its session keeps
    connections. It must be read without decoding, and written to them piece by piece."""
    token = _RECEIVED.set(pieces)
    try:
        yield
    finally:
        _RECEIVED.reset(token)


class _Response(http.client.HTTPResponse):
    """Reads into the memory in which a piece belongs instead of memory of its own."""

    def read(self, amt: int | None = None) -> Any:
        pieces = _RECEIVED.get()
        # What a server says of a fault is no part of an object.
        if not amt or pieces is None or self.status not in (200, 206):
            return super().read(amt)
        place = pieces.place()
        return super().read(amt) if place is None else place[: self.readinto(place)]


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def keep_connections(session: requests.Session) -> None:
    """Let threads that ask at the same time each keep a connection of this session's, and receive into `received`.

    requests keeps ten, and closes every further one after its request.
    """
    for adapter in session.adapters.values():
        adapter.init_poolmanager(MOST_CONNECTIONS, MOST_CONNECTIONS)  # type: ignore[attr-defined]
        adapter.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}  # type: ignore[attr-defined]


def read_in_large_pieces(session: requests.Session) -> None:
    """Let whoever reads a response of this session's piece by piece get pieces of `PIECE_BYTES` at least.

    Google's client asks for 8 KiB at a time, whatever the caller wants, which takes several times what receiving
    takes otherwise.
    """
    session.hooks["response"].append(_enlarge)


def _enlarge(response: requests.Response, **_: Any) -> None:
    # A response that held itself would stay until the garbage is collected.
    stream, raw = type(response.raw).stream, weakref.ref(response.raw)

    def enlarged(amt: int | None = None, decode_content: bool | None = None) -> Any:
        return stream(raw(), max(amt or 0, PIECE_BYTES), decode_content)

    response.raw.stream = enlarged

"""How the stores' clients use their connections: how many they keep open, and in what pieces they read."""

from __future__ import annotations

import weakref
from typing import Any

import requests

from octjob.spec.experiment import MOST_CONNECTIONS
from octjob.storage.pieces import PIECE_BYTES


def keep_connections(session: requests.Session) -> None:
    """Let threads that ask at the same time each keep a connection of this session's.

    requests keeps ten, and closes every further one after its request.
    """
    for adapter in session.adapters.values():
        adapter.init_poolmanager(MOST_CONNECTIONS, MOST_CONNECTIONS)  # type: ignore[attr-defined]


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

"""How many connections a store's client keeps open between requests."""

from __future__ import annotations

import requests

# `data.connections` may ask for no more. requests keeps ten and closes every further one after its request.
MOST_CONNECTIONS = 128


def keep_connections(session: requests.Session) -> None:
    """Let threads that ask at the same time each keep a connection of this session's."""
    for adapter in session.adapters.values():
        adapter.init_poolmanager(MOST_CONNECTIONS, MOST_CONNECTIONS)  # type: ignore[attr-defined]

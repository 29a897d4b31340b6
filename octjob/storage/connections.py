"""How many connections a store's client keeps open between requests."""

from __future__ import annotations

import requests

from octjob.spec.experiment import MOST_CONNECTIONS


def keep_connections(session: requests.Session) -> None:
    """Let threads that ask at the same time each keep a connection of this session's.

    requests keeps ten, and closes every further one after its request.
    """
    for adapter in session.adapters.values():
        adapter.init_poolmanager(MOST_CONNECTIONS, MOST_CONNECTIONS)  # type: ignore[attr-defined]

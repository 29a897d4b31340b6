"""How work that takes long says how far it is."""

from __future__ import annotations

from collections.abc import Callable

# (done, of so many)
Tick = Callable[[int, int], None]

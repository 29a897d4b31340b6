"""Durations as people write them: `90s`, `30m`, `24h`, `2d`."""

from __future__ import annotations

import re

import click

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class _Duration(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on only
    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        if isinstance(value, int | float):
            return float(value)
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", value)
        if match is None:
            self.fail(f"{value!r} is no duration; write e.g. 90s, 30m, 24h or 2d", param, ctx)
        return float(match[1]) * _SECONDS[match[2]]


DURATION = _Duration()

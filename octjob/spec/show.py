"""What users wrote, as messages repeat it: short and printable."""

from __future__ import annotations

from typing import Any

MAX_SHOWN = 60


def shown(text: str, limit: int = MAX_SHOWN) -> str:
    """`text` in quotes, everything unprintable escaped, its middle left out where it is long."""
    if len(text) > 4 * limit:
        text = text[: 2 * limit] + text[-2 * limit :]
    return elided(repr(text), limit)


def elided(text: str, limit: int = MAX_SHOWN) -> str:
    """`text` with its middle left out where it is longer than `limit`."""
    if len(text) <= limit:
        return text
    half = (limit - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def describe(value: Any) -> str:
    """A value as a person would name it: `a list`, `the text 'x'`, `the number 3`."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return f"{str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {elided(str(value))}"
    if isinstance(value, str):
        return f"the text {shown(value)}"
    names: dict[type, str] = {dict: "a mapping", list: "a list", tuple: "a list"}
    return names.get(type(value), type(value).__name__)

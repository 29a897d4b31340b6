"""Credentials out of text that leaves the process: what a library put into a message stays in the process."""

from __future__ import annotations

from collections.abc import Mapping

_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")
# Shorter values ("1", "true") are no credentials, and replacing them would garble the text.
_MIN_LENGTH = 8
MASK = "***"


class Redactor:
    """Replaces the values of environment variables that are named like credentials."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        named = {
            value
            for name, value in environ.items()
            if len(value) >= _MIN_LENGTH and any(word in name.upper() for word in _WORDS)
        }
        # Longest first: one may contain another.
        self._values = sorted(named, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for value in self._values:
            text = text.replace(value, MASK)
        return text

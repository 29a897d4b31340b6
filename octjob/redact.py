"""Credentials out of text that leaves the process: what a library put into a message stays in the process."""

from __future__ import annotations

from collections.abc import Mapping

_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "WEBHOOK", "NOTIFY_URL")
# Only as a whole word of the name: GIT_AUTHOR_NAME holds none.
_WHOLE_WORDS = {"PASS", "PWD", "AUTH", "CRED", "CREDS"}
# Shorter values ("1", "true") are no credentials, and replacing them would garble the text.
_MIN_LENGTH = 8
MASK = "***"


class Redactor:
    """Replaces the values of environment variables that are named like credentials."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        named = {
            value for name, value in environ.items() if len(value) >= _MIN_LENGTH and _is_secret(name.upper())
        }
        # Longest first: one may contain another.
        self._values = sorted(named, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for value in self._values:
            text = text.replace(value, MASK)
        return text


def _is_secret(name: str) -> bool:
    # The working directory is in every message, and no secret.
    if name in ("PWD", "OLDPWD"):
        return False
    return any(word in name for word in _WORDS) or not _WHOLE_WORDS.isdisjoint(name.split("_"))

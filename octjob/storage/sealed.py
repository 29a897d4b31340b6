"""Bytes with their SHA-256 in front, so that one flipped bit is noticed wherever they lay."""

from __future__ import annotations

import hashlib

_DIGEST_BYTES = 32


def seal(body: bytes) -> bytes:
    """SHA-256, then the body."""
    return hashlib.sha256(body).digest() + body


def unseal(data: bytes) -> bytes | None:
    """The body; None where it is not what was sealed."""
    digest, body = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    return body if hashlib.sha256(body).digest() == digest else None

"""A large object as a local file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from octjob.spec.uri import parse_uri, split_uri
from octjob.storage.open import download, open_store


def local_copy(uri: str, workdir: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """The path of `uri`'s content: itself for a file, else a verified copy below `workdir`.

    `progress(done, total)` gets bytes.
    """
    parsed = parse_uri(uri)
    if parsed.scheme == "file":
        return Path(parsed.path)
    root, key = split_uri(uri)
    path = workdir / hashlib.sha256(uri.encode()).hexdigest()[:16]
    download(open_store(root), key, path, progress)
    return path

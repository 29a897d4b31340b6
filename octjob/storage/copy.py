"""A large object as a local file, or a folder of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from octjob.spec.uri import HUB, check_key, parse_uri, split_uri
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


def local_tree(uri: str, workdir: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """As `local_copy`, where `uri` may also be a folder: then a folder with all that lies below it.

    `hf://org/name` is one, too; see `octjob.storage.hub`. `progress(done, total)` gets bytes.
    """
    if uri.startswith(HUB):
        from octjob.storage.hub import hub_folder

        return hub_folder(uri)
    parsed = parse_uri(uri)
    if parsed.scheme == "file":
        return Path(parsed.path)
    root, key = split_uri(uri)
    store = open_store(root)
    below = list(store.list(f"{key}/"))
    if not below:
        return local_copy(uri, workdir, progress)
    folder, total, done = (
        workdir / hashlib.sha256(uri.encode()).hexdigest()[:16],
        sum(o.size for o in below),
        0,
    )
    for info in below:
        path = folder / check_key(info.key.removeprefix(f"{key}/"), uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        download(store, info.key, path)
        done += info.size
        if progress is not None:
            progress(done, total)
    return folder

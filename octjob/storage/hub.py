"""Repositories of the Hugging Face hub, `hf://org/name[@revision]`, by its own client and into its own cache."""

from __future__ import annotations

from pathlib import Path

from octjob.errors import AccessError, SpecError
from octjob.extras import is_installed
from octjob.spec.uri import HUB


def hub_folder(uri: str) -> Path:
    """A folder with the repository's files, from the client's cache where they are there.

    Raises `SpecError` without the client, `AccessError` without a network, a right, or such a repository.
    """
    if not is_installed("huggingface_hub"):
        raise SpecError(
            f"{uri} needs huggingface_hub, which is not installed", "pip install 'octjob[backbones]'"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, HTTPError

    name, _, revision = uri.removeprefix(HUB).partition("@")
    try:
        return Path(snapshot_download(name, revision=revision or None))
    except (OSError, HTTPError, EntryNotFoundError, HFValidationError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise AccessError(
            f"{uri}: not to be had from the hub: {first[:200]}",
            f"Where there is a network, `hf download {name} --local-dir FOLDER`; then write uri: FOLDER.",
        ) from error

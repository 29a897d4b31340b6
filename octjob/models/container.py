"""Opening a checkpoint file without running anything in it.

A `.pt` file is a pickle, and a pickle is a program. Only `torch.load(weights_only=True)` reads it, with an
allow-list: torch's own, and the OmegaConf classes which the original pretraining left in `config`.
"""

from __future__ import annotations

import collections
import hashlib
import pickle
import pickletools
import re
import struct
import typing
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import safetensors
import torch
from omegaconf import DictConfig, ListConfig
from omegaconf.base import ContainerMetadata, Metadata
from omegaconf.nodes import AnyNode

from octjob.errors import AccessError, DataError
from octjob.models.archive import MAX_PICKLE_BYTES, check_archive
from octjob.models.metadata import json_or_text


class _Named:
    """Stands for a type that OmegaConf's metadata names. Called, `list` would unfold what `bytearray` makes up."""

    def __init__(self, *_: object) -> None:
        raise pickle.UnpicklingError("the pickle calls a type that only names one")


# Plain containers, and nodes which hold one value: none of them runs anything when it is rebuilt.
SAFE_GLOBALS: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
    ListConfig,
    DictConfig,
    ContainerMetadata,
    Metadata,
    AnyNode,
    typing.Any,
    collections.defaultdict,
    *((_Named, f"builtins.{name}") for name in ("dict", "list", "int")),
]
# torch's own list has it; it makes gigabytes of a number.
_MADE_UP = frozenset({"builtins bytearray", "__builtin__ bytearray"})

# What torch's unpickler and zip reader raise on damaged or hostile bytes.
_UNREADABLE = (
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    OverflowError,
    AssertionError,
    struct.error,
    zipfile.BadZipFile,
)
# Magic number, protocol, system, payload, names of the storages.
_LEGACY_PICKLES = 5
_GLOBAL_IN_MESSAGE = re.compile(r"GLOBAL ([\w.]+)")
_DOWNLOAD_AGAIN = "download or copy the file again and compare its size and sha256 with the original"


@dataclass(frozen=True)
class Container:
    """What a checkpoint file holds. `payload` is its top-level mapping; `format` names the container."""

    payload: dict[str, object]
    format: str
    sha256: str
    size: int


def open_container(path: Path, uri: str, plain: Sequence[Callable[..., object]] = ()) -> Container:
    """Read a torch (zip or legacy) or safetensors file, recognised by content. `uri` is for messages.
    plain: further classes that a pickle may hold; they must do nothing but keep values.

    A zip's members are read once, against their CRC-32, and then mapped, so that parts nobody asks for take no
    memory. The other formats have no sums; `sha256` is there to be pinned. Raises `AccessError` if
    the file is not there and `DataError` if it is not a readable checkpoint or contains a forbidden global.
    """
    if not path.is_file():
        raise AccessError(f"{uri}: no checkpoint file at {path}", "check the checkpoint's URI")
    size = path.stat().st_size
    format_ = _recognise(path, size, uri)
    if format_ == "torch-zip":
        check_archive(path, uri)
    payload = (
        _load_safetensors(path, uri) if format_ == "safetensors" else _load_torch(path, format_, uri, plain)
    )
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Container(payload, format_, sha256, size)


def _recognise(path: Path, size: int, uri: str) -> str:
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise DataError(f"{uri}: the checkpoint file is empty (0 bytes)", _DOWNLOAD_AGAIN)
    if head.startswith(b"PK\x03\x04"):
        if not zipfile.is_zipfile(path):
            raise DataError(
                f"{uri}: the checkpoint file is truncated ({size} bytes, its zip directory is missing)",
                _DOWNLOAD_AGAIN,
            )
        return "torch-zip"
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size:
        return "safetensors"
    if head.startswith(b"\x80"):
        return "torch-legacy"
    if head.startswith(b"version https://git-lfs"):
        raise DataError(
            f"{uri}: a Git LFS pointer, not the checkpoint itself", "fetch it with `git lfs pull`"
        )
    if head.lstrip().startswith(b"<"):
        raise DataError(
            f"{uri}: an HTML or XML page, not a checkpoint (starts with {head[:24]!r})",
            "the download probably returned a login or error page; fetch the file with credentials",
        )
    raise DataError(
        f"{uri}: not a torch or safetensors checkpoint (starts with {head[:16]!r})", _DOWNLOAD_AGAIN
    )


def _load_torch(
    path: Path, format_: str, uri: str, plain: Sequence[Callable[..., object]]
) -> dict[str, object]:
    _check_pickles(path, format_, uri)
    with torch.serialization.safe_globals([*SAFE_GLOBALS, *plain]):
        try:
            payload = torch.load(path, map_location="cpu", weights_only=True, mmap=format_ == "torch-zip")
        except pickle.UnpicklingError as error:
            raise _forbidden(path, error, uri) from error
        except _UNREADABLE as error:
            raise DataError(
                f"{uri}: unreadable torch checkpoint: {_first_line(error)}", _DOWNLOAD_AGAIN
            ) from error
    if not isinstance(payload, dict):
        raise DataError(
            f"{uri}: holds a {type(payload).__name__}, not a dict with a state dict",
            "save the model's state_dict(), not the model or a single tensor",
        )
    return payload


def _check_pickles(path: Path, format_: str, uri: str) -> None:
    """Refuse pickles of made-up size before anything is built from them. A legacy file has several, then values."""
    try:
        if format_ == "torch-zip":
            with zipfile.ZipFile(path) as archive:
                pickles = [member for member in archive.infolist() if member.filename.endswith("data.pkl")]
                for member in pickles:
                    del member.CRC  # checked before, where the file has one
                made_up = any(_makes_up(archive.read(member)) for member in pickles)
        else:
            with path.open("rb") as file:
                made_up = any(_makes_up(file) for _ in range(_LEGACY_PICKLES))
    except _UNREADABLE as error:
        raise DataError(
            f"{uri}: unreadable torch checkpoint: {_first_line(error)}", _DOWNLOAD_AGAIN
        ) from error
    if made_up:
        raise DataError(
            f"{uri}: refused: the pickle makes a bytearray, which no weights need",
            "save the state_dict alone",
        )


def _makes_up(source: bytes | BinaryIO) -> bool:
    for operation, argument, place in pickletools.genops(source):
        if operation.name == "GLOBAL" and argument in _MADE_UP:
            return True
        if place is not None and place > MAX_PICKLE_BYTES:
            raise ValueError(f"its pickle has more than {MAX_PICKLE_BYTES} bytes")
    return False


def _forbidden(path: Path, error: pickle.UnpicklingError, uri: str) -> DataError:
    """The refusal of torch's safe unpickler, with the names it stumbled over."""
    names = set(_GLOBAL_IN_MESSAGE.findall(str(error)))
    if zipfile.is_zipfile(path):
        try:
            names |= set(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
        except (*_UNREADABLE, pickle.UnpicklingError):
            pass  # what stands behind the damage is of no interest
    if not names:
        reason = str(error).partition("WeightsUnpickler error:")[2].strip() or str(error)
        return DataError(
            f"{uri}: damaged or unsafe torch checkpoint: {reason.splitlines()[0][:200]}", _DOWNLOAD_AGAIN
        )
    return DataError(
        f"{uri}: refused: the pickle asks for {', '.join(sorted(names))}, which is not weights or plain "
        "data; nothing of it was run",
        "if you trust its origin, save its state_dict alone as safetensors where it was made, and use "
        "that file",
    )


def _load_safetensors(path: Path, uri: str) -> dict[str, object]:
    payload: dict[str, object] = {}
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            for key, text in (file.metadata() or {}).items():
                payload[key] = json_or_text(text)
            payload.update({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise DataError(
            f"{uri}: unreadable safetensors file: {_first_line(error)}", _DOWNLOAD_AGAIN
        ) from error
    return payload


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

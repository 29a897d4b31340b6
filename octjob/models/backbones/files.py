"""Weights as libraries store them, one file or a folder, and their strict way into a module."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from octjob.errors import AccessError, DataError
from octjob.models.container import open_container
from octjob.models.statedict import CONTAINERS, some
from octjob.models.tensors import is_dense

_INDEX = "model.safetensors.index.json"
_ENDINGS = (".safetensors", ".pt", ".pth", ".bin")
# Training scripts leave their command line beside the weights; it keeps values and does nothing.
_PLAIN = (argparse.Namespace,)


@dataclass(frozen=True)
class Stored:
    """What lies at a path. sha256: of the file; of a folder, of its files' names and sums. size: bytes."""

    sha256: str
    size: int
    format: str


def stored(path: Path, uri: str) -> Stored:
    """Raises `AccessError` where there is nothing."""
    if path.is_file():
        return Stored(_sha256(path), path.stat().st_size, path.suffix.removeprefix(".") or "file")
    files = sorted(one for one in path.rglob("*") if one.is_file())
    if not files:
        raise AccessError(f"{uri}: no checkpoint file or folder at {path}", "Check the checkpoint's URI.")
    digest = hashlib.sha256()
    for one in files:
        digest.update(f"{one.relative_to(path).as_posix()}\0{_sha256(one)}\0".encode())
    return Stored(digest.hexdigest(), sum(one.stat().st_size for one in files), "folder")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, object]:
    """A library's settings. Raises `DataError` for what is none."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}", "Save the model anew with its library.") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds no settings", "Save the model anew with its library.")
    return value


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The state dict of a file, or of a folder's one file or shards; nothing in them is run.

    It may lie under `model`, `state_dict` or `model_state_dict`. Raises as `open_container`, and `DataError` where a
    folder has no weights, or several.
    """
    if path.is_file():
        return _state_dict(path)
    if (path / _INDEX).is_file():
        shards = read_json(path / _INDEX).get("weight_map")
        names = sorted(set(shards.values())) if isinstance(shards, dict) else []
        found: dict[str, Tensor] = {}
        for name in names:
            if Path(name).name != name:
                raise DataError(f"{path / _INDEX}: a shard lies elsewhere: {name}", "Save the model anew.")
            found |= _state_dict(path / name)
        return found
    files = sorted(one for one in path.glob("*") if one.suffix in _ENDINGS)
    named = [one for one in files if one.name == "model.safetensors"] or files
    if len(named) != 1:
        there = some([one.name for one in named]) or "none"
        raise DataError(
            f"{path}: a folder of one file of weights was expected, and it has {there}",
            "Give the URI of the file itself.",
        )
    return _state_dict(named[0])


def _state_dict(path: Path) -> dict[str, Tensor]:
    payload: Mapping[str, object] = open_container(path, str(path), _PLAIN).payload
    for name in CONTAINERS:
        inner = payload.get(name)
        if isinstance(inner, dict):
            payload = inner
            break
    return {str(key): value for key, value in payload.items() if isinstance(value, Tensor)}


def load_strictly(
    module: nn.Module, tensors: Mapping[str, Tensor], where: str, ignored: Iterable[str] = ()
) -> tuple[str, ...]:
    """Load all of `module` from all of `tensors`, but for those whose names begin with one of `ignored`.

    Returns the parts that were left alone, in words. Raises `DataError` for a key that is missing, left over or of
    the wrong shape, and for values that are none.
    """
    beginnings, expected = tuple(ignored), module.state_dict()
    left = (
        [key for key in tensors if key not in expected and key.startswith(beginnings)] if beginnings else []
    )
    own = {key: tensor for key, tensor in tensors.items() if key not in left}
    missing = sorted(expected.keys() - own.keys())
    unexpected = sorted(own.keys() - expected.keys())
    if missing or unexpected:
        raise DataError(
            f"{where}: {len(missing)} of {len(expected)} parameters are missing ({some(missing) or 'none'}),"
            f" {len(unexpected)} are left over ({some(unexpected) or 'none'})",
            "The file is of another model or another size of it.",
        )
    wrong = [
        f"{key} is {tuple(own[key].shape)}, expected {tuple(expected[key].shape)}"
        for key in sorted(own)
        if own[key].shape != expected[key].shape
    ]
    if wrong:
        raise DataError(
            f"{where}: {len(wrong)} parameters of the wrong shape: {some(wrong)}",
            "The file is of another size of the model, or the options are.",
        )
    require_finite(own, where)
    module.load_state_dict(own)
    return tuple(
        f"{part} ({sum(_part(key) == part for key in left)} tensors)" for part in sorted({*map(_part, left)})
    )


def _part(key: str) -> str:
    return key.partition(".")[0]


def require_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise `DataError` where a tensor holds no values of its own, or some that are not finite."""
    bad = [
        key
        for key, x in sorted(tensors.items())
        if not is_dense(x) or (x.is_floating_point() and not bool(torch.isfinite(x).all()))
    ]
    if bad:
        raise DataError(
            f"{where}: {len(bad)} parameters with NaN or infinite values, or without any: {some(bad)}",
            "The pretraining diverged or the file is damaged; use an earlier checkpoint.",
        )

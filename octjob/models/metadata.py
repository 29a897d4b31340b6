"""What a checkpoint stores beside its weights, as plain values of bounded size.

A pickle of a kilobyte can hold a dict within itself, or one that unfolds to a trillion entries: nothing here follows
references without counting them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import omegaconf

from octjob.errors import DataError

MAX_DEPTH = 20
MAX_ENTRIES = 20_000
_MAX_BITS = 64


@dataclass
class _Budget:
    """Entries still allowed."""

    left: int = MAX_ENTRIES


def plain_config(value: object, uri: str) -> dict[str, object]:
    """The stored `config` as plain dicts and lists, `{}` if there is none.

    Interpolations such as `${oc.env:HOME}` stay text: resolving them would let a file read our environment.
    Raises `DataError` on more than `MAX_DEPTH` levels or `MAX_ENTRIES` entries.
    """
    plain = _plain(value, 0, _Budget(), uri)
    return plain if isinstance(plain, dict) else {}


PRETRAINED_ON = "pretraining_participants"


def pretrained_on(payload: Mapping[str, object], config: Mapping[str, object]) -> tuple[str, ...] | None:
    """The ids that a file keeps under `pretraining_participants`, beside its weights or in its config; None without.

    What is no list of ids, or a longer one than a config may be, is not taken for one.
    """
    stored = payload.get(PRETRAINED_ON, config.get(PRETRAINED_ON))
    if not isinstance(stored, list) or len(stored) > MAX_ENTRIES:
        return None
    ids = [value for value in stored if isinstance(value, str | int) and not isinstance(value, bool)]
    return tuple(str(value) for value in ids) if len(ids) == len(stored) else None


def json_or_text(text: str) -> object:
    """A safetensors metadata value: JSON where it is JSON, else the text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _plain(value: object, depth: int, budget: _Budget, uri: str) -> object:
    budget.left -= 1
    if depth > MAX_DEPTH or budget.left < 0:
        much = f"{MAX_DEPTH} levels" if depth > MAX_DEPTH else f"{MAX_ENTRIES} entries"
        raise DataError(f"{uri}: config has more than {much}", "Save it as a plain dict of settings.")
    if isinstance(value, omegaconf.Node):
        # Not by OmegaConf's own means, which resolve, and follow whatever the pickle put there.
        inner = value.__dict__.get("_content" if isinstance(value, omegaconf.Container) else "_val")
        return _plain(inner, depth, budget, uri)
    if isinstance(value, dict):
        return {str(key): _plain(item, depth + 1, budget, uri) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, depth + 1, budget, uri) for item in value]
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise DataError(f"{uri}: config holds an integer of {value.bit_length()} bits", "Correct the config.")
    return value

"""Every name a user writes passes here: it goes on into ids, URIs, labels, tables and files."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from octjob.spec.show import shown

MAX_LENGTH = 63  # a label's on a cluster; ids made of two of them fit a file name
MAX_CLASS_LENGTH = 120
MAX_SHORT_LENGTH = 24
MAX_VALUE_LABEL = 40


@dataclass(frozen=True)
class NameRule:
    """Which names are allowed, in words and as a pattern; nothing of them is ever unprintable."""

    words: str
    pattern: re.Pattern[str]


# Sweeps, checkpoints and configurations: what run ids, URIs and labels allow.
ID = NameRule(
    f"at most {MAX_LENGTH} lower-case letters, digits, - and _, starting and ending with a letter or digit",
    re.compile(rf"[a-z0-9]([a-z0-9_-]{{0,{MAX_LENGTH - 2}}}[a-z0-9])?"),
)
# Classes are named as the data set names them, and only ever shown.
CLASS = NameRule(
    f"at most {MAX_CLASS_LENGTH} printable characters, without spaces at either end",
    re.compile(rf"\S(.{{0,{MAX_CLASS_LENGTH - 2}}}\S)?"),
)
# What a column or a legend has room for.
SHORT = NameRule(
    f"at most {MAX_SHORT_LENGTH} printable characters, without spaces at either end",
    re.compile(rf"\S(.{{0,{MAX_SHORT_LENGTH - 2}}}\S)?"),
)
# Any key of a YAML file, before it is known what it names.
KEY = NameRule("1 to 200 printable characters", re.compile(r".{1,200}"))


def check_name(name: str, rule: NameRule = ID) -> str:
    """`name` itself. Raises `ValueError` where `rule` forbids it, or a character is control, bidi or invisible."""
    if not name.isprintable() or not rule.pattern.fullmatch(name):
        raise ValueError(f"{shown(name)} cannot be a name: use {rule.words}")
    return name


def value_labels(values: tuple[Any, ...]) -> list[str]:
    """What stands for each value of a grid's axis in names: readable, and different for different values."""
    labels = [_slug(value) for value in values]
    return [
        label
        if labels.count(label) == 1 and len(label) <= MAX_VALUE_LABEL
        else f"{label[: MAX_VALUE_LABEL - 9].rstrip('-')}-{_digest(value)}"
        for label, value in zip(labels, values, strict=True)
    ]


def _slug(value: Any) -> str:
    return re.sub(r"[^a-z0-9]+", "-", str(value).lower()).strip("-") or "empty"


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]

"""YAML with a memory: plain data plus the file and line of every key.

YAML 1.2 floats (`1e-3` is a number, not a string), no duplicate keys, no tags, no anchors' merge surprises.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from octjob.errors import SpecError
from octjob.spec.show import describe

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Mark:
    """Where a key was written."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass
class Document:
    """Plain data and the mark of each key path in it."""

    data: dict[str, Any]
    marks: dict[KeyPath, Mark] = field(default_factory=dict)

    def mark(self, path: KeyPath) -> Mark | None:
        """The mark of `path` or of its nearest ancestor."""
        while path:
            if path in self.marks:
                return self.marks[path]
            path = path[:-1]
        return self.marks.get(())


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 numbers."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)


def load(path: Path) -> Document:
    """Read one YAML file whose top level is a mapping.

    Raises `SpecError` naming file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError(f"{path}: no such file", _similar_files(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read ({error})") from None
    return loads(text, str(path))


def loads(text: str, name: str) -> Document:
    """Like `load`, from a string; `name` stands in for the file in messages."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Document({}, {(): Mark(name, 1)})
        document = Document({}, {(): Mark(name, node.start_mark.line + 1)})
        data = _construct(loader, node, (), name, document.marks)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError(f"{name}:{line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise SpecError(f"{name}: not valid YAML: {error}") from None
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise SpecError(f"{name}:1: expected a mapping of keys to values, got {describe(data)}")
    document.data = data
    return document


def _construct(loader: _Loader, node: yaml.Node, path: KeyPath, name: str, marks: dict[KeyPath, Mark]) -> Any:
    if isinstance(node, yaml.MappingNode):
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = loader.construct_object(key_node)
            if not isinstance(key, str):
                raise SpecError(f"{name}:{line}: keys are names, got {describe(key)}")
            if key in data:
                raise SpecError(
                    f"{name}:{line}: {dotted((*path, key))} is set twice", "Keep one of the two lines."
                )
            marks[(*path, key)] = Mark(name, line)
            data[key] = _construct(loader, value_node, (*path, key), name, marks)
        return data
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, child in enumerate(node.value):
            marks[(*path, index)] = Mark(name, child.start_mark.line + 1)
            items.append(_construct(loader, child, (*path, index), name, marks))
        return items
    return loader.construct_object(node)


def merge(base: Document, over: Document) -> Document:
    """`over` on top of `base`: mappings merge key by key, everything else is replaced."""
    marks = dict(base.marks)
    data = _merge(base.data, over.data, (), marks)
    marks.update(over.marks)
    return Document(data, marks)


def _merge(
    base: Mapping[str, Any], over: Mapping[str, Any], path: KeyPath, marks: dict[KeyPath, Mark]
) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        here = (*path, key)
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _merge(merged[key], value, here, marks)
        else:
            for stale in [mark for mark in marks if mark[: len(here)] == here]:
                del marks[stale]
            merged[key] = value
    return merged


def subdocument(document: Document, path: KeyPath) -> Document:
    """The mapping at `path` as a document of its own; keys written `a.b.c` become nested."""
    data: Any = document.data
    for key in path:
        data = data[key]
    sub = Document({}, {(): document.mark(path) or Mark("", 1)})
    for key, value in data.items():
        parts = tuple(key.split("."))
        target = sub.data
        for part in parts[:-1]:
            target = target.setdefault(part, {})
        target[parts[-1]] = value
        for mark_path, mark in document.marks.items():
            if mark_path[: len(path) + 1] == (*path, key):
                sub.marks[(*parts, *mark_path[len(path) + 1 :])] = mark
    return sub


def dotted(path: KeyPath) -> str:
    """`("train", "lr_head")` as `train.lr_head`."""
    return ".".join(str(part) for part in path)


def _similar_files(path: Path) -> str:
    import difflib

    if not path.parent.is_dir():
        return ""
    names = [p.name for p in path.parent.glob("*.yaml")] + [p.name for p in path.parent.glob("*.yml")]
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"Did you mean {path.parent / close[0]}?" if close else ""

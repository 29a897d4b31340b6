"""YAML with a memory: plain data plus the file and line of every key.

YAML 1.2 numbers (`1e-3` is a number, a date is a text), no duplicate keys, no tags, no merge keys. What a document
may cost is bounded here, once: depth, aliases, nodes (each alias counted with all that it stands for).
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from octjob.errors import SpecError
from octjob.spec.file import name_of, read_spec
from octjob.spec.names import KEY, check_name
from octjob.spec.show import describe, elided, shown

KeyPath = tuple[str | int, ...]

MAX_DEPTH = 32
MAX_NODES = 20_000
MAX_ALIASES = 100
MAX_DIGITS = 19


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
    # By the length of a path, so that thousands of configs are not each looked for among the keys of all.
    _below: dict[int, dict[KeyPath, list[tuple[KeyPath, Mark]]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def mark(self, path: KeyPath) -> Mark | None:
        """The mark of `path` or of its nearest ancestor."""
        while path:
            if path in self.marks:
                return self.marks[path]
            path = path[:-1]
        return self.marks.get(())

    def below(self, path: KeyPath) -> list[tuple[KeyPath, Mark]]:
        """The marks of all keys below `path`, in their order; of a document that changes no more."""
        if len(path) not in self._below:
            found = self._below.setdefault(len(path), defaultdict(list))
            for where, mark in self.marks.items():
                if len(where) > len(path):
                    found[where[: len(path)]].append((where, mark))
        return self._below[len(path)].get(path, [])


_TAG = "tag:yaml.org,2002:"
_NULL, _BOOL, _INT, _FLOAT, _STR, _MERGE = (
    _TAG + name for name in ("null", "bool", "int", "float", "str", "merge")
)
_TRUE = frozenset({"yes", "true", "on"})
_FALSE = frozenset({"no", "false", "off"})
_INT_TEXT = re.compile(r"[-+]?[0-9][0-9_]*")
_FLOAT_TEXT = re.compile(
    r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 numbers, without dates, and with a limit while nodes are put together."""

    num_nodes = 0
    num_aliases = 0
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            self.num_aliases += 1
            _bound(self.num_aliases, MAX_ALIASES, "aliases", event.start_mark)
        self.num_nodes += 1
        _bound(self.num_nodes, MAX_NODES, "nodes", event.start_mark)
        _bound(self.depth, MAX_DEPTH, "levels", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag in (_NULL, _BOOL, _MERGE)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _text in ((_INT, _INT_TEXT), (_FLOAT, _FLOAT_TEXT)):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_text.pattern})$"), list("-+.0123456789"))


def _bound(count: int, limit: int, what: str, mark: yaml.Mark) -> None:
    if count > limit:
        raise yaml.MarkedYAMLError(problem=f"more than {limit} {what}", problem_mark=mark)


def load(path: Path) -> Document:
    """Read one YAML file whose top level is a mapping.

    Raises `SpecError` naming file and line.
    """
    return loads(read_spec(path), name_of(path))


def loads(text: str, name: str) -> Document:
    """Like `load`, from a string; `name` stands in for the file in messages."""
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(
            f"{name}:{line}: character {shown(chr(int(error.character)))} is not allowed"
        ) from None
    try:
        node = loader.get_single_node()
        if node is None:
            return Document({}, {(): Mark(name, 1)})
        reading = _Reading(name)
        document = Document(reading.construct(node, ()), {(): Mark(name, node.start_mark.line + 1)})
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = elided(error.problem or "", 200)
        if "duplicate anchor" in (error.context or ""):
            problem = "an anchor of this name is there already"
        raise SpecError(f"{name}:{line}: not valid YAML: {problem}") from None
    except (ValueError, OverflowError):  # PyYAML's chr() and int() of what the document says
        line = loader.get_mark().line + 1
        raise SpecError(
            f"{name}:{line}: not valid YAML: an escape or a version that stands for nothing"
        ) from None
    finally:
        loader.dispose()
    if not isinstance(document.data, dict):
        raise SpecError(f"{name}:1: expected a mapping of keys to values, got {describe(document.data)}")
    document.marks.update(reading.marks)
    return document


class _Reading:
    """One document's nodes becoming plain data; every alias gets data of its own, and counts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.marks: dict[KeyPath, Mark] = {}
        self.num_nodes = 0
        self.open: list[yaml.Node] = []

    def construct(self, node: yaml.Node, path: KeyPath) -> Any:
        """The data of `node`; the marks of all below it are noted."""
        mark = node.start_mark
        if any(node is parent for parent in self.open):
            raise yaml.MarkedYAMLError(problem="an alias stands for a part that holds it", problem_mark=mark)
        self.num_nodes += 1
        _bound(self.num_nodes, MAX_NODES, "nodes, counting what aliases stand for", mark)
        _bound(len(self.open), MAX_DEPTH, "levels", mark)
        self.open.append(node)
        data = self._of_kind(node, path)
        self.open.pop()
        return data

    def _of_kind(self, node: yaml.Node, path: KeyPath) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        kind = "map" if isinstance(node, yaml.MappingNode) else "seq"
        if node.tag != _TAG + kind:
            raise _unread(node)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, child in enumerate(node.value):
                self.marks[(*path, index)] = Mark(self.name, child.start_mark.line + 1)
                items.append(self.construct(child, (*path, index)))
            return items
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path, data)
            self.marks[(*path, key)] = Mark(self.name, key_node.start_mark.line + 1)
            data[key] = self.construct(value_node, (*path, key))
        return data

    def _key(self, node: yaml.Node, path: KeyPath, data: dict[str, Any]) -> str:
        where = f"{self.name}:{node.start_mark.line + 1}"
        if node.tag == _MERGE:
            raise SpecError(f"{where}: merge keys (<<) are not read", "Write the keys, or use `defaults`.")
        # The text itself: of a name with control characters the check of names says more than that of values.
        key = node.value if node.tag == _STR else self.construct(node, path)
        if not isinstance(key, str):
            raise SpecError(f"{where}: keys are names, got {describe(key)}")
        try:
            check_name(key, KEY)
        except ValueError as error:
            raise SpecError(f"{where}: {error}") from None
        if key in data:
            raise SpecError(f"{where}: {dotted((*path, key))} is set twice", "Keep one of the two lines.")
        return key


def _unread(node: yaml.Node) -> yaml.MarkedYAMLError:
    tag = node.tag.replace(_TAG, "!!")
    return yaml.MarkedYAMLError(problem=f"tag {elided(tag)} is not read", problem_mark=node.start_mark)


def _scalar(node: yaml.ScalarNode) -> Any:
    text: str = node.value
    problem = ""
    if node.tag == _STR:
        if not any(
            (ord(char) < 32 and char not in "\t\n\r") or 0xD800 <= ord(char) < 0xE000 for char in text
        ):
            return text
        problem = f"text with a control character or half a character: {shown(text)}"
    elif node.tag == _NULL:
        return None
    elif node.tag == _BOOL and text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    elif node.tag == _INT and _INT_TEXT.fullmatch(text):
        if sum(map(str.isdigit, text)) <= MAX_DIGITS:
            return int(text.replace("_", ""))
        problem = f"a whole number of more than {MAX_DIGITS} digits"
    elif node.tag == _FLOAT and _FLOAT_TEXT.fullmatch(text):
        return _float(text)
    elif node.tag in (_BOOL, _INT, _FLOAT):
        problem = f"{shown(text)} is no {node.tag.removeprefix(_TAG)}"
    if problem:
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    raise _unread(node)


def _float(text: str) -> float:
    if text.lower().endswith(("inf", "nan")):
        return math.nan if text[-1] in "nN" else -math.inf if text[0] == "-" else math.inf
    return float(text)


def merge(base: Document, over: Document) -> Document:
    """`over` on top of `base`: mappings merge key by key, everything else is replaced."""
    replaced: set[KeyPath] = set()
    data = _merge(base.data, over.data, (), replaced)
    marks = {path: mark for path, mark in base.marks.items() if not _below(path, replaced)}
    return Document(data, {**marks, **over.marks})


def _merge(
    base: Mapping[str, Any], over: Mapping[str, Any], path: KeyPath, replaced: set[KeyPath]
) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        here = (*path, key)
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _merge(merged[key], value, here, replaced)
        else:
            replaced.add(here)
            merged[key] = value
    return merged


def _below(path: KeyPath, places: set[KeyPath]) -> bool:
    return any(path[:length] in places for length in range(1, len(path) + 1))


def subdocument(document: Document, path: KeyPath) -> Document:
    """The mapping at `path` as a document of its own; keys written `a.b.c` become nested.

    Raises `SpecError` where two of its keys set the same, or one sets a value that another looks into.
    """
    data: Any = document.data
    for key in path:
        data = data[key]
    marks: dict[KeyPath, Mark] = {}
    for where, mark in document.below(path):
        marks[(*str(where[len(path)]).split("."), *where[len(path) + 1 :])] = mark
    start = document.mark(path) or Mark("", 1)
    sub = Document({}, {(): start, **marks})
    _nest_into(sub.data, data, (), lambda where: sub.mark(where) or start)
    return sub


def nested(keys: Mapping[str, Any], mark: Mark) -> dict[str, Any]:
    """`a.b: 1` as `{a: {b: 1}}`. Raises `SpecError` like `subdocument`, naming `mark`."""
    data: dict[str, Any] = {}
    _nest_into(data, keys, (), lambda where: mark)
    return data


def _nest_into(
    target: dict[str, Any], source: Mapping[str, Any], path: KeyPath, mark: Callable[[KeyPath], Mark]
) -> None:
    for key, value in source.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        _join(target, value, path, mark)


def _join(
    target: dict[str, Any], source: Mapping[str, Any], path: KeyPath, mark: Callable[[KeyPath], Mark]
) -> None:
    for key, value in source.items():
        here = (*path, key)
        if isinstance(value, Mapping) and isinstance(target.get(key, {}), dict):
            _join(target.setdefault(key, {}), value, here, mark)
        elif key in target:
            both = f"as {describe(target[key])} and as {describe(value)}"
            raise SpecError(f"{mark(here)}: {dotted(here)} is set twice, {both}", "Keep one of the two.")
        else:
            target[key] = value


def dotted(path: KeyPath) -> str:
    """`("train", "lr_head")` as `train.lr_head`."""
    return elided(".".join(str(part) for part in path), 200)


def error_at(document: Document | None, path: tuple[str, ...], message: str, hint: str) -> SpecError:
    """What is wrong with a key. document: the file as written, for its name and the line."""
    mark = document.mark(path) if document else None
    return SpecError(f"{f'{mark}: ' if mark else ''}{'.'.join(path)}: {message}", hint)

"""From a YAML document to a typed model: each complaint as one line with file, line, key and mend."""

from __future__ import annotations

import difflib
import re
import types
import typing
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from octjob.errors import SpecError
from octjob.spec.control_options import controls_hint
from octjob.spec.experiment import Experiment
from octjob.spec.original import original_hint, refuse_pretraining
from octjob.spec.show import describe, elided
from octjob.spec.yaml import Document, KeyPath, dotted

M = TypeVar("M", bound=BaseModel)

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


_LENGTHS = {"too_short": "min_length", "too_long": "max_length"}


def validate(model: type[M], document: Document, what: str) -> M:
    """`document` as a `model`.

    Raises `SpecError` for the first complaint in the file's order; the count of the others is in the hint.
    """
    if model is Experiment:
        refuse_pretraining(document.data, document)
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        complaints = _complaints(model, error, document)
        path, message, hint = complaints[0]
        mark = document.mark(path)
        where = f"{mark}: " if mark else ""
        key = f"{dotted(path)}: " if path else f"{what}: "
        more = f"{len(complaints) - 1} more after this one." if len(complaints) > 1 else ""
        raise SpecError(
            f"{where}{key}{elided(message, 300)}", " ".join(filter(None, [hint, more])).strip()
        ) from None


def _complaints(
    model: type[BaseModel], error: ValidationError, document: Document
) -> list[tuple[KeyPath, str, str]]:
    """One complaint per place: a union reports each of its members, of which a person wants one sentence."""
    by_path: dict[KeyPath, list[dict[str, Any]]] = {}
    for item in error.errors(include_url=False):
        by_path.setdefault(_real_path(item["loc"], document.data), []).append(dict(item))
    complaints = []
    for path, items in by_path.items():
        message, hint = _complaint(path, items, model)
        if model is Experiment:
            hint = original_hint(path) or hint
        elif not {"value_error"} & {item["type"] for item in items}:
            hint = controls_hint(path, items[0].get("input")) or hint
        mark = document.mark(path)
        complaints.append((mark.line if mark else 0, path, message, hint))
    # Of a union's list the one wrong element says more than that the whole could also have been another member.
    complaints = [one for one in complaints if not any(_inside(path, one[1]) for path in by_path)]
    complaints.sort(key=lambda c: c[0])
    return [(path, message, hint) for _, path, message, hint in complaints]


def _inside(path: KeyPath, outer: KeyPath) -> bool:
    return len(path) > len(outer) and path[: len(outer)] == outer


# What pydantic puts into a location to name a member of a union or a validator.
_UNION_PARTS = re.compile(
    r"(function-|literal\[|tuple\[|constrained-|[A-Z]).*|str|int|float|bool|nullable|none"
)


def _real_path(loc: tuple[str | int, ...], data: Any) -> KeyPath:
    """`loc` without the names of union members and validators that pydantic puts into it."""
    path: list[str | int] = []
    for part in loc:
        if isinstance(part, int):
            data = data[part] if isinstance(data, list | tuple) and part < len(data) else None
        elif isinstance(data, dict) and part in data:
            data = data[part]
        elif _UNION_PARTS.fullmatch(part):
            continue
        path.append(part)
    return tuple(path)


def _complaint(path: KeyPath, items: list[dict[str, Any]], model: type[BaseModel]) -> tuple[str, str]:
    kinds = {item["type"] for item in items}
    value = items[0].get("input")
    if kinds == {"extra_forbidden"}:
        return "unknown key", nearest_key(model, path)
    if kinds == {"missing"}:
        if isinstance(path[-1], int):
            return f"value {path[-1] + 1} is missing", ""
        return "is required and missing", ""
    if kinds <= _LENGTHS.keys():
        (kind,) = kinds
        bound, actual = items[0]["ctx"][_LENGTHS[kind]], items[0]["ctx"]["actual_length"]
        plural = "" if bound == 1 else "s"
        return (
            f"expected at {'least' if kind == 'too_short' else 'most'} {bound} value{plural}, got {actual}",
            "",
        )
    if len(items) > 1:
        expected = [_expected(item) for item in items]
        return f"expected {' or '.join(dict.fromkeys(expected))}, got {describe(value)}", _near(
            value, expected
        )
    item = items[0]
    if item["type"] == "value_error":
        return str(item["ctx"]["error"]), ""
    if item["type"] in _EXPECTED or item["type"] == "literal_error":
        return f"expected {_expected(item)}, got {describe(value)}", _near(value, [_expected(item)])
    return f"{_lower_first(item['msg'])}, got {describe(value)}", ""


def _expected(item: dict[str, Any]) -> str:
    if item["type"] == "literal_error":
        return str(item["ctx"]["expected"]).replace("'", "")
    return _EXPECTED.get(item["type"], _lower_first(item["msg"]).removeprefix("input should be "))


def _near(value: Any, expected: list[str]) -> str:
    if not isinstance(value, str):
        return ""
    words = [w.strip(" ,") for text in expected for w in text.replace(" or ", ",").split(",")]
    close = difflib.get_close_matches(value[:40], words, n=1)
    return f"Did you mean {close[0]}?" if close else ""


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def nearest_key(model: type[BaseModel], path: KeyPath) -> str:
    """A hint for the unknown key at `path`: the nearest valid key there, or one of that name elsewhere."""
    siblings = list(_fields_at(model, path[:-1]))
    close = difflib.get_close_matches(str(path[-1]), siblings, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {dotted((*path[:-1], close[0]))}?"
    elsewhere = [p for p in all_keys(model) if p[-1] == path[-1]]
    if elsewhere:
        return f"Did you mean {dotted(elsewhere[0])}?"
    return f"Valid keys here: {', '.join(siblings)}." if siblings else ""


def _fields_at(model: type[BaseModel], path: KeyPath) -> dict[str, Any]:
    current: type[BaseModel] | None = model
    for part in path:
        field = current.model_fields.get(str(part)) if current else None
        current = submodel(field.annotation) if field else None
    return dict(current.model_fields) if current else {}


def submodel(annotation: Any) -> type[BaseModel] | None:
    """The model an annotation holds, alone or in a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next(filter(None, (submodel(arg) for arg in typing.get_args(annotation))), None)
    return None


def all_keys(model: type[BaseModel], prefix: KeyPath = ()) -> list[KeyPath]:
    """Every key path of a model, leaves and sections."""
    keys: list[KeyPath] = []
    for name, info in model.model_fields.items():
        keys.append((*prefix, name))
        sub = submodel(info.annotation)
        if sub is not None:
            keys.extend(all_keys(sub, (*prefix, name)))
    return keys

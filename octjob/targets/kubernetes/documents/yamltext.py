"""Documents as YAML text that every reader understands alike, the same bytes for the same document."""

from __future__ import annotations

import re
from typing import Any

import yaml

_Base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
# PyYAML writes `1234e567` or `y` without quotes, which Go's YAML reads as a number and as true. Text of several lines
# is quoted as well, so that each value stands on one.
_PLAIN = re.compile(r"[A-Za-z^].+")


class _Dumper(_Base):  # type: ignore[misc]
    """Quotes whatever might be read as anything but text; writes no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: Any, value: str) -> Any:
    style = None if _PLAIN.fullmatch(value) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def to_yaml(document: Any) -> str:
    """`document` in block style, keys in their order, long lines unbroken."""
    text: str = yaml.dump(
        document,
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=False,
        allow_unicode=True,
        width=1 << 30,
    )
    return text

"""Checks that a built site fetches nothing from other hosts: no script, style, font or picture.

python -m docs.selfcontained site
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import click

# Attributes that a browser fetches without being asked to; a link in the text is the reader's own choice.
_FETCHED = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "iframe": ("src",),
    "video": ("src",),
    "audio": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "link": ("href",),
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
}
_ELSEWHERE = re.compile(r"^\s*(?:https?:)?//", re.IGNORECASE)
_IN_STYLE = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)


class _Fetched(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.found += [given[name] for name in _FETCHED.get(tag, ()) if _ELSEWHERE.match(given.get(name, ""))]


def fetched_elsewhere(path: Path) -> list[str]:
    """The addresses on other hosts that a browser fetches for this page, picture or style sheet."""
    text = path.read_text()
    parser = _Fetched()
    if path.suffix in (".html", ".svg"):
        parser.feed(text)
    return parser.found + _IN_STYLE.findall(text)


def check(site: Path) -> Iterator[str]:
    """One line for each address."""
    for path in sorted(site.rglob("*")):
        if path.suffix in (".html", ".svg", ".css"):
            for address in fetched_elsewhere(path):
                yield f"{path}: fetches {address}"


def main() -> int:
    """Exit 1 if anything is fetched, or nothing was built."""
    site = Path(sys.argv[1])
    if not (site / "index.html").exists():
        click.echo(f"{site}: no index.html", err=True)
        return 1
    lines = list(check(site))
    for line in lines:
        click.echo(line, err=True)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())

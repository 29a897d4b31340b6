"""What the site has beyond docs/: pages that GitHub wants at the top of the repository, with their links turned."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "SECURITY.md": "security.md"}

_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from the top of the repository."""
    from mkdocs.structure.files import File

    for name, page in PAGES.items():
        if (ROOT / name).exists():
            files.append(File.generated(config, page, content=from_top((ROOT / name).read_text())))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links from docs/ to the top of the repository to the site's own copies."""
    return to_top(markdown, page.file.src_uri)


def to_top(text: str, uri: str) -> str:
    """The text of the page `uri`, a path below docs/, with links to the top of the repository turned."""
    up = "../" * (uri.count("/") + 1)
    for name, target in PAGES.items():
        text = text.replace(f"]({up}{name}", f"]({up.removesuffix('../')}{target}")
    return text


def from_top(text: str) -> str:
    """Links as a page in docs/ has them; the words alone where the target is not on the site."""

    def turned(match: re.Match[str]) -> str:
        words, target, anchor = match[1], match[2], match[3] or ""
        if target.startswith("docs/") and target.endswith(".md"):
            return f"[{words}]({target.removeprefix('docs/')}{anchor})"
        if target in PAGES:
            return f"[{words}]({PAGES[target]}{anchor})"
        return match[0] if "://" in target else words

    return _LINK.sub(turned, text)

"""The site: links from and to the top of the repository, nothing from other hosts, the first picture."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.hooks import PAGES, from_top, to_top
from docs.selfcontained import check
from docs.way import WayError, table_rows

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("written", "on_the_site"),
    [
        ("[data](docs/data.md#selection)", "[data](data.md#selection)"),
        ("[one](docs/decisions/0001-torch-is-an-extra.md)", "[one](decisions/0001-torch-is-an-extra.md)"),
        ("[how](CONTRIBUTING.md#style)", "[how](contributing.md#style)"),
        ("([README](tests/cluster/README.md))", "(README)"),
        ("[Kueue](https://kueue.sigs.k8s.io/)", "[Kueue](https://kueue.sigs.k8s.io/)"),
    ],
)
def test_links_of_a_page_at_the_top_lead_somewhere_on_the_site(written: str, on_the_site: str) -> None:
    assert from_top(written) == on_the_site


@pytest.mark.parametrize(
    ("page", "written", "on_the_site"),
    [
        ("architecture.md", "[how](../CONTRIBUTING.md#style)", "[how](contributing.md#style)"),
        ("decisions/index.md", "[how](../../CONTRIBUTING.md)", "[how](../contributing.md)"),
        ("architecture.md", "[data](data.md)", "[data](data.md)"),
    ],
)
def test_links_to_the_top_lead_to_the_sites_own_copy(page: str, written: str, on_the_site: str) -> None:
    assert to_top(written, page) == on_the_site


def test_every_page_at_the_top_is_on_the_site() -> None:
    assert {path.name for path in ROOT.glob("[A-Z]*.md")} == {*PAGES, "README.md"}


@pytest.mark.parametrize(
    ("name", "text", "fetched"),
    [
        ("a.html", '<script src="https://cdn.example/x.js"></script>', True),
        ("a.html", '<link rel="stylesheet" href="//fonts.example/css">', True),
        ("a.html", '<img src="HTTP://example/x.png">', True),
        ("a.html", "<style>@import 'https://fonts.example/css'</style>", True),
        ("a.svg", '<svg><image href="https://example/x.png"/></svg>', True),
        ("a.css", "a { background: url( https://example/x.png) }", True),
        (
            "a.html",
            '<a href="https://example/">there</a><img src="../x.png"><script src="x.js"></script>',
            False,
        ),
        ("a.svg", '<svg xmlns="http://www.w3.org/2000/svg"><use href="#head"/></svg>', False),
        ("a.css", "a { background: url(data:image/svg+xml;charset=utf-8,%3Csvg/%3E) }", False),
    ],
)
def test_what_a_browser_would_fetch_elsewhere_is_named(
    tmp_path: Path, name: str, text: str, fetched: bool
) -> None:
    (tmp_path / name).write_text(text)
    lines = list(check(tmp_path))
    assert len(lines) == fetched
    assert all(name in line and "example" in line for line in lines)


def test_the_readmes_table_is_read_row_by_row() -> None:
    rows = table_rows((ROOT / "README.md").read_text())
    assert len({(row.checkpoint, row.config) for row in rows}) == len(rows) > 5
    assert [row.rank for row in rows if row.state != "ok"] == ["-"] * sum(row.state != "ok" for row in rows)
    # Bounds have a digit less.
    assert all(row.low - 0.005 <= row.value <= row.high + 0.005 for row in rows)


def test_a_readme_without_a_table_is_an_error() -> None:
    with pytest.raises(WayError, match=r"README\.md"):
        table_rows("# octjob\n")

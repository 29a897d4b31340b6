"""The page of many runs in a real browser: it asks for nothing, fits, can be read by everyone, and prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from doubles.browser import MODES, chromium
from doubles.many_runs import many_runs
from playwright.sync_api import Browser

from octjob.report.page import to_html

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("many") / "report.html"
    path.write_text(to_html(many_runs(2000, num_unfinished=60)))
    return path


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("unfolded", [False, True])
def test_it_asks_for_nothing_fits_and_breaks_no_rule_of_access(
    browser: Browser, path: Path, mode: str, unfolded: bool
) -> None:
    opened = browser.new_page(**MODES[mode])  # type: ignore[arg-type]
    heard: list[str] = []
    opened.on("console", lambda message: heard.append(message.text))
    opened.on("pageerror", lambda error: heard.append(str(error)))
    opened.on("request", lambda asked: heard.append(asked.url) if asked.url != path.as_uri() else None)
    opened.goto(path.as_uri())
    if unfolded:
        opened.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert heard == []
    assert opened.evaluate("document.documentElement.scrollWidth") == MODES[mode]["viewport"]["width"]  # type: ignore[index]
    found = Axe().run(opened).response["violations"]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found] == []
    opened.close()


def test_without_scripts_it_says_how_many_of_how_many(browser: Browser, path: Path) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        opened = context.new_page()
        opened.goto(path.as_uri())
        assert opened.locator(".many p").is_visible()
        assert opened.locator(".histogram rect").count() > 5


def test_a_filter_counts_among_the_shown(browser: Browser, path: Path) -> None:
    opened = browser.new_page()
    opened.goto(path.as_uri())
    shown = opened.locator(".runs tbody tr:not(.rule)").count()
    opened.fill("#filter", "k30")
    said = " ".join(opened.locator(".tools").inner_text().split())
    assert re.search(rf"\b\d+ of {shown} runs shown, of 1,940$", said)
    opened.close()


def test_it_prints_on_few_pages_and_says_there_what_it_leaves_out(browser: Browser, path: Path) -> None:
    opened = browser.new_page()
    opened.goto(path.as_uri())
    pdf = opened.pdf(format="A4", print_background=True)
    assert 1 <= len(re.findall(rb"/Type\s*/Page[^s]", pdf)) <= 16
    opened.emulate_media(media="print")
    assert opened.locator(".many p").is_visible()
    opened.close()

"""The report in a real browser: it asks for nothing, fits, can be read by everyone, and prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from doubles.boards import CHECKPOINTS, CONFIGS, document, images
from doubles.browser import MODES, chromium
from playwright.sync_api import Browser, Page

from octjob.report.page import to_html

pytestmark = pytest.mark.slow

RUNS = {12: CONFIGS, 36: tuple(f"configuration_{number:02}" for number in range(12))}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module", params=RUNS, ids=lambda size: f"{size} runs")
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(to_html(document(CHECKPOINTS, RUNS[request.param])))
    return request.param, path


@pytest.fixture(params=MODES)
def page(
    request: pytest.FixtureRequest, browser: Browser, report: tuple[int, Path]
) -> Iterator[tuple[str, Page, list[str]]]:
    opened = browser.new_page(**MODES[request.param])
    heard: list[str] = []
    opened.on("console", lambda message: heard.append(message.text))
    opened.on("pageerror", lambda error: heard.append(str(error)))
    opened.on("request", lambda asked: heard.append(asked.url) if asked.url != report[1].as_uri() else None)
    opened.goto(report[1].as_uri())
    yield request.param, opened, heard
    opened.close()


def test_it_asks_for_nothing_says_nothing_fits_and_breaks_no_rule_of_access(
    page: tuple[str, Page, list[str]],
) -> None:
    mode, opened, heard = page
    assert heard == []
    width = MODES[mode]["viewport"]["width"]  # type: ignore[index]
    assert opened.evaluate("document.documentElement.scrollWidth") == width
    found = Axe().run(opened).response["violations"]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found] == []


def test_every_picture_is_named_or_hidden_and_every_run_has_its_numbers_in_text(
    page: tuple[str, Page, list[str]],
) -> None:
    _, opened, _ = page
    unnamed = opened.evaluate(
        "[...document.querySelectorAll('svg')].filter(s => !s.closest('[aria-hidden=true]')"
        " && !(s.getAttribute('role') === 'img' && s.getAttribute('aria-label'))).length"
    )
    assert unnamed == 0
    text = re.sub(r"\s+", " ", opened.evaluate("document.body.textContent"))
    labels = opened.evaluate(
        "[...document.querySelectorAll('svg.plot')].map(s => s.getAttribute('aria-label'))"
    )
    numbers = {number for label in labels for number in re.findall(r"[−+]?\d\.\d+", label)}
    assert len(numbers) > 20
    assert [number for number in sorted(numbers) if number not in text] == []


def test_the_leader_stands_at_one_place_in_every_row(page: tuple[str, Page, list[str]]) -> None:
    _, opened, _ = page
    opened.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    for media in ("screen", "print"):
        opened.emulate_media(media=media)  # type: ignore[arg-type]
        places = opened.evaluate(
            "[...document.querySelectorAll('.runs .leader')].map(l => l.getBoundingClientRect().x)"
        )
        assert len(places) >= 12
        assert max(places) - min(places) < 0.51, media


def test_without_scripts_the_table_says_the_same(browser: Browser, report: tuple[int, Path]) -> None:
    texts = []
    for enabled in (True, False):
        with browser.new_context(java_script_enabled=enabled) as context:
            opened = context.new_page()
            opened.goto(report[1].as_uri())
            rows = opened.locator(".runs tbody tr")
            texts.append([re.sub(r"\s+", " ", text) for text in rows.all_text_contents()])
    assert texts[0] == texts[1]
    assert len(texts[0]) >= report[0]


def test_it_prints_on_few_pages_and_loses_no_plot(browser: Browser, report: tuple[int, Path]) -> None:
    opened = browser.new_page()
    opened.goto(report[1].as_uri())
    pdf = opened.pdf(format="A4", print_background=True)
    num_pages = len(re.findall(rb"/Type\s*/Page[^s]", pdf))
    assert 1 <= num_pages <= (4 if report[0] == 12 else 8)
    opened.emulate_media(media="print")
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    lost = opened.evaluate(
        "[...document.querySelectorAll('svg.plot')].filter(s => s.getBoundingClientRect().width < 20"
        " || s.getBoundingClientRect().height < 10).length"
    )
    assert lost == 0
    opened.close()


def test_the_first_screen_holds_sentence_facts_and_twelve_runs(
    browser: Browser, report: tuple[int, Path]
) -> None:
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    opened.goto(report[1].as_uri())
    bottoms = opened.evaluate(
        "[...document.querySelectorAll('#table tbody tr')].map(r => r.getBoundingClientRect().bottom)"
    )
    assert len(bottoms) >= 12
    assert max(bottoms) <= 800
    assert opened.evaluate("document.documentElement.outerHTML.length") < 500_000
    opened.close()


@pytest.mark.parametrize("mode", MODES)
def test_what_is_folded_fits_and_breaks_no_rule_of_access_either(
    browser: Browser, report: tuple[int, Path], mode: str
) -> None:
    opened = browser.new_page(**MODES[mode])
    opened.goto(report[1].as_uri())
    opened.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    width = MODES[mode]["viewport"]["width"]  # type: ignore[index]
    assert opened.evaluate("document.documentElement.scrollWidth") == width
    found = Axe().run(opened).response["violations"]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found] == []
    opened.close()


def test_paper_says_where_digests_and_checklists_are(browser: Browser, report: tuple[int, Path]) -> None:
    opened = browser.new_page()
    opened.goto(report[1].as_uri())
    pointer = opened.locator(".print-only")
    folded = opened.locator("details.more, section[aria-labelledby=checklists]")
    assert not pointer.is_visible()
    assert folded.count() > 5
    assert all(one.is_visible() for one in folded.all())
    opened.emulate_media(media="print")
    assert pointer.is_visible()
    assert "octjob report SWEEP --checklist FILE" in pointer.inner_text()
    assert not any(one.is_visible() for one in folded.all())
    assert opened.locator(".prose").is_visible()
    opened.close()


def test_the_first_screen_leads_to_what_to_do_next(browser: Browser, report: tuple[int, Path]) -> None:
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    opened.goto(report[1].as_uri())
    link = opened.locator(".next a")
    box = link.bounding_box()
    assert box is not None
    assert box["y"] < 800
    link.click()
    assert opened.evaluate("document.querySelector('#next').getBoundingClientRect().top") < 800
    assert opened.locator(".steps li").count() >= 1
    opened.close()


def test_filter_and_sort_by_keyboard(browser: Browser, report: tuple[int, Path]) -> None:
    opened = browser.new_page()
    opened.goto(report[1].as_uri())
    opened.fill("#filter", "multi_domain")
    shown = opened.locator(".runs tbody tr:visible:not(.rule)")
    assert shown.count() == report[0] // 3
    assert all("multi_domain" in text for text in shown.all_text_contents())
    opened.fill("#filter", "")
    opened.focus("[data-sort=lift] button")
    opened.keyboard.press("Enter")
    assert opened.get_attribute("[data-sort=lift]", "aria-sort") == "descending"
    values: list[Any] = opened.evaluate(
        "[...document.querySelectorAll('#table tbody tr:not(.rule)')].map(r => +r.dataset.lift)"
    )
    assert values == sorted(values, reverse=True)
    opened.close()


@pytest.mark.parametrize("mode", MODES)
def test_a_page_with_images_shows_them_and_breaks_no_rule(
    browser: Browser, tmp_path: Path, mode: str
) -> None:
    board = document(CHECKPOINTS, CONFIGS)
    path = tmp_path / "report.html"
    path.write_text(to_html(board, images(board)))
    assert path.stat().st_size < 5_000_000
    opened = browser.new_page(**MODES[mode])
    heard: list[str] = []
    opened.on("console", lambda message: heard.append(message.text))
    opened.goto(path.as_uri())
    assert heard == []
    drawn = opened.evaluate("[...document.images].map(i => [i.complete, i.naturalWidth > 0, i.width > 20])")
    assert len(drawn) == 3 * (3 + 2)
    assert all(all(one) for one in drawn)
    assert opened.evaluate("document.documentElement.scrollWidth") == MODES[mode]["viewport"]["width"]  # type: ignore[index]
    found = Axe().run(opened).response["violations"]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found] == []
    opened.close()

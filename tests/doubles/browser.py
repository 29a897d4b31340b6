"""Chromium, as the report's tests look at pages with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from octjob.report.pdf import find_chromium

MODES: dict[str, dict[str, Any]] = {
    "screen": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
    "dark phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Skips without one; CI insists on it."""
    program = find_chromium()
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium on the PATH: `apt-get install chromium`")
        pytest.skip("no Chromium on the PATH")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()

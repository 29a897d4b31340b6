"""Pictures of the report for the README and the documentation's first page, taken of a real page in a browser.

    python -m docs.report_pictures DEMO_DIR     (after `octjob demo --dir DEMO_DIR`; `make pictures` does both)

Each picture carries the digest of what the page was drawn with, so that a test sees when it is of another page.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import click

from docs.png import in_palette, with_text

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
REPORT = ROOT / "octjob" / "report"
MAX_BYTES = 250_000
# The keyword of the text chunk that holds the digest.
KEYWORD = "octjob-report"
# Of the machine that ran the demo nothing is shown.
_SHOWN_FOLDER = "/home/you/demo-out"
# A4 at 96 pixels an inch, with the margins of the page's own @page rule.
_A4 = {"width": 794, "height": 1123}
_MARGIN_PX = 42

# By file name: the browser's settings, the media, and by how much pixels are multiplied.
TAKEN: dict[str, dict[str, Any]] = {
    "report-first-screen.png": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "report-first-screen-dark.png": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "report-phone.png": {
        "viewport": {"width": 390, "height": 844},
        "color_scheme": "light",
        "device_scale_factor": 2,
    },
    "report-page-1.png": {"viewport": _A4, "color_scheme": "light", "device_scale_factor": 1.5},
}


def drawing_digest() -> str:
    """SHA-256 of the templates and styles that the page is drawn with."""
    digest = hashlib.sha256()
    for path in sorted([*REPORT.rglob("*.j2"), *REPORT.rglob("*.css")]):
        digest.update(f"{path.relative_to(REPORT).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def take(page: str) -> dict[str, bytes]:
    """The pictures of a page's HTML by their names, in a Chromium of this machine."""
    from playwright.sync_api import sync_playwright

    from octjob.report.pdf import find_chromium

    program = find_chromium()
    if program is None:
        sys.exit("no Chromium on the PATH: `apt-get install chromium`")
    taken = {}
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name, settings in TAKEN.items():
            opened = browser.new_page(bypass_csp=True, **settings)
            opened.set_content(page)
            if settings["viewport"] is _A4:
                opened.emulate_media(media="print")
                opened.add_style_tag(content=f"body {{ padding: {_MARGIN_PX}px }}")
            taken[name] = opened.screenshot(clip={"x": 0, "y": 0, **settings["viewport"]})
            opened.close()
        browser.close()
    return taken


def main(folder: Path) -> int:
    """Take and store all. folder: what `octjob demo` wrote."""
    source = folder / "sweeps" / "demo" / "leaderboard" / "report.html"
    if not source.exists():
        click.echo(f"{source}: not there; run `octjob demo --dir {folder}` first", err=True)
        return 1
    page = source.read_text().replace(str(folder.resolve()), _SHOWN_FOLDER)
    digest = drawing_digest()
    for name, taken in take(page).items():
        png = with_text(in_palette(taken), KEYWORD, digest)
        if len(png) > MAX_BYTES:
            click.echo(f"{name}: {len(png)} bytes are more than {MAX_BYTES}", err=True)
            return 1
        (PICTURES / name).write_bytes(png)
        click.echo(f"wrote docs/pictures/{name}, {len(png) // 1000} kB")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))

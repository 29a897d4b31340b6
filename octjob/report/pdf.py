"""The page on paper: printed by a Chromium of this machine."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from octjob.errors import SpecError

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_TIMEOUT_S = 120


def find_chromium() -> str | None:
    """The program, where there is one on the PATH."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


def to_pdf(page: bytes) -> bytes:
    """A4. Raises `SpecError` where there is no Chromium, or it does not print."""
    program = find_chromium()
    if program is None:
        raise SpecError(
            f"--format pdf: none of {', '.join(_NAMES)} is on the PATH",
            "Install Chromium, or write html and print it from a browser.",
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "report.html").write_bytes(page)
        printed = folder / "report.pdf"
        options = {
            "headless": "",
            "no-sandbox": "",
            "disable-gpu": "",
            "no-pdf-header-footer": "",
            "user-data-dir": str(folder / "profile"),
            "print-to-pdf": str(printed),
        }
        given = [f"--{name}={value}" if value else f"--{name}" for name, value in options.items()]
        command = [program, *given, (folder / "report.html").as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise SpecError(
                f"{program} has not printed in {_TIMEOUT_S} s", "Print the html from a browser."
            ) from None
        if done.returncode or not printed.exists():
            said = done.stderr.strip().splitlines()
            raise SpecError(
                f"{program} does not print: {said[-1] if said else f'exit {done.returncode}'}",
                "Print the html from a browser.",
            )
        return printed.read_bytes()

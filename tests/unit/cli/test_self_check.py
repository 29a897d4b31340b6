"""`octjob self-check` says what works, and fails by name where something does not."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from octjob.cli import run as octjob
from octjob.data.pixels import available_decoders
from octjob.run import selfcheck


def test_an_installation_that_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert octjob(["self-check"]) == 0
    out = capsys.readouterr().out
    assert "  torch: 2.9.0" in out
    for syntax in available_decoders():
        assert f"  {syntax}: decodes" in out
    assert "!" not in out


def test_quick_imports_no_torch(capsys: pytest.CaptureFixture[str]) -> None:
    assert octjob(["self-check", "--quick"]) == 0
    assert "torch" not in capsys.readouterr().out


def test_a_place_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    monkeypatch.setattr(tempfile, "tempdir", str(gone))
    assert octjob(["self-check", "--quick"]) == 1
    said = capsys.readouterr()
    assert f"! {gone}: cannot be written to (No such file or directory)" in said.out
    assert f"1 checks failed: {gone}" in said.err


def test_a_clock_that_was_reset(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert octjob(["self-check", "--quick"]) == 1
    assert "! clock: 1970-01-01T00:00:00Z (earlier than octjob's own files)" in capsys.readouterr().out


def test_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "_PACKAGES", ("numpy", "no_such_package"))
    good, bad = selfcheck.check_packages()
    assert good.fault is None
    assert bad.fault == "ModuleNotFoundError: No module named 'no_such_package'"


def test_licences_name_everything_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert octjob(["self-check", "--licences"]) == 0
    out = capsys.readouterr().out
    assert "octjob" in out
    assert "BSD-3-Clause: " in out

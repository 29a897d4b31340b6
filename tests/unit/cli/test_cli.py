"""The command line itself: light imports, help everywhere, nearest commands, what a launcher cannot do."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from octjob.cli import COMMANDS, cli
from octjob.cli import run as octjob

ROOT = Path(__file__).parents[3]
HEAVY = {"torch", "pandas", "sklearn", "scipy", "pydicom", "wandb", "kubernetes", "google.cloud", "b2sdk"}


def imported(code: str, *args: str) -> set[str]:
    """Names in sys.modules after running code in a fresh process."""
    report = "import sys, json; print('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}", *args],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100"},
    )
    modules: list[str] = json.loads(done.stdout.splitlines()[-1])
    return set(modules)


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--version"],
        ["submit", "--help"],
        ["train", "--help"],
        ["plan", "--offline", "--matrix", "sweeps/phase3.yaml"],
    ],
)
def test_looking_imports_nothing_heavy(args: list[str]) -> None:
    found = imported(f"from octjob.cli import run; assert run({args!r}) == 0")
    assert not HEAVY & found
    assert "octjob.cli" in found


def test_the_trainer_never_imports_the_cluster() -> None:
    found = imported("import octjob.run.job")
    assert "torch" in found
    assert not {"kubernetes", "jinja2", "octjob.targets", "octjob.spec.expand"} & found


def commands() -> Iterator[list[str]]:
    """Every command and subcommand by its words."""
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield [name]
        if isinstance(command, click.Group):
            yield from ([name, sub] for sub in command.commands)


@pytest.mark.parametrize("words", [[], *commands()], ids=" ".join)
def test_every_command_has_help_with_an_example(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert octjob([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Example:" in text
    assert f"octjob {' '.join(words)}".rstrip() in text.partition("Example:")[2]


def test_the_list_of_commands_says_what_their_own_help_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert octjob(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, (_, summary) in COMMANDS.items():
        assert f" {name} {summary}" in text


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("sumbit", "submit"), ("colect", "collect"), ("stats", "status"), ("trian", "train"), ("plam", "plan")],
)
def test_a_wrong_command_suggests_the_nearest(
    typed: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert octjob([typed]) == 2
    said = capsys.readouterr().err
    assert f"Did you mean {meant!r}?" in said
    assert said.startswith("error: ")


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert octjob([]) == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "submit"])
def test_without_torch_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    real = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> Any:
        return None if name == "torch" else real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(
        f"name: x\noutput: {tmp_path}/out\ncheckpoints: {{a: ./a.pt}}\n"
        f"configs: {{c: {{overrides: {{train.epochs: 1}}}}}}\ndata: {{source: {tmp_path}/bucket}}\n"
    )
    args = {
        "train": ["--run", f"{tmp_path}/out/x/runs/a.c-0"],
        "submit": ["-f", str(sweep), "--target", "local"],
    }
    assert octjob([command, *args[command]]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: this installation cannot train: torch not installed"
    assert lines[1].startswith("hint: Install octjob[train]")
    assert len(lines) == 2
    assert not (tmp_path / "out").exists()


def test_a_message_of_many_lines_is_said_on_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from octjob.cli import schema
    from octjob.errors import AccessError

    def refuse() -> None:
        raise AccessError("the server said:\n  <html>\n  no", "try\nagain")

    monkeypatch.setattr(schema.schema, "callback", lambda what: refuse())
    assert octjob(["schema", "sweep"]) == 4
    assert capsys.readouterr().err == "error: the server said: <html> no\nhint: try again\n"


def test_a_sigterm_before_the_run_catches_signals_asks_to_be_started_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from octjob import extras

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(extras, "require_trainer", lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert octjob(["train", "--run", "out/runs/a.x-0"]) == 75
    assert capsys.readouterr().err.split() == ["interrupted"]
    assert signal.getsignal(signal.SIGTERM) == before

"""What messages tell people to type exists: every `--option` in the package's texts, and every `octjob` command."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from octjob.cli import cli

PACKAGE = Path(__file__).parents[3] / "octjob"
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
COMMAND = re.compile(r"octjob ((?:[a-z][a-z-]* ?){1,2})([^`]*)")
# Programs of others, whose options are theirs.
OTHERS = re.compile(r"\b(kubectl|gcloud|helm|docker|hf|pip|python|uv|create secret)\b")


def commands(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    """Every command's path and options."""
    context = click.Context(command)
    yield path, {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from commands(child, (*path, name))


OPTIONS = dict(commands(cli))
GROUPS = {path[:-1] for path in OPTIONS if len(path) > 1}
EVERY = {option for options in OPTIONS.values() for option in options} | {"--help"}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every string; of f-strings with the expressions as they are written."""
    tree = ast.parse(path.read_text())
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [
                str(part.value) if isinstance(part, ast.Constant) else ast.unparse(part)
                for part in node.values
            ]
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


def wrong_options(text: str) -> list[str]:
    """Options in `text` that neither the command named before them nor, without one, any command has."""
    wrong = []
    for quoted in re.findall(r"`([^`]*)`", text):
        command = COMMAND.search(quoted)
        if command is None or OTHERS.search(quoted):
            continue
        words = tuple(command[1].split())
        path = next((words[:n] for n in (2, 1) if words[:n] in OPTIONS), None)
        if path is None or (path in GROUPS and path != words):
            wrong.append(f"octjob {' '.join(words)}")
        else:
            wrong += [option for option in OPTION.findall(quoted) if option not in OPTIONS[path] | {"--help"}]
    if not OTHERS.search(text):
        wrong += [option for option in OPTION.findall(text) if option not in EVERY]
    return wrong


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_what_a_text_tells_to_type_exists(path: Path) -> None:
    assert {
        f"{path.name}:{line}": wrong for line, text in texts(path) if (wrong := wrong_options(text))
    } == {}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Give --volume-sise.", ["--volume-sise"]),
        ("`octjob plan --target local` shows it.", ["--target"]),
        ("`octjob checkpoint look X`", ["octjob checkpoint look"]),
        ("`octjob submit --dry-run`, or `kubectl get --show-labels`", []),
    ],
)
def test_what_does_not_exist_is_found(text: str, wrong: list[str]) -> None:
    assert wrong_options(text) == wrong

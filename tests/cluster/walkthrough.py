"""`docs/walkthrough.md` as a script: its console blocks are run one after the other, and what they print is compared.

In a block, a line `$ COMMAND` is run by bash, the lines up to the next are what it prints; `(exit N)` as the last of
them says that it fails. Moments, durations and random names are not compared. A block after `<!-- in a terminal -->`
is run in one, and only has to end well.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"(?P<tty><!-- in a terminal -->\n\n)?```console\n(?P<text>.*?)```", re.DOTALL)
_VARIABLE = (
    (re.compile(r"\b(?:\d+d)?(?:\d+h)?(?:\d+m)?\d+(?:\.\d+)?s\b"), "0s"),
    (re.compile(r"\b\d+m\b|\b\d+ s\b"), "0s"),
    (re.compile(r"(-w-0-\d)-[a-z0-9]{5}\b"), r"\1-xxxxx"),
    (re.compile(r"(jobset-[a-z0-9-]+)-[a-z0-9]{5}\b"), r"\1-xxxxx"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?Z?"), "<time>"),
    (re.compile(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}"), "<time>"),
    # All hosts fail alike, and the Job names the one whose end it saw first.
    (re.compile(r"\bworker \d: exit"), "worker 0: exit"),
    # Run ids follow from where the checkpoints lie.
    (re.compile(r"\b[0-9a-f]{8}\b"), "<digest>"),
    (re.compile(r"[ -]{2,}"), " "),
)


@dataclass(frozen=True)
class Step:
    """One command and what the page says that it prints."""

    command: str
    expected: str
    in_terminal: bool


def steps(page: str) -> list[Step]:
    """The commands of a page in their order."""
    found = []
    for block in _BLOCK.finditer(page):
        for part in re.split(r"^\$ ", block["text"], flags=re.MULTILINE)[1:]:
            command, rest = _command(part)
            found.append(Step(command, rest, bool(block["tty"])))
    return found


def _command(part: str) -> tuple[str, str]:
    """A command may go on after a backslash."""
    lines = part.splitlines(keepends=True)
    count = next(i for i, line in enumerate(lines, 1) if not line.endswith("\\\n"))
    return "".join(lines[:count]).rstrip("\n"), "".join(lines[count:])


def carry_out(step: Step, folder: Path, env: Mapping[str, str]) -> str:
    """What the command prints, errors too, with its exit code where that is not 0."""
    argv = ["bash", "-c", step.command]
    if step.in_terminal:
        return _in_terminal(argv, folder, env)
    done = subprocess.run(
        argv,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout + (f"(exit {done.returncode})\n" if done.returncode else "")


def _in_terminal(argv: list[str], folder: Path, env: Mapping[str, str]) -> str:
    leader, follower = pty.openpty()
    process = subprocess.Popen(argv, cwd=folder, env=env, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    said = b""
    try:
        while chunk := os.read(leader, 65536):
            said += chunk
    except OSError:
        pass  # Linux ends a terminal with an error when its last user is gone.
    os.close(leader)
    assert process.wait() == 0, said.decode()
    return said.decode()


def comparable(text: str, folder: Path) -> list[str]:
    """What must be the same every time. folder: where the walk takes place."""
    text = text.replace(str(folder), PLACE)
    for pattern, stand_in in _VARIABLE:
        text = pattern.sub(stand_in, text)
    return [line.rstrip() for line in text.splitlines()]


PLACE = "/home/you/.local/state/octjob/cluster/tryout"


def rewritten(page: str, outputs: Mapping[str, str], folder: Path) -> str:
    """The page with what its commands printed now."""

    def block(match: re.Match[str]) -> str:
        if match["tty"]:
            return match.group()
        said = "".join(
            f"$ {command}\n{outputs[command].replace(str(folder), PLACE)}"
            for command, _ in map(_command, re.split(r"^\$ ", match["text"], flags=re.MULTILINE)[1:])
        )
        return f"```console\n{said}```"

    return _BLOCK.sub(block, page)

"""What the source is like, counted: one column for each revision or checkout, to compare before and after.

    python -m benchmarks.structure 2d116e1 .

A column is a git revision of this repository or a path with an `octjob` folder in it. The package is counted, its
tests are not. Functions and files are read with `ast`; the frames come from a real run (`benchmarks.frames`).
"""

from __future__ import annotations

import argparse
import ast
import io
import math
import statistics
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.frames import MODES, ROOT, FramesError, frames_to_step

LONG_FILE = 300
METRIC_NAMES = {
    "loss",
    "log_loss",
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "macro_auroc",
    "macro_auprc",
    "quadratic_kappa",
    "brier",
    "ece",
    "per_class_f1",
    "per_class_auroc",
    "per_class_auprc",
}
STATE_NAMES = {
    "starting",
    "queued",
    "pending",
    "waiting",
    "running",
    "ending",
    "finished",
    "succeeded",
    "failed",
    "interrupted",
    "missing",
    "paused",
    "gone",
    "restarting",
    "invalid",
    "cancelled",
    "unreadable",
    "held",
    "putout",
    "noresult",
    "outoftime",
}

Trees = Mapping[Path, ast.Module]
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Sized:
    """A function: where it is, and its lines from `def` to its end."""

    name: str
    lines: int


def read(package: Path) -> Trees:
    """The modules of a package, by path below it."""
    return {path.relative_to(package): ast.parse(path.read_text()) for path in sorted(package.rglob("*.py"))}


def functions(trees: Trees) -> list[Sized]:
    """Every function and method, nested ones too, the longest last."""
    found = [
        Sized(f"{path}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, Function)
    ]
    return sorted(found, key=lambda one: (one.lines, one.name))


def importers(trees: Trees, folder: str, module: str) -> list[str]:
    """The modules in `folder` that import `module` or something below it, anywhere in them."""
    return [
        str(path) for path, tree in trees.items() if path.parts[0] == folder and module in _imported(tree)
    ]


def _imported(tree: ast.Module) -> set[str]:
    """Every imported module, and the packages above it."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {".".join(name.split(".")[: i + 1]) for name in names for i in range(name.count(".") + 1)}


def metric_lists(trees: Trees) -> list[str]:
    """Literal tuples, lists, sets and dicts (their keys) that name at least three metrics: `file:line`."""
    return [
        f"{path}:{node.lineno}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict)
        and len(METRIC_NAMES & _strings(node.keys if isinstance(node, ast.Dict) else node.elts)) >= 3
    ]


def _strings(nodes: list[ast.expr] | list[ast.expr | None]) -> set[str]:
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def state_vocabularies(trees: Trees) -> list[str]:
    """Named Literals and Enums with at least two names of run states, or built on one: `file:Name`."""
    named = [(path, *one) for path, tree in trees.items() for node in tree.body for one in _vocabulary(node)]
    known: set[str] = set()
    while (
        grown := {
            name
            for _, name, words, built_on in named
            if len({word.lower() for word in words} & STATE_NAMES) >= 2 or built_on & known
        }
        - known
    ):
        known |= grown
    return [f"{path}:{name}" for path, name, _, _ in named if name in known]


def _vocabulary(node: ast.stmt) -> Iterator[tuple[str, set[str], set[str]]]:
    """The name, words and underlying names of `Name = Literal[...]` and of `class Name(Enum)`."""
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        value = node.value
        if (
            isinstance(value, ast.Subscript)
            and isinstance(value.value, ast.Name)
            and value.value.id == "Literal"
        ):
            parts = value.slice.elts if isinstance(value.slice, ast.Tuple) else [value.slice]
            built_on = {part.id for part in parts if isinstance(part, ast.Name)}
            yield node.targets[0].id, _strings(parts), built_on
    elif isinstance(node, ast.ClassDef) and any("Enum" in ast.unparse(base) for base in node.bases):
        members = [one.value for one in node.body if isinstance(one, ast.Assign)]
        yield node.name, _strings(members), set()


def count_frames(tree: Path) -> str:
    """Frames to the first optimizer step by mode, `-` where the tiny run cannot be carried out."""
    counts = []
    for mode in MODES:
        try:
            counts.append(str(len(frames_to_step(tree, mode))))
        except FramesError:
            counts.append("-")
    return ", ".join(counts)


def describe(tree: Path, frames: Callable[[Path], str] = count_frames) -> dict[str, str]:
    """Every number by its name, for the checkout `tree`."""
    package = tree / "octjob"
    trees = read(package)
    sizes = functions(trees)
    lines = [one.lines for one in sizes]
    long = [path for path in trees if len((package / path).read_text().splitlines()) > LONG_FILE]
    return {
        "functions": str(len(sizes)),
        "lines of a function, median": f"{statistics.median(lines):g}",
        "lines of a function, 95 %": f"{_percentile(lines, 0.95)}",
        "lines of the longest function": f"{sizes[-1].lines} ({sizes[-1].name})",
        f"files over {LONG_FILE} lines": str(len(long)),
        "cli modules that import octjob.targets": str(len(importers(trees, "cli", "octjob.targets"))),
        "lists of metric names": str(len(metric_lists(trees))),
        "vocabularies of run states": str(len(state_vocabularies(trees))),
        f"frames from octjob train to the step ({', '.join(MODES)})": frames(tree),
    }


def _percentile(values: list[int], share: float) -> int:
    """The smallest value that at least this share of them does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


@contextmanager
def checkout(name: str) -> Iterator[Path]:
    """A folder as it is, or the revision's files in a folder of their own."""
    if (Path(name) / "octjob").is_dir():
        yield Path(name).resolve()
        return
    command = ["git", "-C", str(ROOT), "archive", name, "octjob", "configs", "sweeps"]
    archive = subprocess.run(command, capture_output=True)
    if archive.returncode:
        raise SystemExit(f"error: {name}: no folder with octjob in it, and {archive.stderr.decode().strip()}")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)


def table(columns: Mapping[str, Mapping[str, str]]) -> str:
    """A Markdown table: a row for each number, a column for each tree."""
    rows = [["", *columns], ["---"] * (len(columns) + 1)]
    names = next(iter(columns.values()))
    rows += [[name, *(column[name] for column in columns.values())] for name in names]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Print the table, then where the counted places are."""
    parser = argparse.ArgumentParser(description="Count what the source is like.")
    parser.add_argument("trees", nargs="+", help="git revisions, or paths with an octjob folder")
    parser.add_argument("--where", action="store_true", help="also name the places counted")
    arguments = parser.parse_args()
    columns, places = {}, []
    for name in arguments.trees:
        with checkout(name) as tree:
            columns[name] = describe(tree)
            trees = read(tree / "octjob")
            for title, found in (
                ("lists of metric names", metric_lists(trees)),
                ("vocabularies of run states", state_vocabularies(trees)),
                ("cli modules that import octjob.targets", importers(trees, "cli", "octjob.targets")),
            ):
                places.append(f"{name}, {title}: {', '.join(found)}")
    print(table(columns))
    if arguments.where:
        print("", *places, sep="\n")


if __name__ == "__main__":
    main()

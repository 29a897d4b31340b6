"""A name that others gave, or that two of our own programs say to each other, is spelled in one module."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from octjob import env

PACKAGE = Path(__file__).parents[3] / "octjob"
TEMPLATES = PACKAGE / "targets/kubernetes/documents/templates"
KUBERNETES = PACKAGE / "targets/kubernetes"


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """Texts of a module by line, pieces of f-strings too, but no docstrings: those may speak of anything."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def spelled(pattern: str, under: Path, home: Path) -> list[str]:
    """Where code and templates below `under` spell what matches, but for its home."""
    found = re.compile(pattern)
    in_code = [
        f"{path.relative_to(PACKAGE)}:{line}: {text}"
        for path in sorted(under.rglob("*.py"))
        if path != home
        for line, text in literals(path)
        if found.search(text)
    ]
    in_templates = [
        f"{path.name}:{number}: {line}"
        for path in sorted(TEMPLATES.iterdir())
        if under in path.parents
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if found.search(line)
    ]
    return in_code + in_templates


@pytest.mark.parametrize(
    ("pattern", "home"),
    [
        (r"kueue\.x-k8s\.io", "kueue.py"),
        (r"^(QuotaReserved|Admitted|Evicted|Preempted|Deactivated|WaitingForQuota)$", "kueue.py"),
        (r"jobset\.(sigs\.|x-)k8s\.io", "jobset.py"),
        (r"^(RestartingJobSet|ReachedMaxRestarts|onJobFailureMessagePatterns)$", "jobset.py"),
        (r"cloud\.google\.com/(gke|reservation)-|google\.com/tpu", "gke.py"),
    ],
)
def test_what_another_project_promises_is_spelled_in_its_room(pattern: str, home: str) -> None:
    assert re.search(pattern.strip("^$"), (KUBERNETES / home).read_text())
    assert spelled(pattern, KUBERNETES, KUBERNETES / home) == []


def test_our_environment_variables_are_spelled_in_one_module() -> None:
    assert spelled(r"OCTJOB_[A-Z_]*[A-Z]", PACKAGE, PACKAGE / "env.py") == []


def test_documentation_in_code_names_only_variables_that_there_are() -> None:
    known = {value for value in vars(env).values() if isinstance(value, str)}
    named = {
        name
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(r"\b_?OCTJOB_[A-Z_]*[A-Z]\b", path.read_text())
    }
    assert named <= known


def test_what_the_manifest_sets_is_read_by_somebody() -> None:
    rooms = (PACKAGE / "run", PACKAGE / "runtime")
    readers = "\n".join(path.read_text() for room in rooms for path in room.glob("*.py"))
    names = {value: name for name, value in vars(env).items() if isinstance(value, str)}
    assert [one for one in env.SET_BY_MANIFEST if f"env.{names[one]}" not in readers] == []
    writers = (TEMPLATES / "jobset.yaml.j2", TEMPLATES.parent / "cache_mount.py")
    written = "\n".join(path.read_text() for path in writers)
    assert set(re.findall(r"env\.([A-Z_]+)", written)) == {names[one] for one in env.SET_BY_MANIFEST}

"""What `benchmarks.structure` counts, on sources whose numbers are known."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks import structure
from benchmarks.structure import (
    checkout,
    describe,
    functions,
    importers,
    metric_lists,
    read,
    state_vocabularies,
    table,
)

ROOT = Path(__file__).parents[3]


def package(folder: Path, **files: str) -> Path:
    """A checkout with these modules of `octjob`; `cli__plan` is cli/plan.py."""
    for name, text in files.items():
        path = folder / "octjob" / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_functions_are_measured_with_methods_and_nested_ones(tmp_path: Path) -> None:
    method = "class A:\n    def long(self):\n        def inner():\n            pass\n        return inner\n"
    package(tmp_path, a=f"{method}\nasync def f(): ...\n")
    sizes = functions(read(tmp_path / "octjob"))
    assert [(one.name, one.lines) for one in sizes] == [("a.py:f", 1), ("a.py:inner", 2), ("a.py:long", 4)]


@pytest.mark.parametrize(
    ("source", "counted"),
    [
        ("import octjob.targets.local", True),
        ("from octjob.targets import local", True),
        ("from octjob import targets", True),
        ("def f():\n    from octjob.targets.kubernetes.phase import Phase", True),
        ("from octjob.targets_of_old import x", False),
        ("from octjob.spec import sweep", False),
    ],
)
def test_an_import_of_targets_is_counted_however_it_is_written(
    tmp_path: Path, source: str, counted: bool
) -> None:
    package(tmp_path, cli__plan=source, run__job=source)
    assert importers(read(tmp_path / "octjob"), "cli", "octjob.targets") == ["cli/plan.py"] * counted


@pytest.mark.parametrize(
    ("source", "counted"),
    [
        ("A = ('accuracy', 'macro_f1', 'loss')", True),
        ("A = ['accuracy', 'macro_f1', 'loss', 'other']", True),
        ("A = {'accuracy', 'macro_f1', 'loss'}", True),
        ("A = {'accuracy': 1, 'macro_f1': 2, 'loss': 3}", True),
        ("a: Literal['accuracy', 'macro_f1', 'loss']", True),
        ("A = ('accuracy', 'macro_f1')", False),
        ("A = {1: 'accuracy', 2: 'macro_f1', 3: 'loss'}", False),
    ],
)
def test_a_list_of_metric_names_is_a_literal_of_three(tmp_path: Path, source: str, counted: bool) -> None:
    package(tmp_path, a=source)
    assert metric_lists(read(tmp_path / "octjob")) == ["a.py:1"] * counted


def test_a_vocabulary_of_states_is_known_by_two_words_or_by_what_it_is_built_on(tmp_path: Path) -> None:
    package(
        tmp_path,
        a="State = Literal['Running', 'Failed']\nKind = Literal['best', 'last']\nOne = Literal['failed', 'probe']",
        b="More = Literal[State, 'lost']\nEven = Literal[More, 'odd']",
        c="class Phase(StrEnum):\n    A = 'queued'\n    B = 'gone'\nclass Colour(Enum):\n    RED = 'red'",
    )
    found = state_vocabularies(read(tmp_path / "octjob"))
    assert found == ["a.py:State", "b.py:More", "b.py:Even", "c.py:Phase"]


def test_the_table_has_a_column_for_each_tree(tmp_path: Path) -> None:
    before = package(tmp_path / "before", a="def f():\n    pass\n" + "#\n" * 300)
    after = package(tmp_path / "after", a="def f():\n    pass\n\n\ndef g(): ...\n")
    columns = {tree.name: describe(tree, frames=lambda tree: "8") for tree in (before, after)}
    lines = table(columns).splitlines()
    assert lines[0] == "|  | before | after |"
    assert "| functions | 1 | 2 |" in lines
    assert "| files over 300 lines | 1 | 0 |" in lines
    assert "| lines of the longest function | 2 (a.py:f) | 2 (a.py:f) |" in lines
    assert lines[-1].endswith("| 8 | 8 |")


def test_a_revision_is_read_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path), *words], check=True
        )

    package(tmp_path, a="x = 1\n")
    for folder in ("configs", "sweeps"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.yaml").touch()
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "Begin")
    package(tmp_path, a="x = 2\n")
    monkeypatch.setattr(structure, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    with checkout("HEAD") as tree:
        assert (tree / "octjob/a.py").read_text() == "x = 1\n"
    with checkout(str(tmp_path)) as tree:
        assert (tree / "octjob/a.py").read_text() == "x = 2\n"


def test_what_is_neither_revision_nor_folder_is_one_error_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^error: nowhere: "), checkout("nowhere"):
        pass

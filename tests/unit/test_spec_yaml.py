"""YAML loading: values, marks, numbers, duplicates, merging."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from octjob.errors import SpecError
from octjob.spec.yaml import Document, load, loads, merge, subdocument

KEYS = st.text("abcdef", min_size=1, max_size=4)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text("xyz -:#", max_size=8),
)
TREES = st.dictionaries(
    KEYS,
    st.recursive(SCALARS, lambda leaf: st.lists(leaf, max_size=3) | st.dictionaries(KEYS, leaf, max_size=3)),
)


@given(TREES)
def test_a_dumped_tree_loads_as_itself_and_every_key_has_its_line(tree: dict[str, object]) -> None:
    text = yaml.safe_dump(tree, default_flow_style=False, sort_keys=False)
    document = loads(text, "f.yaml")
    assert document.data == tree
    lines = text.splitlines()
    for key in tree:
        mark = document.marks[(key,)]
        assert lines[mark.line - 1].startswith((key, f"'{key}'", f'"{key}"', "? "))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("3.0e-05", 3e-5),
        ("10", 10),
        ("-1", -1),
        (".5", 0.5),
        ("1e-3x", "1e-3x"),
        ("1_0", 10),
    ],
)
def test_numbers_are_those_of_yaml_1_2(text: str, value: object) -> None:
    loaded = loads(f"a: {text}", "f.yaml").data["a"]
    assert loaded == value
    assert type(loaded) is type(value)


def test_a_duplicate_key_names_its_line() -> None:
    with pytest.raises(SpecError, match=r"f\.yaml:3: train\.epochs is set twice"):
        loads("train:\n  epochs: 1\n  epochs: 2\n", "f.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not valid YAML"),
        ("- 1\n- 2", "expected a mapping"),
        ("1: x", "keys are names"),
        ("a: !!python/object:os.system x", "not valid YAML"),
    ],
)
def test_what_is_no_config_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=rf"f\.yaml:\d+: .*{message}"):
        loads(text, "f.yaml")


def test_a_missing_file_suggests_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text("a: 1")
    with pytest.raises(SpecError) as error:
        load(tmp_path / "sweeep.yaml")
    assert "no such file" in error.value.message
    assert str(tmp_path / "sweep.yaml") in error.value.hint


@given(TREES, TREES)
def test_merge_is_the_deep_update(base: dict[str, object], over: dict[str, object]) -> None:
    def deep(a: object, b: object) -> object:
        if isinstance(a, dict) and isinstance(b, dict):
            return {**a, **{k: deep(a[k], v) if k in a else v for k, v in b.items()}}
        return b

    merged = merge(Document(base), Document(over))
    assert merged.data == deep(base, over)


def test_merged_marks_follow_the_value_that_won() -> None:
    base = loads("train: {epochs: 1, lr_head: 1.0}\n", "base.yaml")
    over = loads("\n\ntrain:\n  epochs: 2\n", "over.yaml")
    merged = merge(base, over)
    assert str(merged.mark(("train", "epochs"))) == "over.yaml:4"
    assert str(merged.mark(("train", "lr_head"))) == "base.yaml:1"


def test_dotted_keys_become_nested_and_keep_their_marks() -> None:
    document = loads("configs:\n  a:\n    train.epochs: 3\n    model:\n      emb_dim: 8\n", "s.yaml")
    sub = subdocument(document, ("configs", "a"))
    assert sub.data == {"train": {"epochs": 3}, "model": {"emb_dim": 8}}
    assert str(sub.mark(("train", "epochs"))) == "s.yaml:3"
    assert str(sub.mark(("model", "emb_dim"))) == "s.yaml:5"

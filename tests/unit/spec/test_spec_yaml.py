"""YAML loading: values, marks, numbers, duplicates, merging."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
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


LAUGHS = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)


@settings(deadline=None)
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
        ("010", 10),
        ("0b_", "0b_"),
        ("1:30", "1:30"),
        ("2025-08-26", "2025-08-26"),
        ("2025-08-26T10:00:00Z", "2025-08-26T10:00:00Z"),
        ("!!str 1", "1"),
        ("=", "="),
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
        ("a: !!python/object:os.system x", "tag !!python/object:os.system is not read"),
        ("a: !!set {x}", "tag !!set is not read"),
        ("a: !!omap [b: 1]", "tag !!omap is not read"),
        ("a: !!binary aGk=", "tag !!binary is not read"),
        ("a: !!int x", "'x' is no int"),
        ("a: " + "9" * 5000, "a whole number of more than 19 digits"),
        ("a: " + "[" * 10_000, "more than 32 levels"),
        ("a:\n" + "".join(" " * depth + "a:\n" for depth in range(1, 500)), "more than 32 levels"),
        ("a: &a [*a]", "an alias stands for a part that holds it"),
        ("a: &a {b: {c: *a}}", "an alias stands for a part that holds it"),
        ("a: &a 1\nb: [" + "*a, " * 101 + "]", "more than 100 aliases"),
        ("a: [" + "1, " * 20_000 + "]", "more than 20000 nodes"),
        (LAUGHS, "more than 20000 nodes, counting what aliases stand for"),
        ("b: &b {c: 1}\na:\n  <<: *b", "merge keys"),
        ("a: 1\n--- \nb: 2", "found another document"),
        ('a: "\\0"', "a control character"),
        ('a: "\\ud800"', "half a character"),
        ('a: "\\UFFFFFFFF"', "an escape or a version that stands for nothing"),
        ("%YAML " + "1" * 5000 + ".1\n---\na: 1", "an escape or a version that stands for nothing"),
        ("a\x07: 1", r"character '\\x07' is not allowed"),
        ('"a\\e[2J": 1', "cannot be a name: use 1 to 200 printable characters"),
        ("x" * 201 + ": 1", "cannot be a name: use 1 to 200 printable characters"),
        ("? {a: 1}\n: b", "keys are names, got a mapping"),
    ],
)
def test_what_is_no_config_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=rf"f\.yaml:\d+: .*{message}"):
        loads(text, "f.yaml")


def test_an_alias_gives_data_of_its_own() -> None:
    loaded = loads("a: &a {b: 1}\nc: *a\n", "f.yaml")
    assert loaded.data == {"a": {"b": 1}, "c": {"b": 1}}
    assert loaded.data["a"] is not loaded.data["c"]
    assert loaded.marks["c", "b"].line == 1


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"train": 1, "train.epochs": 2}, "train is set twice, as the number 1 and as a mapping"),
        ({"train.epochs": 2, "train": 1}, "train is set twice, as a mapping and as the number 1"),
        ({"train": {"epochs": 1}, "train.epochs": 2}, r"train\.epochs is set twice"),
        ({"train.epochs": 2, "train": {"epochs": 1}}, r"train\.epochs is set twice"),
    ],
)
def test_a_key_set_both_dotted_and_nested_is_set_twice(keys: dict[str, object], message: str) -> None:
    document = loads(yaml.safe_dump({"over": keys}, sort_keys=False), "s.yaml")
    with pytest.raises(SpecError, match=rf"s\.yaml:\d: {message}"):
        subdocument(document, ("over",))


def make_file(path: Path, kind: str) -> Path:
    match kind:
        case "a directory":
            path.mkdir()
        case "a pipe":
            os.mkfifo(path)
        case "a device":
            path.symlink_to("/dev/zero")
        case "symbolic links":
            path.symlink_to(path)
        case "larger than 256 KiB":
            with path.open("wb") as file:
                file.truncate(2**30)
        case "is UTF-16":
            path.write_text("a: 1", encoding="utf-16")
        case "not UTF-8":
            path.write_bytes(b"a: 1\nb: \xff\n")
        case "no file can have this name":
            return Path(f"{path}\0")
        case "name too long":
            return path.with_name("s.yaml" + "x" * 300)
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "a directory",
        "a pipe",
        "a device",
        "symbolic links",
        "larger than 256 KiB",
        "is UTF-16",
        "not UTF-8",
        "no file can have this name",
        "name too long",
    ],
)
def test_only_a_regular_text_file_of_sane_size_is_read(tmp_path: Path, kind: str) -> None:
    with pytest.raises(SpecError, match=rf"(?i)s\.yaml.*{kind}") as error:
        load(make_file(tmp_path / "s.yaml", kind))
    assert error.value.message.isprintable()


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("a: 1", encoding="utf-8-sig")
    assert load(tmp_path / "s.yaml").data == {"a": 1}


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

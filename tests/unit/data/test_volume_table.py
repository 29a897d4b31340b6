"""A table of one's own is read whole and strictly: each mistake is one error with its place and a hint."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from doubles.own_volumes import CLASSES, rows_of, write_table
from hypothesis import given, settings
from hypothesis import strategies as st

from octjob.data import sheet
from octjob.data.manifest import NOT_REPORTED
from octjob.data.volume_table import VolumeTable, read_volume_table
from octjob.errors import AccessError, DataError, OctjobError
from octjob.spec.experiment import Classes, Data

MAPPING = {name: index for index, name in enumerate(CLASSES)}
# A row for each class, so that the table is whole.
MINIMAL = "path,label,participant,split\na.nii,normal,1,train\nb.nii,amd,2,val\nc.npy,dme,3,test\n"


def data_of(path: Path, **keys: Any) -> Data:
    return Data(layout="table", table=str(path), source=str(path.parent), **keys)


def read(path: Path, mapping: dict[str, int] | None = None, **keys: Any) -> VolumeTable:
    return read_volume_table(data_of(path, **keys), Classes(mapping=mapping or MAPPING))


def written(folder: Path, content: str | bytes, name: str = "volumes.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(path: Path, **keys: Any) -> OctjobError:
    with pytest.raises(OctjobError) as caught:
        read(path, **keys)
    return caught.value


def test_rows_are_read_as_they_are_written(tmp_path: Path) -> None:
    rows = rows_of(train=2, val=1)
    table = read(write_table(tmp_path / "volumes.csv", rows))
    assert {(r.key, r.participant, r.laterality, r.device) for r in table.rows} == {
        (r["path"], r["participant"], r["eye"], r["device"]) for r in rows
    }
    assert {(p.id, p.study_group, p.label, p.split, p.site, p.age) for p in table.participants} == {
        (r["participant"], r["label"], MAPPING[r["label"]], r["split"], r["site"], r["age"]) for r in rows
    }


def test_four_columns_are_enough(tmp_path: Path) -> None:
    table = read(written(tmp_path, MINIMAL))
    assert {(r.laterality, r.device) for r in table.rows} == {("", NOT_REPORTED)}
    assert {(p.site, p.age) for p in table.participants} == {(NOT_REPORTED, None)}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_marks_line_ends_and_delimiters_make_no_difference(
    tmp_path: Path, encoding: str, end: str, suffix: str
) -> None:
    text = MINIMAL.replace("\n", end)
    text = text.replace(",", "\t") if suffix == "tsv" else text
    path = written(tmp_path, (text + end + end).encode(encoding), f"volumes.{suffix}")
    expected = read(written(tmp_path, MINIMAL, "plain.csv"))
    assert read(path).rows == expected.rows
    assert read(path).participants == expected.participants


def test_parquet_says_the_same(tmp_path: Path) -> None:
    rows = [row | {"extra": 1} for row in rows_of(train=2, val=1)]
    frame = pd.DataFrame(rows)
    frame["device"] = frame["device"].astype("category")
    frame["age"] = frame["age"].astype(float)
    frame.to_parquet(tmp_path / "volumes.parquet")
    table = read(tmp_path / "volumes.parquet")
    other = read(write_table(tmp_path / "volumes.csv", rows))
    assert [(r.key, r.device, r.laterality) for r in table.rows] == [
        (r.key, r.device, r.laterality) for r in other.rows
    ]
    assert table.participants == other.participants
    assert table.sheet.unread == other.sheet.unread == ("extra",)


def test_numbers_as_participants_are_text_in_either_file(tmp_path: Path) -> None:
    pd.DataFrame(csv.DictReader(io.StringIO(MINIMAL))).astype({"participant": int}).to_parquet(
        tmp_path / "volumes.parquet"
    )
    assert [p.id for p in read(tmp_path / "volumes.parquet").participants] == ["1", "2", "3"]


def test_columns_may_have_names_of_their_own(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL.replace("participant", "patient").replace("path", "file"))
    assert (
        read(path, columns={"participant": "patient", "path": "file"}).rows
        == read(written(tmp_path, MINIMAL, "plain.csv")).rows
    )
    error = refused(path, columns={"path": "file"})
    assert "no column participant; columns found: file, label, patient, split" in error.message
    # As it stands in the hint it works.
    (typed,) = re.findall(r"`data: (.*)`", error.hint)
    assert yaml.safe_load(typed) == {"columns": {"participant": "patient"}}


def test_full_uris_and_paths_below_the_source_are_one_file(tmp_path: Path) -> None:
    path = written(
        tmp_path, MINIMAL.replace("a.nii", f"file://{tmp_path}/a.nii").replace("b.nii", "gs://bucket/b.nii")
    )
    assert [row.key for row in read(path).rows] == ["a.nii", "gs://bucket/b.nii", "c.npy"]
    twice = written(tmp_path, MINIMAL + f"file://{tmp_path}/a.nii,normal,1,train\n")
    assert f"{twice}:5: column path:" in refused(twice).message
    assert "is there twice (first at" in refused(twice).message


def line(text: str) -> Callable[[str], str]:
    return lambda table: table + text + "\n"


def changed(old: str, new: str) -> Callable[[str], str]:
    assert old in MINIMAL
    return lambda table: table.replace(old, new, 1)


LATER = ",eye,device,site,age"
WIDE = (
    MINIMAL.replace("split\n", f"split{LATER}\n")
    .replace("train\n", "train,L,d,s,40\n")
    .replace("val\n", "val,R,d,s,\n")
    .replace("test\n", "test,l,d,s,61.5\n")
)


@pytest.mark.parametrize(
    ("change", "where", "what", "hint"),
    [
        (
            changed("path,", ""),
            "",
            "no column path; columns found: label, participant, split",
            "data: {columns:",
        ),
        (lambda t: t.replace(",", ";"), "", "no column path", "separated by semicolons"),
        (changed("split\n", "split,split\n"), "", "column 'split' is there 2 times", "a name of its own"),
        (line("d.nii,normal,4"), ":5", "3 cells for 4 columns", "cut off"),
        (line("d.nii,normal,4,train,"), ":5", "5 cells for 4 columns", "a comma in it"),
        (line('"d.nii,normal,4,train'), ":5", "not a table", "quotation mark"),
        (line(",normal,4,train"), ":5", "column path: is empty", "Fill it in"),
        (line("d.nii,,4,train"), ":5", "column label: is empty", "Fill it in"),
        (line("d.nii,normal, ,train"), ":5", "column participant: is empty", "Fill it in"),
        (line("d.nii,normal,4,"), ":5", "column split: is empty", "Fill it in"),
        (line("d.nii,normal,4,training"), ":5", "column split: 'training'", "did you mean train?"),
        (line("d.nii,normal,4,Test"), ":5", "column split: 'Test'", "did you mean test?"),
        (
            line("d.nii,Normal,4,train"),
            ":5",
            "column label: 'Normal' is not in classes.mapping",
            "All labels",
        ),
        (
            line("a.nii,normal,1,train"),
            ":5",
            "column path: 'a.nii' is there twice (first at",
            "the other row",
        ),
        (line("d.nii,normal,2,train"), ":5", "participant 2 has 'val' (first at", "in one split"),
        (line("d.nii,normal,2,val"), ":5", "column label: participant 2 has 'amd' (first at", "one label"),
        (line("/d.nii,normal,4,train"), ":5", "column path: '/d.nii' is neither", "relative to data.source"),
        (line("../d.nii,normal,4,train"), ":5", "'..' segment", "relative to data.source"),
        (line("a\\d.nii,normal,4,train"), ":5", "is neither a path", "relative to data.source"),
        (line("s3://b/d.nii,normal,4,train"), ":5", "scheme s3:// is not supported", "a full URI"),
        (line("gs://b/,normal,4,train"), ":5", "column path", "a full URI"),
        (line("d.mha,normal,4,train"), ":5", "'d.mha' is of no known format", ".nii.gz"),
        (line(f"d.nii,normal,{'4' * 65},train"), ":5", "longer than 64", "Shorten"),
        (
            line("d.nii,normal,4\x07,train"),
            ":5",
            "participant: '4\\x07' is no short printable text",
            "one line",
        ),
        (line('"d\n.nii",normal,4,train'), ":5", "column path", "one line"),
        (changed("c.npy,dme,3,test\n", ""), "", "no row has class dme", "Mappings are merged"),
        (lambda t: t.splitlines()[0], "", "no row below the header", "a row for each volume"),
        (lambda t: "", "", "no column path, label, participant, split; columns found: none", ""),
    ],
)
def test_a_mistake_is_one_error_with_its_place(
    tmp_path: Path, change: Callable[[str], str], where: str, what: str, hint: str
) -> None:
    path = written(tmp_path, change(MINIMAL))
    error = refused(path)
    assert isinstance(error, DataError)
    assert error.message.startswith(f"file://{path}{where}: ")
    assert what in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("old", "new", "where", "what", "hint"),
    [
        ("train,L", "train,", ":2", "column eye: is empty", "Fill it in"),
        ("train,L", "train,OS", ":2", "column eye: 'OS'", "Write L (left, OS) or R (right, OD)"),
        ("train,L,d", "train,L,", ":2", "column device: is empty", "Fill it in"),
        ("train,L,d,s", "train,L,d,", ":2", "column site: is empty", "Fill it in"),
        ("40", "90+", ":2", "column age: '90+' is no age in years", "leave it empty"),
        ("40", "-4", ":2", "column age: '-4'", "leave it empty"),
        (
            "40\n",
            "40\nd.nii,normal,1,train,R,d,t,40\n",
            ":3",
            "column site: participant 1 has 's'",
            "one label",
        ),
        (
            "40\n",
            "40\nd.nii,normal,1,train,R,d,s,41\n",
            ":3",
            "column age: participant 1 has 40.0",
            "one label",
        ),
    ],
)
def test_optional_columns_are_as_strict(
    tmp_path: Path, old: str, new: str, where: str, what: str, hint: str
) -> None:
    assert read(written(tmp_path, WIDE, "whole.csv")).participants[2].age == 61.5
    path = written(tmp_path, WIDE.replace(old, new, 1))
    error = refused(path)
    assert error.message.startswith(f"file://{path}{where}: {what}")
    assert hint in error.hint


def test_text_that_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, (MINIMAL + "d.nii,normal,Müller,train\n").encode("latin-1"))
    assert refused(path).message.startswith(f"file://{path}:5: not UTF-8 text")
    path = written(tmp_path, MINIMAL.encode("utf-16"))
    assert "not UTF-8" in refused(path).message


def test_what_is_no_parquet_file_and_odd_columns_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL, "volumes.parquet")
    assert "not a Parquet file" in refused(path).message
    frame = pd.DataFrame(csv.DictReader(io.StringIO(MINIMAL)))
    frame.assign(split=pd.Timestamp(0)).to_parquet(path)
    assert "column split: holds timestamp" in refused(path).message
    frame.assign(label=["normal", None, "dme"]).to_parquet(path)
    assert f"{path}: row 2: column label: is empty" in refused(path).message


def test_huge_tables_are_refused_before_they_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, MINIMAL)
    monkeypatch.setattr(sheet, "MAX_BYTES", 10)
    assert "more than 10" in refused(path).message
    monkeypatch.undo()
    monkeypatch.setattr(sheet, "MAX_ROWS", 2)
    assert "more than 2 rows" in refused(path).message
    pd.DataFrame(csv.DictReader(io.StringIO(MINIMAL))).to_parquet(tmp_path / "volumes.parquet")
    assert "more than 2 rows" in refused(tmp_path / "volumes.parquet").message


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    error = refused(tmp_path / "none.csv")
    assert isinstance(error, AccessError)
    assert "no such table (data.table)" in error.message


def test_the_mapping_in_the_hint_is_the_one_that_works(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL.replace("amd", '"AMD: wet, ""late"""'))
    (typed,) = re.findall(r"`(classes: .*)`", refused(path).hint)
    mapping = yaml.safe_load(typed)["classes"]["mapping"]
    assert mapping == {'AMD: wet, "late"': 0, "dme": 1, "normal": 2}
    assert len(read(path, mapping).rows) == 3


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(CELL, min_size=4, max_size=4), max_size=5), quoted=st.booleans())
def test_any_cells_are_read_back_or_refused_with_their_line(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], quoted: bool
) -> None:
    """What is read is what was written, stripped; every refusal names the file."""
    path = tmp_path_factory.mktemp("any") / "volumes.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
        writer.writerow(["path", "label", "participant", "split"])
        writer.writerows([f"{i}.npy", name, str(i), "train"] for i, name in enumerate(CLASSES))
        writer.writerows(rows)
    try:
        table = read(path)
    except DataError as error:
        assert error.message.startswith(f"file://{path}")  # noqa: PT017
        return
    kept = [tuple(cell.strip() for cell in row) for row in rows]
    found = {cells for _, cells in table.sheet.rows}
    assert {cells for cells in kept if any(cells)} <= found
    assert len(table.rows) == 3 + sum(any(cells) for cells in kept)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200), suffix=st.sampled_from(["csv", "tsv", "parquet"]))
def test_any_bytes_are_a_table_or_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("any") / f"volumes.{suffix}"
    path.write_bytes(data)
    assert isinstance(refused(path), DataError)

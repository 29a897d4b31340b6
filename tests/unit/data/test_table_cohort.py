"""From a table and its files to a cohort: what is selected, what is missing, and what stands for a volume."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from doubles.own_volumes import CLASSES, own_data, rows_of, write_table, write_volumes

from octjob.data.cohort import Cohort
from octjob.data.sources import Sources
from octjob.data.table_cohort import find_table_cohort
from octjob.errors import DataError, SpecError
from octjob.spec.experiment import Classes, Data, Experiment
from octjob.storage.base import ObjectInfo

MAPPING = {name: index for index, name in enumerate(CLASSES)}


def cohort(table: Path, source: Path | None = None, **keys: Any) -> Cohort:
    data = Data(layout="table", table=str(table), source=str(source or table.parent), **keys)
    return find_table_cohort(Experiment(data=data, classes=Classes(mapping=MAPPING))).cohort


def test_everyone_is_there_by_participant_and_path(tmp_path: Path) -> None:
    found = cohort(own_data(tmp_path, train=3, val=2))
    assert len(found.participants) == 15
    assert found.coverage.share == 1
    keys = [volume.record.key for volume in found.volumes]
    assert keys == sorted(row["path"] for row in rows_of(train=3, val=2))
    assert found.class_counts("train", 3) == (3, 3, 3)
    assert found.flow.steps == ()


@pytest.mark.parametrize(
    ("keys", "kept"),
    [
        ({"sites": ("Lyon",)}, lambda row: row["site"] == "Lyon"),
        ({"devices": ("cirrus",)}, lambda row: row["device"] == "cirrus"),
        ({"laterality": "left"}, lambda row: row["eye"] == "L"),
        ({"volumes": "one"}, lambda row: row["eye"] == "L"),
    ],
)
def test_selections_keep_what_they_say(tmp_path: Path, keys: dict[str, Any], kept: Any) -> None:
    found = cohort(own_data(tmp_path), **keys)
    rows = [row for row in rows_of() if kept(row)]
    assert {v.record.key for v in found.volumes} == {row["path"] for row in rows}
    assert {p.id for p in found.participants} == {row["participant"] for row in rows}


@pytest.mark.parametrize(
    ("key", "value", "column"),
    [("sites", ("Lyon",), "site"), ("devices", ("cirrus",), "device"), ("laterality", "left", "eye")],
)
def test_selecting_by_a_column_that_is_not_there_is_refused(
    tmp_path: Path, key: str, value: Any, column: str
) -> None:
    rows = [{k: v for k, v in row.items() if k != column} for row in rows_of()]
    write_volumes(tmp_path, rows)
    with pytest.raises(SpecError, match=f"data.{key}: selects by column {column}") as caught:
        cohort(write_table(tmp_path / "volumes.csv", rows), **{key: value})
    assert f"Remove data.{key}" in caught.value.hint


def test_a_value_that_no_row_has_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no 'Cirrus'") as caught:
        cohort(own_data(tmp_path), devices=("Cirrus",))
    assert caught.value.hint == "Did you mean 'cirrus'?"


@pytest.mark.parametrize("per_class", [{"train": 2, "val": 1}, {"train": 9, "val": 4}])
def test_missing_files_are_named_with_their_lines(tmp_path: Path, per_class: dict[str, int]) -> None:
    """Few are looked up one by one, many by listing."""
    table = own_data(tmp_path, **per_class)
    rows = rows_of(**per_class)
    for number in (3, 7, 11):
        (tmp_path / rows[number]["path"]).unlink()
    with pytest.raises(DataError) as caught:
        cohort(table)
    assert caught.value.message == (
        f"file://{table}:5: column path: no file file://{tmp_path}/{rows[3]['path']}, nor those of 2 more of "
        f"{len(rows)} rows (9, 13)"
    )


def test_files_are_found_anywhere(tmp_path: Path) -> None:
    rows = rows_of()
    write_volumes(tmp_path / "b", rows)
    full = [row | {"path": f"file://{tmp_path}/b/{row['path']}"} for row in rows]
    found = cohort(write_table(tmp_path / "a/volumes.csv", full))
    assert {v.record.key for v in found.volumes} == {row["path"] for row in full}
    source = Sources(f"{tmp_path}/a")
    record = found.volumes[0].record
    assert source.get(record.key) == (tmp_path / "b" / rows[0]["path"]).read_bytes()
    assert source.head(record.key).key == record.key
    assert source.get_range(record.key, 0, 2) == b"\x1f\x8b"


def test_a_volumes_identity_follows_from_whose_it_is_where_it_is_and_what_it_holds(tmp_path: Path) -> None:
    table = own_data(tmp_path, ".npy")
    before = {v.record.key: v.record.sop_instance_uid for v in cohort(table).volumes}
    assert len(set(before.values())) == len(before)
    assert {v.record.key: v.record.sop_instance_uid for v in cohort(table).volumes} == before
    turned = {v.record.key: v.record.sop_instance_uid for v in cohort(table, axes="WHD").volumes}
    assert not set(turned.values()) & set(before.values())
    first = next(iter(before))
    replaced = (tmp_path / first).read_bytes()
    (tmp_path / first).write_bytes(replaced[:-1] + b"\0")
    os.utime(tmp_path / first, ns=(1, 1))
    after = {v.record.key: v.record.sop_instance_uid for v in cohort(table).volumes}
    assert {key for key in before if before[key] != after[key]} == {first}


def with_checksums(monkeypatch: pytest.MonkeyPatch, checksum: str) -> None:
    """As a store that knows them, of which every file has the same."""
    plain = Sources.find

    def find(self: Sources, keys: Any) -> dict[str, ObjectInfo]:
        return {k: ObjectInfo(k, i.size, i.version, checksum) for k, i in plain(self, keys).items()}

    monkeypatch.setattr(Sources, "find", find)


def test_files_of_one_checksum_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short one is that of different files by chance: nobody is refused for that, and nobody hides behind it."""
    table, rows = own_data(tmp_path, ".npy"), rows_of(".npy")
    with_checksums(monkeypatch, "crc32c:00000000")
    assert len(cohort(table).volumes) == len(rows)
    (tmp_path / rows[9]["path"]).write_bytes((tmp_path / rows[4]["path"]).read_bytes())
    with pytest.raises(DataError, match="of participants p003 and p005 holds the same bytes as"):
        cohort(table)


def test_one_volume_twice_is_refused_with_both_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = own_data(tmp_path, ".npy", train=1, val=1)
    rows = rows_of(".npy", train=1, val=1)
    (tmp_path / rows[2]["path"]).write_bytes((tmp_path / rows[0]["path"]).read_bytes())
    with_checksums(monkeypatch, "sha1:same")
    with pytest.raises(DataError) as caught:
        cohort(table)
    assert f"file://{table}:4: column path:" in caught.value.message
    assert "of participants p001 and p002 holds the same bytes as" in caught.value.message
    assert f"{rows[0]['path']} (file://{table}:2)" in caught.value.message

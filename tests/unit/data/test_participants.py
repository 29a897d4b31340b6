"""participants.tsv is read whole, strictly, and with ids as text."""

from pathlib import Path

import pytest

from octjob.data.participants import read_participants
from octjob.errors import DataError
from octjob.spec.experiment import CLASS_NAMES, Classes
from octjob.storage.file import FileStore
from tests.doubles.aireadi_bucket import Bucket

HEADER = "participant_id\tclinical_site\tstudy_group\trecommended_split\tretinal_oct\n"


def write(root: Path, text: str) -> FileStore:
    store = FileStore(root.as_uri())
    store.put("participants.tsv", text.encode())
    return store


def read(store: FileStore, classes: Classes | None = None):
    return read_participants(store, "participants.tsv", classes or Classes())


def test_participants_of_every_site_are_found_not_only_ids_in_the_1000s(tmp_path: Path) -> None:
    bucket = Bucket(tmp_path)
    for identity, site in (("1001", "UW"), ("4001", "UCSD"), ("7001", "UAB"), ("0042", "UW")):
        bucket.person(identity, site=site)
    found = read(write_people(bucket))
    assert [(p.id, p.site) for p in found] == [
        ("0042", "UW"),
        ("1001", "UW"),
        ("4001", "UCSD"),
        ("7001", "UAB"),
    ]


def write_people(bucket: Bucket) -> FileStore:
    return bucket.write(manifest=False)


@pytest.mark.parametrize("id_column", ["participant_id", "person_id"])
def test_both_spellings_of_the_id_column(tmp_path: Path, id_column: str) -> None:
    store = write_people(Bucket(tmp_path, id_column).person("7001", label=3, split="val", has_oct=False))
    (person,) = read(store)
    assert (person.id, person.label, person.split, person.has_oct) == ("7001", 3, "val", False)


def test_labels_follow_the_mapping_and_left_out_groups_are_dropped(tmp_path: Path) -> None:
    bucket = Bucket(tmp_path)
    for label in range(4):
        bucket.person(str(1000 + label), label=label)
    found = read(write_people(bucket), Classes(mapping={CLASS_NAMES[0]: 0, CLASS_NAMES[3]: 1}))
    assert {p.id: p.label for p in found} == {"1000": 0, "1003": 1}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            ["1\tUW\thealthy\ttrain\tTRUE", "1\tUW\thealthy\ttrain\tTRUE"],
            [":3", "participant 1", "listed twice"],
        ),
        (["1\tUW\thealthy\ttrain\tTRUE", "1\tUW\thealthy\tval\tTRUE"], [":3", "two splits, train and val"]),
        (["1\tUW\thealthyy\ttrain\tTRUE"], [":2", "participant 1", "'healthyy'", "nearest known: 'healthy'"]),
        (["1\tUW\thealthy\tdev\tTRUE"], [":2", "'dev'"]),
        (["1\tUW\thealthy\ttrain\tyes"], [":2", "'yes'"]),
        (["\tUW\thealthy\ttrain\tTRUE"], [":2", "empty participant_id"]),
        (["1\tUW\thealthy"], [":2", "3 cells for 5 columns"]),
        ([], ["no participants"]),
    ],
)
def test_a_wrong_row_is_an_error_naming_file_line_and_value(
    tmp_path: Path, rows: list[str], words: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        read(write(tmp_path, HEADER + "\n".join(rows)))
    for word in ["participants.tsv", *words]:
        assert word in caught.value.message


def test_a_missing_column_is_named_with_the_columns_found(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(write(tmp_path, "subject\tclinical_site\tstudy_group\n1\tUW\thealthy\n"))
    message = caught.value.message
    assert "participant_id or person_id, recommended_split, retinal_oct" in message
    assert "subject, clinical_site, study_group" in message


def test_a_table_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    store = FileStore(tmp_path.as_uri())
    store.put("participants.tsv", b"\xff\xfe\x00bad")
    with pytest.raises(DataError, match="not UTF-8"):
        read(store)


def test_a_table_with_an_endless_cell_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a table"):
        read(write(tmp_path, HEADER + '1\tUW\t"' + "x" * 200_000))

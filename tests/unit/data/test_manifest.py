"""manifest.tsv is the one list of volumes: complete, strict, both spellings."""

from pathlib import Path

import pytest

from octjob.data.manifest import MANIFEST_KEY, read_manifest
from octjob.errors import AccessError, DataError
from tests.doubles.aireadi_bucket import Bucket


def bucket_of(root: Path, *identities: str, **columns: str) -> Bucket:
    bucket = Bucket(root)
    for identity in identities:
        bucket.person(identity)
        bucket.volume(identity, **columns)
    return bucket


def test_more_than_1000_participants_of_a_device_are_all_found(tmp_path: Path) -> None:
    identities = [str(4000 + i) for i in range(1205)]
    records = read_manifest(bucket_of(tmp_path, *identities).write())
    assert {record.participant for record in records} == set(identities)


def test_every_volume_of_a_participant_is_found_not_one_arbitrary_file(tmp_path: Path) -> None:
    bucket = Bucket(tmp_path).person("1001")
    uids = {bucket.volume("1001", device=d, eye=e) for d in ("topcon_triton", "zeiss_cirrus") for e in "LR"}
    records = read_manifest(bucket.write())
    assert {record.sop_instance_uid for record in records} == uids
    assert {(r.device, r.laterality) for r in records} == {
        (d, e) for d in ("topcon_triton", "zeiss_cirrus") for e in "LR"
    }


@pytest.mark.parametrize("id_column", ["participant_id", "person_id"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_both_id_spellings_with_and_without_leading_slash(tmp_path: Path, id_column: str, slash: str) -> None:
    bucket = Bucket(tmp_path, id_column).person("7001")
    bucket.volume("7001", protocol="cirrus_mac_oct", device="zeiss_cirrus", region="Macula", eye="L")
    row = bucket.volumes[0]
    row["filepath"] = slash + row["filepath"].lstrip("/")
    (record,) = read_manifest(bucket.write())
    assert (record.participant, record.device, record.protocol) == ("7001", "zeiss_cirrus", "cirrus_mac_oct")
    assert record.key.startswith("retinal_oct/structural_oct/zeiss_cirrus/7001/")
    assert (record.height, record.width, record.num_frames, record.laterality) == (12, 10, 8, "L")


@pytest.mark.parametrize(
    "protocol", ["maestro2_macula_6x6_oct", "triton_macula_6x6_oct", "triton_macula_12x12_oct"]
)
@pytest.mark.parametrize("suffix", ["", "a"])
def test_the_cubes_of_angiographies_have_two_published_names(
    tmp_path: Path, protocol: str, suffix: str
) -> None:
    name = f"1001_{protocol}{suffix}_oct_l_2.16.840.1.dcm" if suffix else f"1001_{protocol}_l_2.16.840.1.dcm"
    (record,) = read_manifest(bucket_of(tmp_path, "1001", filepath=f"/scans/{name}").write())
    assert record.protocol == protocol + suffix


def test_outside_the_layout_the_device_comes_from_the_model(tmp_path: Path) -> None:
    store = bucket_of(
        tmp_path, "1001", filepath="/scans/a.dcm", manufacturers_model_name="Spectralis OCT"
    ).write()
    (record,) = read_manifest(store)
    assert (record.device, record.protocol) == ("heidelberg_spectralis", "")


def test_no_manifest_is_access_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    store = Bucket(tmp_path).person("1001").write(manifest=False)
    with pytest.raises(AccessError) as caught:
        read_manifest(store)
    assert store.uri(MANIFEST_KEY) in caught.value.message
    assert f"octjob data index {store.root}" in caught.value.hint


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("laterality", "B"),
        ("height", "0"),
        ("width", "wide"),
        ("number_of_frames", ""),
        ("height", "9" * 5000),
        ("filepath", "../../../../etc/passwd"),
        ("filepath", "/retinal_oct/../../participants.tsv"),
        ("filepath", "//etc/./passwd"),
        ("filepath", "retinal_oct//a.dcm"),
        ("filepath", "retinal_oct/a\0.dcm"),
        ("filepath", "retinal_oct/\x1b[2Ja.dcm"),
        ("filepath", "file:///etc/passwd"),
        ("filepath", "gs://other-bucket/a.dcm"),
        ("filepath", "..\\..\\a.dcm"),
        ("filepath", "a/" * 600),
        ("sop_instance_uid", "../../etc/passwd"),
        ("filepath", "/"),
    ],
)
def test_a_value_that_cannot_be_is_an_error_with_its_line(tmp_path: Path, column: str, value: str) -> None:
    bucket = bucket_of(tmp_path, "1001", "1002")
    bucket.volumes[1][column] = value
    with pytest.raises(DataError, match=rf"manifest.tsv:3: .*{column}") as caught:
        read_manifest(bucket.write())
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 600


@pytest.mark.parametrize("gone", ["column", "value"])
def test_sizes_that_the_manifest_does_not_say_are_unknown(tmp_path: Path, gone: str) -> None:
    bucket = bucket_of(tmp_path, "1001")
    for column in ("height", "width", "number_of_frames"):
        if gone == "column":
            del bucket.volumes[0][column]
        else:
            bucket.volumes[0][column] = "Not reported"
    (record,) = read_manifest(bucket.write())
    assert record.shape == (None, None, None)


def test_a_volume_listed_twice_is_an_error(tmp_path: Path) -> None:
    bucket = bucket_of(tmp_path, "1001", "1002")
    bucket.volumes[1]["sop_instance_uid"] = bucket.volumes[0]["sop_instance_uid"]
    with pytest.raises(DataError, match="listed twice"):
        read_manifest(bucket.write())


def test_missing_columns_are_named(tmp_path: Path) -> None:
    bucket = bucket_of(tmp_path, "1001")
    del bucket.volumes[0]["laterality"]
    with pytest.raises(DataError, match="no column laterality; columns found: manufacturer"):
        read_manifest(bucket.write())

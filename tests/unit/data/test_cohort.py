"""What was expected is counted against what was found, and a loss stops the run."""

from pathlib import Path

import pytest

from octjob.data.cohort import build_cohort, find_cohort
from octjob.data.coverage import Coverage, require
from octjob.data.manifest import MANIFEST_KEY
from octjob.data.participants import Participant
from octjob.data.sampling import class_weights
from octjob.errors import DataError, SpecError
from octjob.spec.experiment import Data, Experiment
from tests.doubles.aireadi_bucket import Bucket

SITES = {"UW": 1000, "UCSD": 4000, "UAB": 7000}


def full_bucket(root: Path) -> Bucket:
    """Each site, class and split once, one volume each: 36 participants."""
    bucket = Bucket(root)
    for site, first in SITES.items():
        for i, (split, label) in enumerate((s, k) for s in ("train", "val", "test") for k in range(4)):
            bucket.person(str(first + i), label=label, split=split, site=site)
            bucket.volume(str(first + i))
    return bucket


def build(bucket: Bucket, data: Data | None = None, find: bool = False):
    experiment = Experiment(data=data or Data())
    return (find_cohort if find else build_cohort)(
        bucket.write(), "participants.tsv", MANIFEST_KEY, experiment
    )


def test_all_sites_are_found_and_counted_by_site_and_split(tmp_path: Path) -> None:
    cohort = build(full_bucket(tmp_path))
    assert len(cohort.participants) == len(cohort.volumes) == 36
    assert cohort.coverage.cells() == {
        (s, p): (4, 4) for s in sorted(SITES) for p in ("train", "val", "test")
    }
    assert cohort.coverage.table().splitlines() == [
        "site  train    val   test    all",
        "UAB     4/4    4/4    4/4  12/12",
        "UCSD    4/4    4/4    4/4  12/12",
        "UW      4/4    4/4    4/4  12/12",
        "all   12/12  12/12  12/12  36/36",
    ]
    assert cohort.class_counts("train", 4) == (3, 3, 3, 3)
    assert len(cohort.split("val")) == 12


def test_losing_two_sites_of_three_is_an_error_that_names_them(tmp_path: Path) -> None:
    bucket = full_bucket(tmp_path)
    bucket.volumes = [row for row in bucket.volumes if row["participant_id"].startswith("1")]
    with pytest.raises(DataError) as caught:
        build(bucket)
    assert "12 of 36 expected participants" in caught.value.message
    assert "4000, 4001" in caught.value.message
    assert "and 14 more" in caught.value.message


def test_each_missing_participant_has_its_own_reason(tmp_path: Path) -> None:
    bucket = full_bucket(tmp_path)
    bucket.person("1900", site="UW")
    bucket.person("1901", site="UW")
    bucket.volume("1901", device="zeiss_cirrus", protocol="cirrus_mac_oct", region="Macula")
    bucket.person("1902", site="UW")
    spectralis = {"device": "heidelberg_spectralis", "region": "Optic Disc"}
    bucket.volume("1902", protocol="spectralis_onh_rc_hr_oct", **spectralis)
    bucket.person("1903", site="UW", has_oct=False)
    bucket.volume("9999")
    cohort = build(bucket, Data(devices=("topcon_triton", "heidelberg_spectralis")), find=True)
    assert cohort.coverage.missing == {
        "1900": "no volume in the manifest",
        "1901": "no volume of the selected device/region/laterality",
        "1902": "only radial volumes",
    }
    assert cohort.coverage.not_expected == ("9999",)
    assert (cohort.coverage.num_found, cohort.coverage.num_expected) == (36, 39)


def test_a_site_filter_takes_its_participants_and_expects_no_others(tmp_path: Path) -> None:
    bucket = full_bucket(tmp_path)
    bucket.person("1900", site="UW")  # without a volume
    bucket.volume("9999")  # of nobody
    cohort = build(bucket, Data(sites=("UW",), min_coverage=0.9), find=True)
    assert {p.site for p in cohort.participants} == {v.participant.site for v in cohort.volumes} == {"UW"}
    assert (cohort.coverage.num_found, cohort.coverage.num_expected) == (12, 13)
    assert {site for site, _ in cohort.coverage.cells()} == {"UW"}
    assert cohort.coverage.missing == {"1900": "no volume in the manifest"}
    assert cohort.coverage.not_expected == ("9999",)
    assert len(build(bucket, Data(sites=("UAB", "UCSD"))).participants) == 24


def test_an_unknown_site_is_an_error_with_the_sites_and_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"data\.sites: .*'UCDS'; present: UAB, UCSD, UW") as caught:
        build(full_bucket(tmp_path), Data(sites=("UW", "UCDS")))
    assert caught.value.hint == "Did you mean 'UCSD'?"


def test_quarantine_counts_against_coverage_only_when_every_volume_is_gone(tmp_path: Path) -> None:
    bucket = full_bucket(tmp_path)
    spare = bucket.volume("1000", eye="L")
    cohort = build(bucket)
    first = {
        v.participant.id: v.record.sop_instance_uid for v in cohort.volumes if v.record.laterality == "R"
    }
    left = cohort.without({first["1000"], first["4000"]})
    assert left.coverage.missing == {"4000": "every volume quarantined"}
    assert {v.record.sop_instance_uid for v in left.volumes if v.participant.id == "1000"} == {spare}
    assert len(left.participants) == 35


def test_an_empty_class_in_a_used_split_is_an_error(tmp_path: Path) -> None:
    bucket = full_bucket(tmp_path)
    gone = {row["participant_id"] for row in bucket.people if "insulin_dep" in row["study_group"]}
    gone &= {row["participant_id"] for row in bucket.people if row["recommended_split"] == "val"}
    bucket.volumes = [row for row in bucket.volumes if row["participant_id"] not in gone]
    with pytest.raises(DataError, match=r"split val: no participant of class insulin_dependent .*3, 3, 3, 0"):
        build(bucket, Data(min_coverage=0.5))
    assert build(bucket, Data(min_coverage=0.5, eval_split="test")).class_counts("val", 4)[3] == 0


def test_with_folds_a_class_may_be_absent_from_one_of_the_two_pooled_splits(tmp_path: Path) -> None:
    bucket = Bucket(tmp_path)
    for number, (split, label) in enumerate(
        [("train", 0), ("train", 1), ("val", 2), ("val", 3), ("test", 0)]
    ):
        bucket.person(str(1000 + number), label=label, split=split)
        bucket.volume(str(1000 + number))
    store = bucket.write()
    assert len(build_cohort(store, "participants.tsv", MANIFEST_KEY, Experiment(), folds=2).volumes) == 5
    with pytest.raises(DataError, match="split train: no participant of class"):
        build_cohort(store, "participants.tsv", MANIFEST_KEY, Experiment())


def test_class_weights_are_of_the_labels_left_after_filtering_on_train_only(tmp_path: Path) -> None:
    bucket = full_bucket(tmp_path)
    for i in range(6):
        bucket.person(f"15{i:02}", label=0)  # in the table, without any volume
        bucket.person(f"16{i:02}", label=3, split="val")
        bucket.volume(f"16{i:02}")
    cohort = build(bucket, Data(min_coverage=0.5))
    labels = [v.participant.label for v in cohort.split("train")]
    weights = class_weights(labels, 4, "auto")
    assert weights is not None
    assert weights.tolist() == [1.0, 1.0, 1.0, 1.0]


def test_the_threshold_itself_is_enough() -> None:
    people = tuple(Participant(str(i), "UW", "healthy", 0, "train", True) for i in range(20))
    require(Coverage(people, {"0": "x"}), 0.95)
    with pytest.raises(DataError):
        require(Coverage(people, {"0": "x", "1": "x"}), 0.95)
    with pytest.raises(DataError, match="no participant with OCT"):
        require(Coverage((), {}), 0.0)


def test_coverage_as_a_record(tmp_path: Path) -> None:
    record = build(full_bucket(tmp_path)).coverage.to_dict()
    assert (record["num_expected"], record["num_found"], record["share"]) == (36, 36, 1.0)
    assert {"site": "UAB", "split": "train", "expected": 4, "found": 4} in record["cells"]

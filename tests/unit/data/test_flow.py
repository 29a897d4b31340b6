"""The way from what is listed to what is used: every participant, eye and volume is in it once."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from octjob.data.cohort import find_cohort
from octjob.data.flow import Size
from octjob.data.manifest import MANIFEST_KEY
from octjob.data.selection import REASONS
from octjob.spec.experiment import Classes, Data, Experiment
from tests.doubles.aireadi_bucket import Bucket

TRITON = {"devices": ("topcon_triton",)}


def small_bucket(root: Path) -> Bucket:
    """Two to train on, one to score, one to test with, and one for each reason to be left out."""
    bucket = Bucket(root)
    for identity, split in (("1", "train"), ("2", "train"), ("3", "val"), ("4", "test")):
        bucket.person(identity, split=split)
        bucket.volume(identity)
        bucket.volume(identity, eye="L")
    bucket.person("10", label=3, split="val")
    bucket.volume("10")
    bucket.person("11", site="UAB")
    bucket.volume("11")
    bucket.person("12", has_oct=False)
    bucket.person("13")
    bucket.person("14")
    bucket.volume("14", device="zeiss_cirrus", protocol="cirrus_mac_oct", region="Macula")
    bucket.volume("1", device="zeiss_cirrus", protocol="cirrus_mac_oct", region="Macula")
    bucket.volume("99")
    return bucket


def flow_of(bucket: Bucket, **data: object):
    mapping = {name: k for name, k in Classes().mapping.items() if k < 3}
    experiment = Experiment(data=Data(**data), classes=Classes(mapping=mapping))
    return find_cohort(bucket.write(), "participants.tsv", MANIFEST_KEY, experiment)


def test_each_reason_loses_whom_it_concerns(tmp_path: Path) -> None:
    cohort = flow_of(small_bucket(tmp_path), sites=("UW",), **TRITON)
    assert {step.reason: dict(step.lost) for step in cohort.flow.steps} == {
        "no row in the participants table": {"": Size(1, 1, 1)},
        "study group outside classes.mapping": {"val": Size(1, 1, 1)},
        "site not selected": {"train": Size(1, 1, 1)},
        "no OCT, by the participants table": {"train": Size(1, 0, 0)},
        "no volume in the manifest": {"train": Size(1, 0, 0)},
        # Of participant 1 a volume is lost, but neither the eye nor the person.
        "device not selected": {"train": Size(1, 1, 2)},
    }
    assert cohort.sizes() == {"train": Size(2, 4, 4), "val": Size(1, 2, 2), "test": Size(1, 2, 2)}


def test_what_cannot_be_read_is_the_last_step_of_the_splits_used(tmp_path: Path) -> None:
    cohort = flow_of(small_bucket(tmp_path), sites=("UW",), **TRITON).only("train", "val")
    one = next(v.record.sop_instance_uid for v in cohort.volumes if v.participant.id == "3")
    readable = cohort.without({one})
    assert readable.flow.steps[-1].reason == "cannot be read (quarantined)"
    assert dict(readable.flow.steps[-1].lost) == {"val": Size(0, 1, 1)}
    assert cohort.without(()).flow == cohort.flow
    stored = readable.flow.to_dict(readable.sizes())
    assert stored["schema"] == "octjob.flow/1"
    assert stored["used"] == {"train": [2, 4, 4], "val": [1, 1, 1]}


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_listed_less_every_step_is_what_is_left(tmp_path_factory, data: st.DataObject) -> None:
    bucket = Bucket(tmp_path_factory.mktemp("flow"))
    for number in range(data.draw(st.integers(1, 8))):
        identity, split = str(number), data.draw(st.sampled_from(("train", "val", "test")))
        bucket.person(
            identity,
            label=data.draw(st.integers(0, 3)),
            split=split,
            site=data.draw(st.sampled_from(("UW", "UAB"))),
            has_oct=data.draw(st.booleans()),
        )
        for _ in range(data.draw(st.integers(0, 3))):
            device, stem, region = data.draw(
                st.sampled_from(
                    (
                        ("topcon_triton", "triton_macula_6x6_oct", "Macula, 6 x 6"),
                        ("zeiss_cirrus", "cirrus_mac_oct", "Macula"),
                    )
                )
            )
            eye = data.draw(st.sampled_from("LR"))
            bucket.volume(identity, device=device, protocol=stem, region=region, eye=eye)
    # A device that nobody has would be an error of its own.
    bucket.person("always")
    bucket.volume("always")
    which = data.draw(st.sampled_from(("all", "one")))
    cohort = flow_of(bucket, volumes=which, laterality=data.draw(st.sampled_from(("left", "both"))), **TRITON)
    left = dict(cohort.flow.listed)
    for step in cohort.flow.steps:
        left = {split: size - step.lost.get(split, Size()) for split, size in left.items()}
        assert all(min(size.to_list()) >= 0 for size in left.values())
    assert {split: size for split, size in left.items() if size != Size()} == cohort.sizes()


def test_every_reason_of_the_selection_has_a_place_in_the_order() -> None:
    from octjob.data import selection

    known = {selection.NOT_STRUCTURAL, selection.OTHER_DEVICE, selection.OTHER_REGION, selection.OTHER_EYE}
    assert set(REASONS) == known | {selection.RADIAL, selection.NOT_THE_ONE}

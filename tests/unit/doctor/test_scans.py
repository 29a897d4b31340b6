"""The positive control on cached features: devices, regions and eyes are found where they are, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from octjob.data.cohort import Volume
from octjob.data.manifest import VolumeRecord
from octjob.data.participants import Participant
from octjob.doctor.cached import Held
from octjob.doctor.gates.control import Reading
from octjob.doctor.scans import readings
from octjob.doctor.tables import Tables

DEVICES, REGIONS = ("Triton", "Spectralis"), ("Macula", "Optic Disc")
WIDTH = 24


def volumes(num_people: int, *, crossed: bool) -> list[Volume]:
    """Two eyes of each; device and region by volume, or one of each a person."""
    made = []
    for number in range(num_people):
        split = "test" if number % 5 == 4 else ("train", "val")[number % 2]
        person = Participant(str(1000 + number), "UW", "group", number % 4, split, has_oct=True)
        for eye, side in enumerate("LR"):
            which = (number + eye) % 2 if crossed else number % 3 % 2
            record = VolumeRecord(
                person.id, DEVICES[which], "maker", "model", REGIONS[(number // 2 + eye) % 2], "OCT", side,
                8, 8, 8, f"{number}.{eye}", "key", "protocol",
            )  # fmt: skip
            made.append(Volume(record, person))
    return made


def read(made: list[Volume], shift_of: dict[str, float], seed: int = 0) -> dict[str, Reading]:
    """By what is told; features of a person are alike, and are shifted along an axis for each kind of group."""
    draw = np.random.default_rng(seed)
    own = {one.participant.id: draw.normal(size=WIDTH) for one in made}
    features = {}
    for one in made:
        value = own[one.participant.id] + 0.3 * draw.normal(size=WIDTH)
        value[0] += shift_of.get("devices", 0) * (one.record.device == DEVICES[0])
        value[1] += shift_of.get("regions", 0) * (one.record.region == REGIONS[0])
        value[2] += shift_of.get("eyes", 0) * (one.record.laterality == "L")
        features[one.record.sop_instance_uid] = value.astype(np.float32)
    held = Held(cast(Any, SimpleNamespace(checkpoint="a")), features)
    tables = Tables(("a.head",), "labels.tsv", cast(Any, SimpleNamespace(volumes=made)))
    return {one.what: one for one in readings([held], [tables])}


@pytest.mark.parametrize("what", ["devices", "regions", "eyes"])
def test_what_is_in_the_features_is_told_and_nothing_else(what: str) -> None:
    found = read(volumes(80, crossed=True), {what: 3.0})
    assert {name for name, one in found.items() if one.is_told} == {what}
    assert found[what].auroc > 0.9


@pytest.mark.parametrize("crossed", [True, False])
def test_features_that_know_nothing_tell_nothing(crossed: bool) -> None:
    """Also where a device is a person's, whose volumes are alike: 40 draws at three standard errors."""
    made = volumes(60, crossed=crossed)
    found = [one for seed in range(40) for one in read(made, {}, seed).values()]
    assert sum(one.is_told for one in found) <= 0.02 * len(found)


def test_nothing_of_the_test_split_is_looked_at() -> None:
    made = volumes(80, crossed=True)
    found = read(made, {"devices": 3.0})
    assert found["devices"].num_points == sum(one.participant.split != "test" for one in made)


def test_one_device_and_eyes_that_nobody_says_are_not_read() -> None:
    made = [
        Volume(replace(one.record, device=DEVICES[0], laterality=""), one.participant)
        for one in volumes(80, crossed=True)
    ]
    assert read(made, {}).keys() == {"regions", "classes"}


def test_features_that_do_not_vary_tell_nothing() -> None:
    made = volumes(80, crossed=True)
    held = Held(
        cast(Any, SimpleNamespace(checkpoint="a")),
        {one.record.sop_instance_uid: np.ones(WIDTH, np.float32) for one in made},
    )
    tables = Tables(("a.head",), "labels.tsv", cast(Any, SimpleNamespace(volumes=made)))
    assert all(one.auroc == 0.5 and not one.is_told for one in readings([held], [tables]))

"""`compute.capacity`: what its values mean beside `spot` and `reservation`, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from octjob.errors import SpecError
from octjob.spec.accelerator import parse_accelerator
from octjob.spec.capacity import capacities, check_capacity, in_words, parse_reservation
from octjob.spec.compute import Compute
from octjob.spec.expand import plan_sweep
from octjob.spec.yaml import Document, Mark


def compute(**keys: Any) -> Compute:
    return Compute.model_validate(keys)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "on demand"),
        ({"spot": True}, "Spot"),
        ({"capacity": "spot", "spot": True}, "Spot"),
        ({"reservation": "p/oct"}, "reservation p/oct"),
        ({"capacity": ["reservation", "spot"], "reservation": "oct"}, "reservation oct, else Spot"),
        ({"capacity": "queued_provisioning"}, "flex-start with queued provisioning"),
        (
            {"capacity": ["spot", "on_demand", "flex_start"]},
            "Spot, else on demand, else flex-start",
        ),
    ],
)
def test_one_noun_for_where_chips_come_from(keys: dict[str, Any], words: str) -> None:
    assert in_words(compute(**keys)) == words


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ({"spot": True, "reservation": "r"}, "reservation", "reserved nodes are not Spot nodes"),
        (
            {"spot": True, "capacity": "on_demand"},
            "spot",
            "means capacity: spot, but capacity says on_demand",
        ),
        (
            {"spot": True, "capacity": ["spot", "on_demand"]},
            "spot",
            "means capacity: spot, but capacity says spot, on_demand",
        ),
        ({"reservation": "r", "capacity": "spot"}, "reservation", "is not used by capacity: spot"),
        ({"capacity": "reservation"}, "capacity", "which one is not said"),
        (
            {"capacity": ["spot", "on_demand"], "queue": None},
            "capacity",
            "needs compute.queue: Kueue chooses",
        ),
        ({"capacity": "queued_provisioning", "queue": None}, "capacity", "needs compute.queue: Kueue is who"),
        (
            {"capacity": "flex_start", "accelerator": "v4-32"},
            "capacity",
            "flex_start: TPU v4 is not to be had by flex-start; v5e, v5p, v6e, 7x are",
        ),
        (
            {"capacity": ["on_demand", "queued_provisioning"], "max_runtime_hours": 169},
            "max_runtime_hours",
            "169, but queued_provisioning gives nodes for 168 hours at most",
        ),
    ],
)
def test_contradictions_are_named_with_their_line(keys: dict[str, Any], key: str, message: str) -> None:
    keys = {"accelerator": "v6e-16", "queue": "tpu", **keys}
    document = Document({}, {("compute", name): Mark("s.yaml", line) for line, name in enumerate(keys, 1)})
    with pytest.raises(SpecError) as caught:
        check_capacity(compute(**keys), parse_accelerator(keys["accelerator"]), document)
    line = list(keys).index(key) + 1
    assert caught.value.message.startswith(f"s.yaml:{line}: compute.{key}: ")
    assert message in caught.value.message
    assert caught.value.hint


def test_gpus_may_be_had_by_flex_start() -> None:
    check_capacity(compute(capacity="flex_start"), parse_accelerator("h100:8"))


@pytest.mark.parametrize("value", ["Spot", [], ["spot", "spot"], ["spot", "soon"]])
def test_no_capacity(value: Any) -> None:
    with pytest.raises(ValidationError):
        compute(capacity=value)


def test_stored_and_read_again() -> None:
    one = compute(capacity=["spot", "on_demand"])
    assert Compute.model_validate_json(one.model_dump_json()) == one
    assert capacities(one) == ("spot", "on_demand")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("oct", ("oct", "", "")),
        ("shared/oct", ("oct", "shared", "")),
        ("projects/shared/reservations/oct", ("oct", "shared", "")),
        ("oct/reservationBlocks/b1", ("oct", "", "b1")),
        ("projects/shared/reservations/oct/reservationBlocks/b1", ("oct", "shared", "b1")),
    ],
)
def test_reservations_as_gcloud_names_them(text: str, parts: tuple[str, str, str]) -> None:
    assert parse_reservation(text) == parts


@pytest.mark.parametrize("text", ["two words", "a/b/c", "projects/p/oct", "oct/reservationBlocks/"])
def test_no_reservation(text: str) -> None:
    with pytest.raises(ValidationError, match="is no reservation; write <name>"):
        compute(reservation=text)


@pytest.mark.parametrize("target", ["local", "kubernetes"])
def test_no_sweep_with_a_contradiction_is_planned(target: str, tmp_path: Path) -> None:
    """Whatever command reads it: plan, submit, render and prepare all plan first."""
    (tmp_path / "c.yaml").write_text("train: {epochs: 1}\n")
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "name: s\noutput: gs://b/out\ncheckpoints: {a: gs://b/a.pt}\nconfigs: {c: c.yaml}\n"
        f"compute:\n  target: {target}\n  accelerator: v4-32\n  queue: tpu\n  capacity: flex_start\n"
    )
    with pytest.raises(SpecError, match=r"sweep.yaml:9: compute.capacity: flex_start: TPU v4"):
        plan_sweep(path)

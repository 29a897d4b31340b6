"""TPU slices: four numbers that differ, names that alias topologies, shapes that need a machine type."""

from __future__ import annotations

import re

import pytest

from octjob.errors import SpecError
from octjob.spec.accelerator import GENERATIONS, SLICES, Slice, as_part, topology_chips, with_slices
from octjob.spec.accelerator import parse_accelerator as anything
from octjob.spec.accelerator import parse_slice as parse_accelerator

EACH = pytest.mark.parametrize("row", SLICES, ids=lambda row: f"{row.name}-{row.machine_type}")


def test_a_v4_32_is_16_chips_in_4_hosts() -> None:
    found = parse_accelerator("v4-32")
    assert (found.topology, found.chips, found.hosts, found.chips_per_host, found.cores) == (
        "2x2x4",
        16,
        4,
        4,
        32,
    )
    assert found.machine_type == "ct4p-hightpu-4t"
    assert found.node_selector == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v4-podslice",
        "cloud.google.com/gke-tpu-topology": "2x2x4",
    }


@EACH
def test_a_row_agrees_with_itself(row: Slice) -> None:
    assert row.hosts * row.chips_per_host == row.chips == topology_chips(row.topology)
    prefix, number = row.name.split("-")
    assert prefix == row.generation.prefixes[0]
    assert int(number) == (row.cores if row.generation.counts_cores else row.chips)
    assert row.machine_type.endswith(f"-{row.chips_per_host}t")


@EACH
def test_every_way_to_name_a_slice_gives_the_same(row: Slice) -> None:
    number = row.name.rpartition("-")[2]
    for prefix in row.generation.prefixes:
        for text in (f"{prefix}-{number}", f"{prefix}:{row.topology}", f"{prefix}-{row.topology.upper()}"):
            assert parse_accelerator(text, row.machine_type) == row


def test_no_two_rows_are_the_same_slice() -> None:
    assert len({(row.generation, row.topology, row.machine_type) for row in SLICES}) == len(SLICES)
    assert {row.generation for row in SLICES} == set(GENERATIONS)


def test_the_axes_of_a_v4_keep_the_order_in_which_its_pool_was_made() -> None:
    found = parse_accelerator("v4:4x2x2")
    assert (found.name, found.topology, found.hosts) == ("v4-32", "4x2x2", 4)
    assert found.node_selector["cloud.google.com/gke-tpu-topology"] == "4x2x2"
    with pytest.raises(SpecError):
        parse_accelerator("v5p:4x2x2")


@pytest.mark.parametrize(
    ("text", "machine_type", "hosts", "chips_per_host"),
    [
        ("v6e-8", "ct6e-standard-8t", 1, 8),
        ("v6e-8", "ct6e-standard-4t", 2, 4),
        ("v5litepod-8", "ct5lp-hightpu-8t", 1, 8),
        ("v5e:2x4", "ct5lp-hightpu-4t", 2, 4),
    ],
)
def test_a_machine_type_decides_between_one_host_and_two(
    text: str, machine_type: str, hosts: int, chips_per_host: int
) -> None:
    found = parse_accelerator(text, machine_type)
    assert (found.hosts, found.chips_per_host) == (hosts, chips_per_host)
    assert found.node_selector["node.kubernetes.io/instance-type"] == machine_type


@pytest.mark.parametrize("text", ["v6e-8", "v6e:2x4", "v5litepod-8", "v5e-2x4"])
def test_an_ambiguous_shape_asks_for_the_machine_type(text: str) -> None:
    with pytest.raises(SpecError, match="ambiguous") as caught:
        parse_accelerator(text)
    assert "compute.machine_type" in caught.value.hint
    assert "-4t" in caught.value.hint
    assert "-8t" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("v4-23", "v4-32"),
        ("v4-48", "v4-8"),
        ("v4:2x2x3", "v4:2x2x4"),
        ("v5litpod-16", "v5litepod-16"),
        ("v6e:4x8x8", "v6e:8x8"),
        ("t4", "The generations are v4, v5litepod"),
        ("v4-0", "v4-"),
        ("", "The generations are"),
    ],
)
def test_what_is_no_slice_is_an_error_with_the_nearest_one(text: str, hint: str) -> None:
    with pytest.raises(SpecError, match="no TPU slice") as caught:
        parse_accelerator(text)
    assert hint in caught.value.hint


def test_a_machine_type_that_makes_no_such_slice_is_refused() -> None:
    with pytest.raises(SpecError, match=r"machine_type: ct5p-hightpu-4t makes no v4-32") as caught:
        parse_accelerator("v4-32", "ct5p-hightpu-4t")
    assert "ct4p-hightpu-4t" in caught.value.hint


def test_slices_are_counted_in_all_their_chips() -> None:
    one = parse_accelerator("v4-32")
    three = with_slices(one, 3)
    assert (three.chips, three.hosts, three.chips_per_host, three.slices) == (48, 4, 4, 3)
    assert (three.name, three.in_words, one.in_words) == ("v4-32", "3 x v4-32", "v4-32")
    assert three.node_selector == one.node_selector
    assert with_slices(one, 1) == one


@pytest.mark.parametrize(
    ("accelerator", "said", "advice"),
    [
        ("h100:8x2", "h100:8x2 are GPUs, which have no slices", "accelerator: h100:8x4 for 4 nodes"),
        ("v4-8", "v4-8 has one host", "accelerator: v4-16"),
        ("v5e-4", "v5litepod-4 has one host", "accelerator: v5litepod-16"),
    ],
)
def test_what_gke_does_not_put_together(accelerator: str, said: str, advice: str) -> None:
    with pytest.raises(SpecError, match=f"compute.slices: 2, but {said}") as caught:
        with_slices(anything(accelerator), 2)
    assert advice in caught.value.hint
    wanted = re.search(r"accelerator: (\S+?),? ", caught.value.hint + " ")
    assert wanted is not None
    anything(wanted[1])


def test_a_part_is_selected_by_the_pool_it_is_in() -> None:
    part = as_part(parse_accelerator("v6e-16"), "v6e-64")
    assert (part.name, part.topology, part.pool, part.chips, part.hosts) == ("v6e-16", "4x4", "8x8", 16, 4)
    assert part.node_selector["cloud.google.com/gke-tpu-topology"] == "8x8"
    assert as_part(parse_accelerator("v6e-8", "ct6e-standard-4t"), "v6e-16").hosts == 2


@pytest.mark.parametrize(
    ("accelerator", "whole", "said", "advice"),
    [
        (
            "v4-32",
            "v4-64",
            "v4-32 is a v4, of whose node pools octjob knows no parts; it does of v6e",
            "Leave",
        ),
        ("tpu7x-16", "tpu7x-128", "tpu7x-16 is a 7x, of whose node pools", "Leave"),
        ("l4:1", "v6e-64", "l4:1 are GPUs, of whose node pools", "Leave"),
        (
            "v6e-64",
            "v6e-16",
            r"v6e-64 \(8x8\) is no part of a v6e-16 \(4x4\)",
            "v6e-8 and machine_type: ct6e-standard-4t",
        ),
        ("v6e-64", "v6e-32", r"v6e-64 \(8x8\) is no part", "accelerator: v6e-16."),
        ("v6e-4", "v6e-4", r"v6e-4 \(2x2\) is no part", "it has no parts"),
        ("v6e-16", "v6e-17", "'v6e-17' is no TPU slice", "Did you mean"),
    ],
)
def test_no_part_of_that(accelerator: str, whole: str, said: str, advice: str) -> None:
    with pytest.raises(SpecError, match=f"^compute.part_of: {said}") as caught:
        as_part(anything(accelerator), whole)
    assert advice in caught.value.hint

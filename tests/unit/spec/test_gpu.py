"""GPU nodes by name: GPUs of a node x nodes, printed as they are read, and nothing that no node has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octjob.errors import SpecError
from octjob.spec.accelerator import SLICES, parse_accelerator
from octjob.spec.gpu import GPUS, Gpu, GpuNodes, parse_gpus

EACH = pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.label)


@st.composite
def nodes(draw: st.DrawFn) -> GpuNodes:
    gpu = draw(st.sampled_from(GPUS))
    count = draw(st.sampled_from(gpu.counts))
    machines = [None, *(name for name, has in gpu.machines.items() if has >= count)]
    return GpuNodes(gpu, count, draw(st.integers(1, 9999)), draw(st.sampled_from(machines)))


@given(nodes(), st.data())
def test_what_is_printed_is_read_as_the_same(wanted: GpuNodes, data: st.DataObject) -> None:
    assert parse_accelerator(wanted.name, wanted.machine_type) == wanted
    name = data.draw(st.sampled_from((*wanted.gpu.names, wanted.gpu.label)))
    assert parse_accelerator(
        f"{name}:{wanted.chips_per_host}x{wanted.hosts}".upper(), wanted.machine_type
    ) == (wanted)
    assert wanted.chips == wanted.hosts * wanted.chips_per_host


@given(st.text(alphabet="alh1024x:-n", max_size=12))
def test_any_text_is_an_accelerator_or_one_error_with_a_hint(text: str) -> None:
    try:
        found: GpuNodes | SpecError = parse_gpus(text) or SpecError("compute.accelerator: no GPU", "none")
    except SpecError as error:
        found = error
    if isinstance(found, SpecError):
        assert found.message.startswith("compute.accelerator: ")
        assert found.hint
    else:
        assert parse_accelerator(found.name) == found


def test_two_nodes_of_eight() -> None:
    found = parse_accelerator("h100:8x2")
    assert (found.name, found.chips, found.hosts, found.chips_per_host) == ("h100:8x2", 16, 2, 8)
    assert (found.kind, found.unit, found.processes_per_host) == ("gpu", "GPU", 8)
    assert found.node_selector == {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}
    machine = parse_accelerator("nvidia-l4:1", "g2-standard-16").node_selector
    assert machine["node.kubernetes.io/instance-type"] == "g2-standard-16"


def test_no_name_means_two_things() -> None:
    names = [name for gpu in GPUS for name in (*gpu.names, gpu.label)]
    assert len(set(names)) == len(names)
    assert not set(names) & {row.name for row in SLICES}


@EACH
def test_a_number_that_no_node_has_is_refused_with_one_that_there_is(gpu: Gpu) -> None:
    for wrong in {3, 5, 17, 999} - set(gpu.counts):
        with pytest.raises(SpecError, match=f"no node has {wrong} GPUs {gpu.label}; one has") as caught:
            parse_accelerator(f"{gpu.names[0]}:{wrong}")
        named = caught.value.hint.removeprefix("Write ").partition(";")[0]
        assert parse_accelerator(named).chips in gpu.counts


@pytest.mark.parametrize(
    ("text", "machine_type", "message", "hint"),
    [
        ("a100", None, "a100 does not say how many GPUs each node has", "Write a100:1"),
        ("h100:0", None, "h100:0 does not say how many GPUs", "has 1, 2, 4, 8"),
        ("h100:8x0", None, "h100:8x0 does not say how many GPUs", "h100:8x2 for two nodes"),
        ("h10:8", None, "no TPU slice and no GPU", "Did you mean h100:8?"),
        ("t4:1", None, "no TPU slice and no GPU", "The GPUs are l4, a100, a100-80gb, h100, h100-mega, h200"),
        ("l4:2", "g2-standard-4", "g2-standard-4 has no 2 GPUs nvidia-l4", "g2-standard-24"),
        ("l4:1", "a3-highgpu-8g", "a3-highgpu-8g has no 1 GPUs nvidia-l4", "g2-standard-4"),
    ],
)
def test_what_is_wrong_is_said_with_what_there_is(
    text: str, machine_type: str | None, message: str, hint: str
) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        parse_accelerator(text, machine_type)
    assert hint in caught.value.hint

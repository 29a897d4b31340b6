"""A TPU host whose environment is not that of its slice is refused at once, by name; torch_xla would hang."""

from __future__ import annotations

from pathlib import Path

import pytest

from octjob.errors import SpecError
from octjob.runtime.select import open_runtime
from octjob.runtime.topology import Topology, check_found, count_chips, read_topology

V4_32 = {
    "TPU_SKIP_MDS_QUERY": "true",
    "TPU_ACCELERATOR_TYPE": "v4-32",
    "TPU_HOST_BOUNDS": "1,1,4",
    "TPU_CHIPS_PER_HOST_BOUNDS": "2,2,1",
    "TPU_WORKER_ID": "2",
    "TPU_WORKER_HOSTNAMES": "a-0.a,a-1.a,a-2.a,a-3.a",
}
V5E_4 = {
    "TPU_SKIP_MDS_QUERY": "true",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_HOST_BOUNDS": "1,1,1",
    "TPU_CHIPS_PER_HOST_BOUNDS": "2,2,1",
    "TPU_WORKER_ID": "0",
    "TPU_WORKER_HOSTNAMES": "localhost",
}


def test_what_gke_sets_is_a_slice() -> None:
    topology = read_topology(V4_32, 4, 4)
    assert topology == Topology("v4-32", (1, 1, 4), (2, 2, 1), worker=2)
    assert (topology.hosts, topology.chips) == (4, 16)
    assert topology.generation is not None
    assert (topology.generation.name, topology.generation.memory_gib) == ("v4", 30.75)
    assert topology.facts() == {
        "accelerator": "v4-32",
        "host_bounds": "1,1,4",
        "chips_per_host_bounds": "2,2,1",
        "worker": 2,
    }
    assert read_topology(V5E_4, 1, 4).chips == 4


def test_the_names_that_torch_xla_prefers_count() -> None:
    preferred = {
        "TPU_PROCESS_BOUNDS": "1,1,4",
        "TPU_CHIPS_PER_PROCESS_BOUNDS": "2,2,1",
        "CLOUD_TPU_TASK_ID": "1",
    }
    wrong = {"TPU_HOST_BOUNDS": "9,9,9", "TPU_CHIPS_PER_HOST_BOUNDS": "9,9,9", "TPU_WORKER_ID": "9"}
    assert read_topology(V4_32 | wrong | preferred, 4, 4).worker == 1


@pytest.mark.parametrize("name", sorted(V4_32))
@pytest.mark.parametrize("value", [None, ""])
def test_what_is_missing_is_named(name: str, value: str | None) -> None:
    environ = {key: text for key, text in V4_32.items() if key != name}
    with pytest.raises(SpecError, match=f"{name}.* not set") as caught:
        read_topology(environ if value is None else environ | {name: value}, 4, 4)
    assert "google.com/tpu" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"TPU_ACCELERATOR_TYPE": "TPU v4"}, "TPU_ACCELERATOR_TYPE=TPU v4: not a type of slice"),
        ({"TPU_HOST_BOUNDS": "2x2"}, "TPU_HOST_BOUNDS=2x2: not three whole numbers"),
        ({"TPU_HOST_BOUNDS": "0,1,4"}, "TPU_HOST_BOUNDS=0,1,4: not three whole numbers"),
        ({"TPU_CHIPS_PER_HOST_BOUNDS": "2,2"}, "TPU_CHIPS_PER_HOST_BOUNDS=2,2: not three"),
        ({"TPU_HOST_BOUNDS": "1,1,2"}, "TPU_HOST_BOUNDS=1,1,2: the slice has 2 hosts, but this run has 4"),
        (
            {"TPU_PROCESS_BOUNDS": "1,1,1"},
            "TPU_PROCESS_BOUNDS=1,1,1: the slice has 1 hosts, but this run has 4",
        ),
        ({"TPU_WORKER_ID": "4"}, "TPU_WORKER_ID=4: the slice has hosts 0 to 3 only"),
        ({"TPU_WORKER_ID": "-1"}, "TPU_WORKER_ID=-1: not the number of a host"),
        ({"TPU_WORKER_HOSTNAMES": "a,b,c"}, "names 3 hosts, but the slice has 4"),
        ({"TPU_WORKER_HOSTNAMES": "a,b,c,"}, "names 3 hosts, but the slice has 4"),
        ({"TPU_CHIPS_PER_HOST_BOUNDS": "2,4,1"}, "8 chips a host, but this host's PCI bus has 4"),
    ],
)
def test_what_contradicts_itself_is_named(change: dict[str, str], words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        read_topology(V4_32 | change, 4, 4)
    assert caught.value.hint


def test_a_slice_of_two_is_one_of_two() -> None:
    two = V4_32 | {
        "MEGASCALE_NUM_SLICES": "2",
        "MEGASCALE_SLICE_ID": "1",
        "MEGASCALE_COORDINATOR_ADDRESS": "a-0.a",
    }
    topology = read_topology(two, 8, 4)
    assert (topology.hosts, topology.chips, topology.worker, topology.slices) == (4, 16, 2, 2)
    assert topology.facts()["num_slices"] == 2
    check_found(topology, 8, 8, 32)
    with pytest.raises(
        SpecError, match="2 x v4-32 has 32 chips by the environment, but torch_xla has found 16"
    ):
        check_found(topology, 8, 8, 16)
    with pytest.raises(SpecError, match="each of 2 slices has 4 hosts, but this run has 4 processes"):
        read_topology(two, 4, 4)
    with pytest.raises(SpecError, match="MEGASCALE_COORDINATOR_ADDRESS is not set"):
        read_topology(two | {"MEGASCALE_COORDINATOR_ADDRESS": ""}, 8, 4)


def test_one_process_on_a_slice_of_several_hosts_learns_how_to_start_the_others() -> None:
    with pytest.raises(SpecError, match="the slice has 4 hosts, but this run has 1 processes") as caught:
        read_topology(V4_32, 1, 4)
    assert "OCTJOB_NUM_HOSTS=4 and OCTJOB_COORDINATOR" in caught.value.hint


def test_a_host_without_a_tpu_is_refused_where_torch_xla_would_wait() -> None:
    environ = {"OCTJOB_DEVICE": "xla", "PJRT_DEVICE": "TPU", **V5E_4}
    with pytest.raises(SpecError, match="there is no TPU on this host's PCI bus"):
        open_runtime(environ)


@pytest.mark.parametrize(
    ("device", "words"), [({}, "is not set"), ({"PJRT_DEVICE": "tpu"}, "is tpu: which octjob does not know")]
)
def test_a_device_that_torch_xla_would_choose_itself(device: dict[str, str], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        open_runtime({"OCTJOB_DEVICE": "xla", **device})


def test_chips_are_googles_devices_of_the_pci_bus(tmp_path: Path) -> None:
    ids = [("0x1ae0", "0x005e"), ("0x1ae0", "0x005e"), ("0x1ae0", "0x0042"), ("0x8086", "0x005e")]
    for number, (vendor, device) in enumerate(ids):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "vendor").write_text(f"{vendor}\n")
        (tmp_path / str(number) / "device").write_text(f"{device}\n")
    assert count_chips(tmp_path) == 2
    assert count_chips(tmp_path / "none") == 0


def test_what_torch_xla_has_found_is_what_was_asked_for() -> None:
    topology = read_topology(V4_32, 4, 4)
    check_found(topology, 4, 4, 16)
    check_found(None, 1, 1, 3)
    with pytest.raises(SpecError, match="the run has 4 processes, but torch_xla has found 1"):
        check_found(topology, 4, 1, 16)
    with pytest.raises(
        SpecError, match="v4-32 has 16 chips by the environment, but torch_xla has found 4 devices"
    ):
        check_found(topology, 4, 4, 4)


def test_a_chip_of_the_7x_is_one_device_or_two() -> None:
    topology = Topology("tpu7x-8", (1, 1, 1), (2, 2, 1), worker=0)
    check_found(topology, 1, 1, 4)
    check_found(topology, 1, 1, 8)
    with pytest.raises(SpecError, match="found 6 devices"):
        check_found(topology, 1, 1, 6)

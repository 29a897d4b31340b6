"""Which host of a slice this is, and what a heartbeat says of it."""

from __future__ import annotations

import os

import pytest
from doubles.sweep_results import beat, entry

from octjob.cli import run as octjob
from octjob.errors import AccessError, SpecError
from octjob.run.heartbeat import Heartbeat
from octjob.run.hosts import Host, read_host
from octjob.storage import ObjectStore

RUN = entry("a")


def test_alone_is_the_leader() -> None:
    assert read_host({}) == Host(0, 1)
    assert read_host({"JOB_COMPLETION_INDEX": "3"}).is_leader


def test_a_pod_knows_its_place() -> None:
    environ = {
        "OCTJOB_NUM_HOSTS": "4",
        "JOB_COMPLETION_INDEX": "2",
        "OCTJOB_ATTEMPT": "1",
        "OCTJOB_POD": "x-w-0-2-abcde",
        "OCTJOB_NODE": "node-2",
    }
    assert read_host(environ) == Host(2, 4, 1, "x-w-0-2-abcde", "node-2")
    assert not read_host(environ).is_leader


def test_hosts_are_numbered_slice_after_slice() -> None:
    environ = {"OCTJOB_NUM_HOSTS": "4", "MEGASCALE_NUM_SLICES": "3"}
    places = [
        read_host({**environ, "MEGASCALE_SLICE_ID": str(slice_), "JOB_COMPLETION_INDEX": str(index)})
        for slice_ in range(3)
        for index in range(4)
    ]
    assert [place.index for place in places] == list(range(12))
    assert {place.num_processes for place in places} == {12}
    assert [place.is_leader for place in places] == [True, *[False] * 11]
    # What GKE tells the pods of a single slice.
    assert read_host({"MEGASCALE_NUM_SLICES": "1", "MEGASCALE_SLICE_ID": "0"}) == Host(0, 1)


def test_an_annotation_that_is_not_there_is_no_restart_count() -> None:
    assert read_host({"OCTJOB_ATTEMPT": ""}).restart is None


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"OCTJOB_NUM_HOSTS": "4"}, "JOB_COMPLETION_INDEX is not set"),
        ({"OCTJOB_NUM_HOSTS": "0"}, "OCTJOB_NUM_HOSTS=0"),
        ({"OCTJOB_NUM_HOSTS": "four"}, "OCTJOB_NUM_HOSTS=four"),
        ({"OCTJOB_NUM_HOSTS": "4", "JOB_COMPLETION_INDEX": "4"}, "there are 4 hosts"),
        ({"OCTJOB_NUM_HOSTS": "4", "JOB_COMPLETION_INDEX": "-1"}, "JOB_COMPLETION_INDEX=-1"),
        ({"OCTJOB_ATTEMPT": "1.5"}, "OCTJOB_ATTEMPT=1.5"),
        ({"MEGASCALE_NUM_SLICES": "2"}, "MEGASCALE_NUM_SLICES=2, but MEGASCALE_SLICE_ID is not set"),
        ({"MEGASCALE_NUM_SLICES": "two"}, "MEGASCALE_NUM_SLICES=two: not a whole number"),
        ({"MEGASCALE_NUM_SLICES": "2", "MEGASCALE_SLICE_ID": "2"}, "but MEGASCALE_SLICE_ID is 2"),
    ],
)
def test_a_place_that_makes_no_sense_is_refused(environ: dict[str, str], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        read_host(environ)


def test_a_heartbeat_names_pod_node_and_restart(file_store: ObjectStore) -> None:
    progress = Heartbeat(file_store, RUN.run_id, lambda _: None, Host(0, 4, 2, "pod-0", "node-0")).progress
    assert (progress.pod, progress.node, progress.restart) == ("pod-0", "node-0", 2)
    assert progress.host == os.uname().nodename


def test_a_run_that_is_not_there_is_4(
    file_store: ObjectStore, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OCTJOB_NUM_HOSTS", "2")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    beat(file_store, RUN, "training")
    assert octjob(["train", "--run", f"{file_store.root}/runs/nothing"]) == AccessError.exit_code
    assert "spec.json" in capfd.readouterr().err

"""A person's words for sweeps and runs: one meaning in every command, on clusters and in stores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from doubles.kube_documents import jobset
from doubles.sweep_results import beat, entry, finish, labels, skilled, submit
from hypothesis import given
from hypothesis import strategies as st

from octjob.cli import run as octjob
from octjob.errors import AccessError, OctjobError, SpecError
from octjob.records.find import find_run, matching_runs
from octjob.records.schema import RunEntry
from octjob.storage import ObjectStore, open_store
from octjob.targets.kubernetes import place as cluster_place
from octjob.targets.kubernetes.api import Cluster
from octjob.targets.kubernetes.select import choose, parse_target
from octjob.targets.place import open_place, open_run, split_run
from octjob.targets.runlog import Wanted


class FakeCluster:
    """A cluster of these JobSets and nothing else."""

    namespace, context, flags = "team", "test", ""

    def __init__(self, *jobsets: dict[str, Any]) -> None:
        self.jobsets = list(jobsets)

    def list(self, resource: Any, selector: str = "", *, fields: str = "") -> list[dict[str, Any]]:
        return self.jobsets if resource.plural == "jobsets" else []


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep below a folder called runs, as an output may be."""
    store = open_store(str(tmp_path / "runs/demo"))
    submit(store, [entry("done"), entry("new")])
    beat(store, entry("done"), "finished")
    finish(store, entry("done"), skilled(labels(), 3, 0))
    return tmp_path / "runs/demo"


@pytest.fixture
def connected(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the cluster was asked for: context, namespace, patience. It has one run of the sweep."""
    calls: list[tuple[Any, ...]] = []
    there = jobset("new")
    there["metadata"]["annotations"]["octjob.dev/output"] = sweep.as_uri()

    def connect(context: Any, namespace: Any, target: Any = None, *, retry_s: float | None = None) -> Any:
        calls.append((context, namespace, retry_s))
        return FakeCluster(there)

    monkeypatch.setattr(cluster_place, "connect", connect)
    return calls


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.linear", ("", "a.linear")),
        ("phase3/a.linear", ("", "phase3/a.linear")),
        ("sweeps/phase3.yaml/a.linear", ("sweeps/phase3.yaml", "a.linear")),
        ("x.yml/a.linear", ("x.yml", "a.linear")),
        ("x.yaml", ("", "x.yaml")),
        ("gs://b/phase3/runs/a.linear-01234567", ("gs://b/phase3", "a.linear-01234567")),
        ("gs://b/runs/phase3/runs/a.linear-01234567/", ("gs://b/runs/phase3", "a.linear-01234567")),
    ],
)
def test_a_runs_words_are_its_sweeps_and_its_own(text: str, words: tuple[str, str]) -> None:
    assert split_run(text) == words


def test_a_sweep_below_a_folder_called_runs_is_a_sweep(sweep: Path) -> None:
    assert [one.state for one in open_place(str(sweep)).statuses()] == ["Succeeded", "Pending"]
    open_place(str(sweep)).require_sweep()


def test_a_run_in_a_store_is_itself_alone(sweep: Path) -> None:
    place = open_run(f"{sweep}/runs/done.linear")
    assert [one.checkpoint for one in place.statuses()] == ["done"]
    with pytest.raises(SpecError, match="a run, not a sweep"):
        place.require_sweep()
    with pytest.raises(AccessError, match="no log is left: Succeeded"):
        place.logs(Wanted(), lambda text: None)
    with pytest.raises(SpecError, match="only pods can be followed"):
        place.logs(Wanted(follow=True), lambda text: None)


def test_the_options_of_a_cluster_send_a_uri_there(sweep: Path, connected: list[Any]) -> None:
    place = open_place(str(sweep), "gke", None, retry_s=0.0)
    assert connected == [("gke", None, 0.0)]
    assert isinstance(place, cluster_place.ClusterPlace)
    assert place.text == "demo"
    place.require_sweep()


def test_what_waits_for_results_sees_a_store_and_a_cluster_alike(
    sweep: Path, connected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_place, "SweepView", _view_of(open_store(str(sweep))))
    here, there = open_place(str(sweep)), open_place("demo")
    assert here.standings() == there.standings()
    assert [one.run_id for one in here.statuses()] == [one.run_id for one in there.statuses()]


def _view_of(store: ObjectStore) -> Any:
    from octjob.targets.kubernetes.observation.status import SweepView

    return lambda cluster, text, output="": SweepView(cluster, text, open_at=lambda uri: store, output=output)


def test_a_uri_is_never_another_sweep_of_its_name(
    sweep: Path, connected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = jobset("new"), jobset("new")
    own["metadata"]["annotations"]["octjob.dev/output"] = sweep.as_uri()
    other["metadata"] |= {"uid": "other", "name": "other"}
    other["metadata"]["annotations"] = {
        **own["metadata"]["annotations"],
        "octjob.dev/output": "gs://other/demo",
    }
    monkeypatch.setattr(cluster_place, "connect", lambda *given, **named: FakeCluster(other, own))
    with pytest.raises(SpecError, match="several sweeps of this name"):
        open_place("demo", "gke").statuses()
    for text in (str(sweep), f"{sweep.as_uri()}/", os.path.relpath(sweep)):
        place = open_place(text, "gke")
        assert isinstance(place, cluster_place.ClusterPlace)
        assert place.selection.jobsets == [own], text
        assert place.output == sweep.as_uri()
    monkeypatch.setattr(cluster_place, "connect", lambda *given, **named: FakeCluster(other))
    with pytest.raises(AccessError) as caught:
        open_place(str(sweep), "gke").statuses()
    assert f"no JobSet of sweep demo in namespace team writes to {sweep.as_uri()}" in caught.value.message
    assert "results in gs://other/demo" in caught.value.message
    assert f"`octjob status {sweep.as_uri()}` reads the store alone" in caught.value.hint


@pytest.mark.parametrize("command", ["cancel", "pause", "resume", "retry"])
def test_what_only_a_cluster_can_do_takes_no_uri(
    command: str, sweep: Path, connected: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert octjob([command, f"file://{sweep}"]) == 2
    assert "neither a sweep file, a sweep, a run nor SWEEP/RUN" in capsys.readouterr().err


def test_a_hurried_cluster_leaves_the_patient_one_as_it_is() -> None:
    patient = Cluster("gke", "team", lambda: object())  # type: ignore[arg-type, return-value]
    assert patient.hurried().retry_s == 0.0
    assert patient.retry_s > 0.0


NAMES = st.sampled_from(["a", "ab", "abc"])
ENTRIES = st.lists(
    st.builds(
        lambda checkpoint, config, digest: RunEntry(
            run_id=f"{checkpoint}.{config}-{digest}", checkpoint=checkpoint, config=config
        ),
        NAMES,
        NAMES,
        st.sampled_from(["01", "02", "11"]),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda one: one.run_id,
)


@given(ENTRIES, st.data())
def test_a_run_has_the_same_name_in_a_store_and_on_a_cluster(
    runs: list[RunEntry], data: st.DataObject
) -> None:
    whole = data.draw(st.sampled_from(runs)).run_id
    text = whole[: data.draw(st.integers(whole.index(".") + 2, len(whole)))]
    meant = {one.run_id for one in matching_runs(text, runs, lambda one: one)}
    assert _outcome(lambda: {annotated(one) for one in _selected(text, runs)}) == (
        meant if len(meant) == 1 else "SpecError"
    )


def test_an_exact_name_wins_over_what_begins_so(file_store: ObjectStore) -> None:
    short, long = (
        RunEntry(run_id=f"a.linear{more}-01234567", checkpoint="a", config=f"linear{more}")
        for more in ("", "2")
    )
    submit(file_store, [short, long])
    assert find_run(file_store, "a.linear") == short.run_id
    assert find_run(file_store, "a.linear2") == long.run_id
    with pytest.raises(SpecError, match="2 runs begin so"):
        find_run(file_store, "a.lin")
    with pytest.raises(AccessError, match=r"no run a\.liner in "):
        find_run(file_store, "a.liner")


def _selected(text: str, runs: list[RunEntry]) -> list[dict[str, Any]]:
    jobsets = [
        {
            "metadata": {
                "annotations": {
                    "octjob.dev/sweep": "demo",
                    "octjob.dev/output": "gs://b/demo",
                    "octjob.dev/run": one.run_id,
                    "octjob.dev/checkpoint": one.checkpoint,
                    "octjob.dev/config": one.config,
                }
            }
        }
        for one in runs
    ]
    return choose(parse_target(text), jobsets).jobsets


def annotated(document: dict[str, Any]) -> str:
    run: str = document["metadata"]["annotations"]["octjob.dev/run"]
    return run


def _outcome(act: Any) -> Any:
    try:
        return act()
    except OctjobError as error:
        return type(error).__name__

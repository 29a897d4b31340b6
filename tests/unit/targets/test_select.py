"""What a user types means one sweep or run on the cluster, or the error says which there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from octjob.errors import SpecError
from octjob.targets.kubernetes.documents.names import label_value
from octjob.targets.kubernetes.select import (
    NoSuchTarget,
    Target,
    annotation,
    choose,
    is_store,
    not_found,
    parse_target,
)


def jobset(run: str, sweep: str = "phase3", output: str = "gs://bucket/phase3") -> dict[str, Any]:
    checkpoint, _, rest = run.partition(".")
    texts = {
        "sweep": sweep,
        "run": run,
        "checkpoint": checkpoint,
        "config": rest.rpartition("-")[0],
        "output": output,
    }
    annotations = {f"octjob.dev/{key}": value for key, value in texts.items()}
    return {"metadata": {"name": f"n-{run}", "annotations": annotations}}


LOGISTIC = jobset("multi_domain.logistic-0bc93113")
GRID = jobset("multi_domain.logistic.c-0-1-77777777")
FINETUNE = jobset("multi_domain.finetune-1bc93113")


def runs(text: str, *there: dict[str, Any]) -> list[str]:
    return [annotation(one, "run") for one in choose(parse_target(text), there).jobsets]


@pytest.mark.parametrize(
    ("text", "sweep", "run"),
    [
        ("phase3", "phase3", ""),
        ("multi_domain.logistic", "", "multi_domain.logistic"),
        ("phase3/multi_domain.logistic-0bc93113", "phase3", "multi_domain.logistic-0bc93113"),
        ("multi_domain.logistic.c-0-1", "", "multi_domain.logistic.c-0-1"),
    ],
)
def test_a_text_is_a_sweep_or_a_run(text: str, sweep: str, run: str) -> None:
    assert parse_target(text) == Target(text, sweep, run)


@pytest.mark.parametrize("text", ["gs://bucket/x", "out/sweeps/demo", "./demo", "/tmp/x", ".", "Phase3"])
def test_uris_and_paths_mean_the_store(text: str) -> None:
    assert is_store(text)
    with pytest.raises(SpecError, match="neither a sweep file"):
        parse_target(text)


def test_a_directory_that_holds_a_sweep_means_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not is_store("demo")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "sweep.json").touch()
    assert is_store("demo")


@pytest.mark.parametrize(
    "text",
    [
        "multi_domain.logistic",
        "multi_domain.logistic-0bc93113",
        "multi_domain.logistic-0b",
        "phase3/multi_domain.logistic",
    ],
)
def test_a_run_is_found_by_id_config_or_prefix(text: str) -> None:
    assert runs(text, FINETUNE, GRID, LOGISTIC) == ["multi_domain.logistic-0bc93113"]


def test_a_sweep_is_all_its_runs_in_order() -> None:
    selection = choose(parse_target("phase3"), [LOGISTIC, FINETUNE, jobset("a.b-1", "phase4")])
    assert [annotation(one, "run") for one in selection.jobsets] == [
        "multi_domain.finetune-1bc93113",
        "multi_domain.logistic-0bc93113",
    ]
    assert (selection.sweep, selection.output, selection.entire) == ("phase3", "gs://bucket/phase3", True)
    assert not choose(parse_target("multi_domain.finetune"), [FINETUNE]).entire


def test_labels_that_are_digests_do_not_confuse() -> None:
    """The selector asks by label value, the choice compares the whole text."""
    long = "multi_domain." + "x" * 80
    target = parse_target(f"{'s' * 70}/{long}")
    assert f"octjob.dev/sweep={label_value('s' * 70)}" in target.selector
    assert "octjob.dev/checkpoint=multi_domain" in target.selector
    with pytest.raises(NoSuchTarget):
        choose(target, [jobset(f"{long}-1", "s" * 69)])
    assert choose(target, [jobset(f"{long}-1", "s" * 70)]).jobsets


def test_a_prefix_of_several_runs_is_refused() -> None:
    with pytest.raises(SpecError, match=r"2 runs begin so: .*finetune-1bc93113, .*finetune-2bc93113"):
        runs("multi_domain.fine", FINETUNE, jobset("multi_domain.finetune-2bc93113"))


def test_a_run_of_several_sweeps_asks_which() -> None:
    with pytest.raises(SpecError, match="a run of sweeps phase3, phase4") as caught:
        runs("multi_domain.logistic", LOGISTIC, jobset("multi_domain.logistic-0bc93113", "phase4"))
    assert "phase3/multi_domain.logistic or phase4/multi_domain.logistic" in caught.value.hint


def test_two_sweeps_of_one_name_are_not_mixed() -> None:
    other = jobset("multi_domain.probe-1", output="gs://other/phase3")
    with pytest.raises(SpecError, match="results in gs://bucket/phase3, gs://other/phase3"):
        runs("phase3", LOGISTIC, other)
    target = Target("x.yaml", "phase3", output="gs://other/phase3", file=Path("x.yaml"))
    assert choose(target, [LOGISTIC, other]).jobsets == [other]


def test_a_sweep_file_without_jobsets_is_no_error() -> None:
    target = Target("x.yaml", "phase3", output="gs://bucket/phase3", file=Path("x.yaml"))
    selection = choose(target, [])
    assert (selection.output, selection.jobsets, selection.entire) == ("gs://bucket/phase3", [], True)


def test_what_is_not_there_is_answered_with_what_is() -> None:
    error = not_found(parse_target("phse3"), [LOGISTIC], "team-a", "gke")
    assert error.exit_code == 4
    assert "no JobSet of sweep phse3 in namespace team-a; there is phase3" in error.message
    assert "kubectl --context gke -n team-a get jobsets -l app.kubernetes.io/name=octjob" in error.hint
    nothing = not_found(parse_target("phase3/a.b"), [], "team-a", "")
    assert nothing.message == "no JobSet of run a.b of sweep phase3 in namespace team-a"

"""A sweep as files, judged by the real tools: helm renders what submit sends, kubeconform knows every field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from doubles.cluster_runs import COMPUTE, make_run, make_settings

from octjob.spec.accelerator import SLICES, V4, Slice
from octjob.spec.expand import plan_sweep
from octjob.targets.kubernetes.documents.derived import child_job, child_pod
from octjob.targets.kubernetes.documents.manifest import render_jobset
from octjob.targets.kubernetes.documents.render import render_files, write_files
from octjob.targets.kubernetes.documents.settings import Settings, resolve_settings
from octjob.targets.kubernetes.documents.yamltext import to_yaml
from tests.cluster.charts import HelmError, helm, helm_template, kubeconform

pytestmark = pytest.mark.chart

GOLDEN = Path(__file__).parents[2] / "golden"

Documents = dict[str, dict[str, Any]]


def write_sweep(path: Path, **compute: Any) -> Path:
    content = {
        "name": "my_sweep",
        "output": "gs://bucket/octjob",
        "checkpoints": {"a": "gs://bucket/a.pt", "b": "gs://bucket/b.pt"},
        "configs": {"x": {"overrides": {"train.epochs": 2}}, "y": {"overrides": {"train.epochs": 3}}},
        "data": {"source": "b2://bucket/dataset"},
        "compute": {key: value for key, value in {**COMPUTE, **compute}.items() if value is not None},
    }
    path.write_text(to_yaml(content))
    return path


def chart_of(sweep: Path, folder: Path) -> Settings:
    plan = plan_sweep(sweep)
    settings = resolve_settings(plan.compute)
    write_files(render_files(plan, settings, "helm"), folder)
    return settings


def plain(sweep: Path, settings: Settings) -> Documents:
    """What submit sends, by name."""
    return by_name([render_jobset(run, settings) for run in plan_sweep(sweep).runs])


def by_name(documents: list[dict[str, Any]]) -> Documents:
    found = {document["metadata"]["name"]: document for document in documents}
    assert len(found) == len(documents)
    return found


AWKWARD = {
    "BRACES": "{{ .Values.image }}",
    "CLOSING": "}} {{- end }}",
    "LINES": "a\nimage: b\n",
    "NUMBER": "1e3",
    "TEXT": "quotes \" and ' and `, # no comment, ünïcode, \\n, %s",
    "DOCUMENT": "---",
    "EMPTY": "",
    "LONG": "word " * 60,
}


@pytest.mark.parametrize(
    "compute",
    [
        pytest.param({}, id="as is"),
        pytest.param({"queue": None}, id="no queue"),
        pytest.param({"priority": "high", "namespace": "oct", "max_runtime_hours": 5.0}, id="all values"),
        pytest.param({"spot": True, "service_account": "octjob-run", "privileged": True}, id="spot"),
        pytest.param({"env": AWKWARD}, id="awkward env"),
        pytest.param({"accelerator": "v4-8", "ttl_seconds_after_finished": 0}, id="one host"),
    ],
)
def test_helm_makes_of_the_chart_what_submit_sends(tmp_path: Path, compute: dict[str, Any]) -> None:
    sweep = write_sweep(tmp_path / "sweep.yaml", **compute)
    settings = chart_of(sweep, tmp_path / "c")
    found = by_name(helm_template(tmp_path / "c"))
    assert found == plain(sweep, settings)
    assert kubeconform(list(found.values())) == []


@pytest.mark.parametrize(
    "values",
    [
        {"image": f"other@sha256:{'0' * 64}"},
        {"queue": "nightly", "priority": "low"},
        {"queue": ""},
        {"namespace": "elsewhere"},
    ],
)
def test_values_do_what_the_sweeps_keys_do(tmp_path: Path, values: dict[str, str]) -> None:
    sweep = write_sweep(tmp_path / "sweep.yaml", env=AWKWARD)
    settings = chart_of(sweep, tmp_path / "c")
    own = {"image": settings.image, "queue": settings.compute.queue or "", "priority": "", "namespace": ""}
    flags = [word for key, value in values.items() for word in ("--set-string", f"{key}={value}")]
    found = by_name(helm_template(tmp_path / "c", *flags))
    assert found == plain(sweep, settings.with_values(**{**own, **values}))
    assert found != plain(sweep, settings)


@pytest.mark.parametrize("values", ["image=", "queue=My Queue", "imgae=x", "namespace=-"])
def test_helm_refuses_wrong_values(tmp_path: Path, values: str) -> None:
    chart_of(write_sweep(tmp_path / "sweep.yaml"), tmp_path / "c")
    with pytest.raises(HelmError, match="values don't meet the specifications of the schema"):
        helm_template(tmp_path / "c", "--set", values)


def test_the_chart_passes_helm_lint(tmp_path: Path) -> None:
    chart_of(write_sweep(tmp_path / "sweep.yaml"), tmp_path / "c")
    assert "1 chart(s) linted, 0 chart(s) failed" in helm("lint", "--strict", tmp_path / "c")


def test_every_plain_file_is_valid(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep.yaml", env=AWKWARD, priority="high")
    plan = plan_sweep(sweep)
    files = render_files(plan, resolve_settings(plan.compute), "yaml")
    documents = [yaml.safe_load(text) for name, text in files.items() if name.startswith("runs/")]
    assert len(documents) == 4
    assert kubeconform(documents) == []


def test_every_golden_file_is_valid() -> None:
    documents = [yaml.safe_load(path.read_text()) for path in GOLDEN.glob("*.yaml")]
    assert len(documents) >= 20
    assert kubeconform(documents) == []


H100 = {"accelerator": "h100:8x2"}


def selection(row: Slice) -> dict[str, Any]:
    return {"accelerator": row.name, "machine_type": row.machine_type}


def test_jobset_job_and_pod_of_every_accelerator_are_valid() -> None:
    jobsets = [render_jobset(make_run(), make_settings(**selection(row))) for row in SLICES]
    derived = [make(jobset, "oct") for jobset in jobsets for make in (child_job, child_pod)]
    assert kubeconform([*jobsets, *derived]) == []


def test_jobset_job_and_pod_of_every_accelerator_and_capacity_are_valid() -> None:
    kinds = ["spot", "reservation", ["spot", "on_demand"], "flex_start", "queued_provisioning"]
    jobsets = [
        render_jobset(make_run(), make_settings(**where, capacity=kind, reservation=reservation))
        for where, generation in [*((selection(row), row.generation) for row in SLICES), (H100, None)]
        for kind in kinds
        if not (generation is V4 and kind in ("flex_start", "queued_provisioning"))
        for reservation in ["p/oct" if kind == "reservation" else None]
    ]
    derived = [make(jobset, "oct") for jobset in jobsets for make in (child_job, child_pod)]
    assert kubeconform([*jobsets, *derived]) == []


@pytest.mark.parametrize("key", ["restartPolicyy", "hostNetwrok"])
def test_a_field_that_the_api_does_not_know_would_be_noticed(key: str) -> None:
    document = render_jobset(make_run(), make_settings())
    document["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"][key] = "Never"
    (found,) = kubeconform([document])
    assert key in found

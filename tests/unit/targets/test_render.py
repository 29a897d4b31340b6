"""`octjob render`: files that say what submit would send, as plain YAML and as a chart."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from doubles.cluster_runs import COMPUTE, IMAGE

from octjob.cli import run as octjob
from octjob.spec.expand import plan_sweep
from octjob.targets.kubernetes.documents.manifest import render_jobset
from octjob.targets.kubernetes.documents.render import MARKER, render_files, write_files
from octjob.targets.kubernetes.documents.settings import Settings, resolve_settings
from octjob.targets.kubernetes.documents.yamltext import to_yaml

Documents = dict[str, dict[str, Any]]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write_sweep(tmp_path / "sweep.yaml", env={"BRACES": "{{ .Values.image }}", "LINES": "a\nimage: b"})


def write_sweep(path: Path, **compute: Any) -> Path:
    content = {
        "name": "my_sweep",
        "output": f"file://{path.parent}/out",
        "checkpoints": {"a": "gs://bucket/a.pt", "b": "gs://bucket/b.pt"},
        "configs": {"x": {"overrides": {"train.epochs": 2}}, "y": {"overrides": {"train.epochs": 3}}},
        "data": {"source": "b2://bucket/dataset"},
        "compute": {key: value for key, value in {**COMPUTE, **compute}.items() if value is not None},
    }
    path.write_text(to_yaml(content))
    return path


def documents_of(sweep: Path, **values: str) -> Documents:
    """What submit sends, by name; `values` in place of the sweep's own."""
    plan = plan_sweep(sweep)
    settings = resolve_settings(plan.compute)
    if values:
        settings = settings.with_values(**{**defaults_of(settings), **values})
    documents = [render_jobset(run, settings) for run in plan.runs]
    return {document["metadata"]["name"]: document for document in documents}


def defaults_of(settings: Settings) -> dict[str, str]:
    compute = settings.compute
    return {
        "image": settings.image,
        "queue": compute.queue or "",
        "priority": compute.priority or "",
        "namespace": compute.namespace or "",
    }


ACTION = re.compile(r"\{\{(-?)\s*(.*?)\s*\}\}")


def helm_template(chart: Path, **values: str) -> Documents:
    """The few constructs of Helm that our charts use; tests/cluster asks the real one."""
    given = {**yaml.safe_load((chart / "values.yaml").read_text()), **values}
    jsonschema.validate(given, json.loads((chart / "values.schema.json").read_text()))
    documents = [
        yaml.safe_load(expand(path.read_text(), given)) for path in (chart / "templates").glob("*.yaml")
    ]
    return {document["metadata"]["name"]: document for document in documents}


def expand(template: str, values: dict[str, str]) -> str:
    lines: list[str] = []
    scopes: list[str] = []
    for line in template.split("\n"):
        action = ACTION.fullmatch(line.strip())
        words = action[2].split() if action else []
        if words[:1] in (["with"], ["if"]):
            scopes.append(values[words[1].removeprefix(".Values.")])
        elif words == ["end"]:
            scopes.pop()
        elif all(scopes):
            lines.append(ACTION.sub(lambda match: value_of(match[2], values, scopes), line))
    assert not scopes
    return "\n".join(lines)


def value_of(expression: str, values: dict[str, str], scopes: list[str]) -> str:
    if expression == '"{{"':
        return "{{"
    source, *pipes = (part.strip() for part in expression.split(" | "))
    if source.startswith("printf"):
        _, form, base, *names = source.split(" ")
        parts = [json.loads(base), *(values[name.removeprefix(".Values.")] for name in names)]
        result = json.loads(form) % tuple(parts)
        assert pipes[:2] == ["sha256sum", "trunc 16"]
        result, pipes = hashlib.sha256(result.encode()).hexdigest()[:16], pipes[2:]
    else:
        result = scopes[-1] if source == "." else values[source.removeprefix(".Values.")]
    assert pipes == ["quote"]
    return json.dumps(result)


def test_plain_files_are_what_submit_sends(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert octjob(["render", "-f", str(sweep), "-o", str(tmp_path / "d")]) == 0
    said = capsys.readouterr()
    assert (
        said.out
        == f"my_sweep: 4 runs in {tmp_path}/d; `kubectl apply --server-side -k {tmp_path}/d` carries them out\n"
    )
    assert "warning: output, cache: file:// is a directory" in said.err
    kustomization = yaml.safe_load((tmp_path / "d/kustomization.yaml").read_text())
    found = [yaml.safe_load((tmp_path / "d" / name).read_text()) for name in kustomization["resources"]]
    assert {document["metadata"]["name"]: document for document in found} == documents_of(sweep)
    assert len(found) == len(list((tmp_path / "d/runs").iterdir())) == 4
    (labels,) = kustomization["labels"]
    assert all(labels["pairs"].items() <= document["metadata"]["labels"].items() for document in found)


@pytest.mark.parametrize(
    "compute",
    [
        {},
        {"queue": None},
        {"priority": "high", "namespace": "oct", "max_runtime_hours": 5.0},
        {"env": {"BRACES": "{{ .Values.image }}", "LINES": "a\nimage: b", "NUMBER": "1e3"}},
        {
            "pod": {
                "spec": {
                    "initContainers": [{"name": "p", "args": ["::: a", ": ", "{{ .x }}", "a\nimage: b"]}]
                }
            }
        },
    ],
)
def test_a_chart_gives_the_plain_documents(tmp_path: Path, compute: dict[str, Any]) -> None:
    sweep = write_sweep(tmp_path / "sweep.yaml", **compute)
    assert octjob(["render", "-f", str(sweep), "-o", str(tmp_path / "c"), "--format", "helm"]) == 0
    assert helm_template(tmp_path / "c") == documents_of(sweep)
    chart = yaml.safe_load((tmp_path / "c/Chart.yaml").read_text())
    assert (chart["apiVersion"], chart["name"], chart["type"]) == ("v2", "my-sweep", "application")
    assert isinstance(chart["appVersion"], str)


@pytest.mark.parametrize(
    "values",
    [
        {"image": f"other@sha256:{'0' * 64}"},
        {"queue": "nightly", "priority": "low"},
        {"queue": "", "namespace": "elsewhere"},
    ],
)
def test_a_charts_values_do_what_the_sweeps_keys_do(
    sweep: Path, tmp_path: Path, values: dict[str, str]
) -> None:
    write_files(
        render_files(plan_sweep(sweep), resolve_settings(plan_sweep(sweep).compute), "helm"), tmp_path / "c"
    )
    found = helm_template(tmp_path / "c", **values)
    assert found == documents_of(sweep, **values)
    assert found != documents_of(sweep)


@pytest.mark.parametrize("values", [{"image": ""}, {"queue": "My Queue"}, {"imgae": "x"}, {"namespace": 3}])
def test_a_charts_schema_refuses_other_values(sweep: Path, tmp_path: Path, values: dict[str, Any]) -> None:
    write_files(
        render_files(plan_sweep(sweep), resolve_settings(plan_sweep(sweep).compute), "helm"), tmp_path / "c"
    )
    with pytest.raises(jsonschema.ValidationError):
        helm_template(tmp_path / "c", **values)


@pytest.mark.parametrize("format_", ["yaml", "helm"])
def test_the_same_sweep_gives_the_same_bytes_and_replaces_itself(
    sweep: Path, tmp_path: Path, format_: str
) -> None:
    folder = tmp_path / "d"
    args = ["render", "-f", str(sweep), "-o", str(folder), "--format", format_]
    assert octjob(args) == 0
    before = contents(folder)
    (folder / "mine.txt").write_text("kept")
    assert octjob(args) == 0
    assert contents(folder) == {**before, "mine.txt": b"kept"}
    sweep.write_text(sweep.read_text().replace("epochs: 3", "epochs: 4"))
    assert octjob(args) == 0
    after = contents(folder)
    assert len(after) == len(before) + 1
    assert after.keys() != {*before, "mine.txt"}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_of_someone_elses_is_left_alone(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/thesis.txt").write_text("years of work")
    assert octjob(["render", "-f", str(sweep), "-o", str(tmp_path / "d")]) == 2
    assert "not empty, and not an earlier rendering; nothing was written" in capsys.readouterr().err
    assert contents(tmp_path / "d") == {"thesis.txt": b"years of work"}


@pytest.mark.parametrize("key", ["image", "accelerator"])
def test_a_missing_key_is_named_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    sweep = write_sweep(tmp_path / "sweep.yaml", **{key: None})
    number = sweep.read_text().split("\n").index("compute:") + 1
    assert octjob(["render", "-f", str(sweep), "-o", str(tmp_path / "d")]) == 2
    error = capsys.readouterr().err.splitlines()[0]
    assert error == f"error: {sweep}:{number}: compute.{key}: is required by target kubernetes and missing"
    assert not (tmp_path / "d").exists()


def test_the_runs_specs_are_written_on_request(sweep: Path, tmp_path: Path) -> None:
    args = ["render", "-f", str(sweep), "-o", str(tmp_path / "d")]
    assert octjob(args) == 0
    assert not (tmp_path / "out").exists()
    assert octjob([*args, "--write-specs"]) == 0
    specs = sorted(path.parent.name for path in (tmp_path / "out/my_sweep/runs").glob("*/spec.json"))
    assert specs == sorted(run.run_id for run in plan_sweep(sweep).runs)


def test_the_marker_lists_what_was_written(sweep: Path, tmp_path: Path) -> None:
    write_files(
        render_files(plan_sweep(sweep), resolve_settings(plan_sweep(sweep).compute), "yaml"), tmp_path / "d"
    )
    marker = json.loads((tmp_path / "d" / MARKER).read_text())
    assert {*marker["files"], MARKER} == contents(tmp_path / "d").keys()
    assert IMAGE in (tmp_path / "d" / marker["files"][-1]).read_text()

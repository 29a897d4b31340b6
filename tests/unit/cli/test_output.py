"""What `-o json` prints is what its schema says, key by key: programs read it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from doubles.kube_documents import NOW, admitted, jobset, pods, workload
from doubles.sweep_results import beat, entry, finish, labels, skilled, submit
from jsonschema import Draft202012Validator

from octjob.cli import run as octjob
from octjob.cli.footer import Footer, RunLinks, SweepLinks
from octjob.cli.output import explain_schema, leaderboard_schema, plan_schema, status_schema
from octjob.cli.status_table import status_json
from octjob.records.status import RunStatus, sweep_status
from octjob.storage import ObjectStore
from octjob.targets.kubernetes.observation.seen import Seen
from octjob.targets.kubernetes.observation.state import run_state
from octjob.targets.kubernetes.observation.used import Used
from octjob.targets.kubernetes.phase import Handle

Schema = dict[str, Any]
SCHEMAS: dict[str, Callable[[], Schema]] = {
    "status": status_schema,
    "plan": plan_schema,
    "explain": explain_schema,
    "leaderboard": leaderboard_schema,
}


def closed(schema: Any) -> Any:
    """The same schema without room for keys that it does not name."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        changed.setdefault("additionalProperties", False)
    return changed


def complaints(document: Any, schema: Schema) -> list[str]:
    Draft202012Validator.check_schema(schema)
    return [
        f"{error.json_path}: {error.message}"
        for error in Draft202012Validator(closed(schema)).iter_errors(document)
    ]


@pytest.fixture
def store(file_store: ObjectStore) -> ObjectStore:
    submit(file_store, [entry(name) for name in ("done", "runs", "new", "bad")], baseline="done")
    finish(file_store, entry("done"), skilled(labels(), 3, 0))
    beat(file_store, entry("runs"), "training", at=NOW - 5)
    beat(file_store, entry("bad"), "failed", at=NOW - 5)
    return file_store


def test_status_of_a_store(store: ObjectStore) -> None:
    document = json.loads(status_json(store.root, sweep_status(store, NOW)))
    assert document["schema"] == "octjob.status/2"
    assert complaints(document, status_schema()) == []


def test_status_of_a_cluster(store: ObjectStore) -> None:
    running = jobset("runs", jobs="ready")
    seen = {
        "runs": Seen(running, admitted("runs"), pods(running)),
        "new": Seen(jobset("new", suspend=True, jobs="suspended"), workload("new", active=False)),
    }
    runs = [
        run_state(one, seen.get(one.checkpoint, Seen()), NOW, Handle("demo", one.run_id))
        for one in sweep_status(store, NOW)
    ]
    document = json.loads(status_json(store.root, runs))
    assert complaints(document, status_schema()) == []
    by_name = {one["checkpoint"]: (one["state"], one["jobset"]) for one in document["runs"]}
    assert by_name["runs"] == ("Running", running["metadata"]["name"])
    assert by_name["new"][0] == "Paused"
    assert by_name["bad"] == ("Failed", "")


@pytest.fixture
def sweep_file(tmp_path: Path) -> Callable[..., Path]:
    def write(**compute: Any) -> Path:
        content = {
            "name": "demo",
            "output": str(tmp_path / "out"),
            "checkpoints": {"a": "gs://bucket/a.pt"},
            "configs": {"c": {"overrides": {"train.epochs": 1}}},
            "data": {"source": "gs://bucket/data"},
            "compute": compute,
        }
        path = tmp_path / "demo.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize(
    "compute", [{"target": "local"}, {"target": "kubernetes", "accelerator": "v4-32", "image": "x"}]
)
def test_plan(
    sweep_file: Callable[..., Path],
    compute: dict[str, str],
    offline: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    command = ["plan", "-f", str(sweep_file(**compute)), "-o", "json", *(["--offline"] if offline else [])]
    assert octjob(command) == 0
    document = json.loads(capsys.readouterr().out)
    assert complaints(document, plan_schema()) == []
    (one,) = document["runs"]
    assert bool(one["jobset"]) == (compute["target"] == "kubernetes")


PRICES = "currency: EUR\ndate: 2026-12-01\nchip_hours:\n  v4: {on_demand: 2}\n"
SLICE = {
    "target": "kubernetes",
    "accelerator": "v4-32",
    "image": "x",
    "queue": "tpu",
    "max_runtime_hours": 1.0,
}


@pytest.mark.parametrize(("compute", "at_most"), [(SLICE, 32), ({**SLICE, "spot": True}, None)])
def test_plan_in_money(
    sweep_file: Callable[..., Path],
    compute: dict[str, Any],
    at_most: float | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text(PRICES)
    command = ["plan", "-f", str(sweep_file(**compute)), "--offline", "--prices", str(table)]
    assert octjob([*command, "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert complaints(document, plan_schema()) == []
    assert (document["cost"]["at_most"], document["cost"]["date"]) == (at_most, "2026-12-01")
    assert octjob(command) == 0
    expected = (
        "cost: at most 32.00 EUR; 2 EUR a chip-hour of v4 on demand"
        if at_most
        else "cost: no price for v4 Spot"
    )
    assert expected in capsys.readouterr().out


def test_prices_of_a_local_sweep_are_said_to_do_nothing(
    sweep_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text(PRICES)
    assert octjob(["plan", "-f", str(sweep_file(target="local")), "--prices", str(table)]) == 0
    assert "note: --prices has no effect" in capsys.readouterr().out
    assert octjob(["plan", "-f", str(sweep_file(target="local")), "--prices", str(tmp_path / "none")]) == 2


def test_leaderboard(store: ObjectStore, capsys: pytest.CaptureFixture[str]) -> None:
    octjob(["collect", store.root, "-o", "json", "--no-publish"])
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == f"octjob.leaderboard/{document['schema_version']}"
    assert complaints(document, leaderboard_schema()) == []


@pytest.mark.parametrize("what", SCHEMAS)
def test_the_schema_can_be_printed(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert octjob(["schema", what]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMAS[what]()


def test_status_with_money_and_links(store: ObjectStore) -> None:
    used = Used("v4", "on_demand", "chip", 1, 16.0, False, 2.0, 32.0, "EUR", "2026-12-01")
    links = SweepLinks("https://logs", {"a": RunLinks("https://console", "https://logs-of-a")})
    footer = Footer([used], "prices.yaml of 2026-12-01", links)
    document = json.loads(status_json(store.root, sweep_status(store, NOW), footer.as_json()))
    assert complaints(document, status_schema()) == []
    assert footer.lines() == [
        "",
        "used so far: 16.0 chip-hours of v4 on demand, 32.00 EUR (prices.yaml of 2026-12-01)",
        "console: https://console",
        "logs: https://logs-of-a",
    ]
    assert Footer(links=SweepLinks("https://logs", {})).lines() == ["", "logs: https://logs"]
    assert (Footer().lines(), Footer().as_json()) == ([], {})


def test_a_key_more_or_less_is_noticed() -> None:
    run: dict[str, Any] = RunStatus("a", "a", "c", "Running").to_dict()
    document = json.loads(json.dumps({"schema": "octjob.status/2", "sweep": "x", "runs": [run]}))
    assert complaints(document, status_schema()) == []
    document["runs"][0]["new"] = 1
    del document["runs"][0]["state"]
    assert len(complaints(document, status_schema())) == 2

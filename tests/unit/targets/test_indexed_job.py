"""The Job that prepares volumes, before a cluster: what its pods may, need and do when they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from doubles.pod_security import pod_security_complaints

from octjob.cli import run as octjob
from octjob.errors import FailedRunsError
from octjob.records.preparation import Preparation, preparation_of, preparation_uri, split_preparation_uri
from octjob.spec.expand import Plan, plan_sweep
from octjob.targets.kubernetes import preparing
from octjob.targets.kubernetes.documents.indexed_job import render_job

Document = dict[str, Any]
IMAGE = f"europe-docker.pkg.dev/project/octjob/octjob@sha256:{'0' * 64}"


def plan(folder: Path, **compute: Any) -> Plan:
    content = {
        "name": "phase3",
        "output": "gs://bucket/octjob",
        "checkpoints": {letter: f"gs://bucket/{letter}.pt" for letter in "ab"},
        "configs": {
            "probe": {},
            "finetune": {"overrides": {"model.freeze_encoder": False}},
            "uw": {"overrides": {"data.sites": ["UW"]}},
            "alone": {"overrides": {"data.shared_cache": None}},
        },
        "data": {"source": "b2://bucket/dataset"},
        "compute": {"target": "kubernetes", "image": IMAGE, **compute},
    }
    content["configs"] = {
        name: {"overrides": {"data.shared_cache": "float16", **one.get("overrides", {})}}  # type: ignore[attr-defined]
        for name, one in content["configs"].items()  # type: ignore[attr-defined]
    }
    path = folder / "phase3.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return plan_sweep(path)


def job(folder: Path, **compute: Any) -> Document:
    planned = plan(folder, **compute)
    wanted = preparation_of(planned)
    return render_job(wanted, preparation_uri(wanted), planned.compute)


def test_one_run_stands_for_all_that_read_the_same_volumes(tmp_path: Path) -> None:
    wanted = preparation_of(plan(tmp_path))
    assert [(run.checkpoint_name, run.config_name) for run in wanted.runs] == [
        ("a", "probe"),
        ("b", "probe"),
        ("a", "uw"),
        ("b", "uw"),
    ]
    assert Preparation.model_validate_json(wanted.model_dump_json()) == wanted
    uri = preparation_uri(wanted)
    assert split_preparation_uri(uri) == ("gs://bucket/octjob/cache", f"{wanted.digest}.json")


def test_its_pods_pass_the_restricted_level_and_want_no_chips(tmp_path: Path) -> None:
    document = job(tmp_path, accelerator="v4-32", secrets=["octjob-b2"], service_account="octjob-run")
    pod = document["spec"]["template"]
    assert list(pod_security_complaints(pod)) == []
    text = json.dumps(document)
    assert "google.com/tpu" not in text
    assert "gke-tpu" not in text
    assert pod["spec"]["serviceAccountName"] == "octjob-run"
    (container,) = pod["spec"]["containers"]
    assert container["resources"]["requests"] == {"cpu": "4", "memory": "16Gi"}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    secret = {"secretKeyRef": {"name": "octjob-b2", "key": "B2_APPLICATION_KEY"}}
    assert {"name": "B2_APPLICATION_KEY", "valueFrom": secret} in container["env"]


@pytest.mark.parametrize("compute", [{}, {"prepare": {"spot": True, "queue": "cpu", "pods": 3}}])
def test_it_has_no_field_that_kubernetes_does_not_know(tmp_path: Path, compute: Document) -> None:
    from kubernetes import client

    document = job(tmp_path, **compute)
    api = client.ApiClient()
    typed = api.deserialize(json.dumps(document), "V1Job", "application/json")
    assert api.sanitize_for_serialization(typed) == document


def test_each_index_takes_its_part_and_an_end_means_what_its_exit_code_says(tmp_path: Path) -> None:
    spec = job(tmp_path, prepare={"pods": 7, "cpu": 2}, max_restarts=5)["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 7, 7)
    assert spec["backoffLimitPerIndex"] == 5
    (container,) = spec["template"]["spec"]["containers"]
    assert container["command"][-4:] == ["--part", "$(JOB_COMPLETION_INDEX)/7", "--workers", "2"]
    by_code = {
        code: rule["action"]
        for rule in spec["podFailurePolicy"]["rules"]
        for code in rule.get("onExitCodes", {}).get("values", ())
    }
    assert by_code == {75: "Ignore", 143: "Ignore", 2: "FailIndex", 3: "FailIndex", 4: "FailIndex"}
    assert spec["podFailurePolicy"]["rules"][0]["action"] == "Ignore"
    # FailIndex is allowed under this restart policy and with a limit for each index only.
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_a_queue_spot_and_node_labels_are_its_own(tmp_path: Path) -> None:
    plain = job(tmp_path, queue="tpu", spot=True)
    assert "kueue.x-k8s.io/queue-name" not in plain["metadata"]["labels"]
    assert "nodeSelector" not in plain["spec"]["template"]["spec"]
    chosen = {"queue": "cpu", "spot": True, "node_selector": {"pool": "n2"}}
    document = job(tmp_path, queue="tpu", prepare=chosen)
    assert document["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "cpu"
    pod = document["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"pool": "n2", "cloud.google.com/gke-spot": "true"}
    assert [one["key"] for one in pod["tolerations"]] == ["cloud.google.com/gke-spot"]


def test_its_name_follows_from_what_it_does(tmp_path: Path) -> None:
    names = [
        job(tmp_path, **compute)["metadata"]["name"]
        for compute in ({}, {}, {"prepare": {"pods": 2}}, {"namespace": "team"})
    ]
    assert names[0] == names[1] == names[3] != names[2]
    assert names[0].startswith("prepare-phase3-")
    assert len(names[0]) <= 40


def test_yaml_is_printed_as_it_would_be_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = job(tmp_path)
    assert octjob(["prepare", "-f", str(tmp_path / "phase3.yaml"), "--dry-run", "-o", "yaml"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == document


class Jobs:
    """A cluster with at most one Job, which is as the test says at each look."""

    namespace, flags = "team", ""

    def __init__(self, *looks: Document | None) -> None:
        self.looks, self.done = list(looks), list[str]()

    def get(self, resource: object, name: str) -> Document | None:
        return self.looks.pop(0)

    def apply(self, resource: object, document: Document, *, dry_run: bool = False) -> Document:
        assert document["metadata"]["namespace"] == "team"
        self.done.append("apply")
        return document

    def delete(self, resource: object, name: str, *, uid: str) -> bool:
        self.done.append(f"delete {uid}")
        return True


def standing(**status: Any) -> Document:
    conditions = [{"type": kind, "status": "True"} for kind in status.pop("conditions", ())]
    return {
        "metadata": {"name": "j", "uid": "u"},
        "spec": {"completions": 3},
        "status": {**status, "conditions": conditions},
    }


@pytest.mark.parametrize(
    ("looks", "became", "done"),
    [
        ([None], "created", ["apply"]),
        ([standing()], "is running already", []),
        (
            [standing(conditions=["Complete"]), standing(), None],
            "created again",
            ["delete u", "apply"],
        ),
        ([standing(conditions=["Failed"]), None], "created again", ["delete u", "apply"]),
    ],
)
def test_a_job_that_runs_is_left_alone_and_one_that_ended_makes_way(
    tmp_path: Path, looks: list[Document | None], became: str, done: list[str]
) -> None:
    cluster = Jobs(*looks)
    assert preparing.create(cluster, job(tmp_path), lambda s: None) == became  # type: ignore[arg-type]
    assert cluster.done == done


def test_waiting_ends_with_the_job_and_names_what_failed() -> None:
    seen: list[tuple[int, int]] = []
    cluster = Jobs(standing(), standing(succeeded=2), standing(succeeded=3, conditions=["Complete"]))
    preparing.wait(cluster, "j", lambda done, total: seen.append((done, total)), lambda s: None)  # type: ignore[arg-type]
    assert seen == [(0, 3), (2, 3), (3, 3)]
    failed = Jobs(standing(failedIndexes="1,4-6", conditions=["Failed"]))
    with pytest.raises(FailedRunsError, match="of parts 1,4-6"):
        preparing.wait(failed, "j", lambda done, total: None, lambda s: None)  # type: ignore[arg-type]
    with pytest.raises(FailedRunsError, match="is gone from team"):
        preparing.wait(Jobs(None), "j", lambda done, total: None, lambda s: None)  # type: ignore[arg-type]

"""JobSets of a sweep with `compute.probe`: what takes chips, what takes cores, and how they name each other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from doubles.cluster_runs import COMPUTE, container, make_run, make_settings, pod_spec

from octjob.errors import SpecError
from octjob.spec.effects import probe_notes
from octjob.spec.encoding import encodings
from octjob.spec.expand import Plan, plan_sweep
from octjob.spec.experiment import Experiment
from octjob.spec.run import Run
from octjob.targets.kubernetes.documents.manifest import FEATURES, render_jobset
from octjob.targets.kubernetes.documents.render import render_files
from octjob.targets.kubernetes.documents.settings import Settings, resolve_settings
from octjob.targets.kubernetes.documents.yamltext import to_yaml
from octjob.targets.kubernetes.outlook.outlook import cost, cost_otherwise
from octjob.targets.submit import record_of

GOLDEN = Path(__file__).parents[2] / "golden"
PROBE = {"cpu": 4, "memory": "16Gi", "queue": "cpu", "spot": True, "node_selector": {"pool": "cpu"}}
FINETUNE = Experiment.model_validate({"model": {"freeze_encoder": False}})

Document = dict[str, Any]


def settings_of(run: Run, **probe: Any) -> tuple[Run, Settings]:
    """The run's encoding, and settings that know of it."""
    encoding = encodings([run])[run.run_id]
    settings = make_settings(probe={**PROBE, **probe})
    return encoding, replace(settings, features_of={run.run_id: encoding.run_id})


def sweep(folder: Path, **compute: Any) -> Path:
    content = {
        "name": "phase3",
        "output": "gs://bucket/octjob",
        "checkpoints": {name: f"gs://bucket/{name}.pt" for name in ("a", "b")},
        "configs": {
            "mean": {},
            "logistic": {"overrides": {"train.optimizer": "LBFGS", "model.pool_method": "max"}},
            "finetune": {"overrides": {"model.freeze_encoder": False}},
        },
        "controls": ["prior", "random_init"],
        "baseline": "a",
        "data": {"source": "gs://bucket/data"},
        "compute": {**COMPUTE, "probe": PROBE, **compute},
    }
    path = folder / "phase3.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def planned(folder: Path, **compute: Any) -> Plan:
    return plan_sweep(sweep(folder, **compute))


@pytest.mark.parametrize("name", ["cores-probe", "v4-32-encoding"])
def test_golden(name: str, request: pytest.FixtureRequest) -> None:
    run = make_run()
    encoding, settings = settings_of(run)
    text = to_yaml(render_jobset(encoding if name.endswith("encoding") else run, settings))
    path = GOLDEN / f"{name}.yaml"
    if request.config.getoption("--update-goldens"):
        path.write_text(text)
    assert path.read_text() == text, "pytest --update-goldens writes it anew"


def test_a_probe_asks_for_cores_and_an_encoding_for_the_slice() -> None:
    run = make_run()
    encoding, settings = settings_of(run)
    probe, whole = render_jobset(run, settings), render_jobset(encoding, settings)
    assert container(probe)["resources"]["limits"] == {"cpu": "4", "memory": "16Gi"}
    assert container(whole)["resources"]["limits"] == {"google.com/tpu": "4"}
    assert (pod_spec(probe)["nodeSelector"], pod_spec(probe)["tolerations"]) == (
        {"pool": "cpu", "cloud.google.com/gke-spot": "true"},
        [{"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"}],
    )
    env = {one["name"]: one.get("value") for one in container(probe)["env"]}
    assert (env["OCTJOB_DEVICE"], env["OMP_NUM_THREADS"], env["OCTJOB_NUM_HOSTS"]) == ("cpu", "4", "1")
    assert container(probe)["command"][:4] == ["octjob", "train", "--features", encoding.run_id]
    assert container(whole)["command"][:3] == ["octjob", "train", "--run"]
    assert probe["metadata"]["annotations"][FEATURES] == encoding.run_id
    assert FEATURES not in whole["metadata"]["annotations"]
    labels = [each["metadata"]["labels"] for each in (probe, whole)]
    assert ["octjob.dev/encoding" in one for one in labels] == [False, True]
    assert [one["kueue.x-k8s.io/queue-name"] for one in labels] == ["cpu", "tpu"]
    assert probe["metadata"]["name"] == render_jobset(run, make_settings())["metadata"]["name"]


def test_without_queue_nodes_or_spot_a_probe_goes_anywhere() -> None:
    run = make_run()
    _, settings = settings_of(run, queue=None, spot=False, node_selector={})
    document = render_jobset(run, settings, required_topology=True)
    assert {"nodeSelector", "tolerations"} & pod_spec(document).keys() == set()
    assert "kueue" not in json.dumps(document)
    assert "exclusive-topology" not in json.dumps(document)


def test_each_run_has_its_place(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    settings = resolve_settings(plan.compute).for_plan(plan)
    on_cores = {run.run_id.rpartition("-")[0] for run in plan.runs if settings.of(run).cores is not None}
    fine_tuned = {run.run_id.rpartition("-")[0] for run in plan.runs} - on_cores
    assert fine_tuned == {"a.finetune", "b.finetune", *(f"random_init-{i}.finetune" for i in range(5))}
    assert "control.prior" in on_cores
    assert [one.checkpoint_name for one in plan.encodings] == [
        "a",
        "b",
        *(f"random_init-{i}" for i in range(5)),
    ]
    for one in plan.encodings:
        names = [run.config_name for run in plan.runs if run.run_id in one.encodes]
        assert names == ["mean", "logistic"], "one pass for both poolings"
    assert [one.run_id for one in record_of(plan).encodings] == [one.run_id for one in plan.encodings]


def test_what_changes_no_feature_leaves_the_encoding(tmp_path: Path) -> None:
    def only(**config: Any) -> Run:
        run = make_run(config=Experiment.model_validate(config))
        return encodings([run])[run.run_id]

    plain = only()
    assert only(train={"lr_head": 0.5}, data={"batch_size": 7}, log={"images": 2}).run_id == plain.run_id
    for other in (
        {"model": {"pool_method": "max"}},
        {"data": {"sites": ["UW"]}},
        {"data": {"augment": {"flip": True}}},
        {"train": {"precision": "bf16"}},
    ):
        assert only(**other).run_id != plain.run_id


def test_a_plan_without_the_key_or_a_cluster_has_no_encodings(tmp_path: Path) -> None:
    assert planned(tmp_path, probe=None).encodings == ()
    local = planned(tmp_path, target="local")
    assert local.encodings == ()
    assert record_of(local).encodings == ()
    assert record_of(local).same_plan(record_of(planned(tmp_path))), "the key is no other sweep"


def test_both_prices(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    bound = cost(plan, None, set())
    # 7 encodings and 7 fine-tunings; without the key 21 runs with an encoder and a control.
    assert (bound.num_runs, bound.num_encodings, bound.at_most) == (14, 7, 14 * 16 * 72)
    assert "(7 encodings + 7 runs) x 16 chips" in str(bound)
    other = cost_otherwise(plan, set())
    assert other is not None
    assert (other.num_runs, other.at_most) == (22, 22 * 16 * 72)
    back = cost_otherwise(planned(tmp_path, probe=None), set())
    assert back is not None
    assert back.at_most == bound.at_most
    done = {run.run_id for run in plan.runs if run.checkpoint_name == "a" and run.config.mode == "probe"}
    assert cost(plan, None, done).num_encodings == 6, "nobody waits for that encoding any more"


def test_where_the_key_changes_nothing_it_is_said(tmp_path: Path) -> None:
    run = make_run(config=FINETUNE)
    settings = make_settings(probe=PROBE)
    assert render_jobset(run, settings) == render_jobset(run, make_settings())
    (nothing,) = probe_notes(settings.compute, [run])
    assert nothing == "compute.probe: changes nothing: every run trains its encoder, and keeps its slice"
    (local,) = probe_notes(planned(tmp_path, target="local").compute, [make_run()])
    assert "changes nothing with target local" in local
    images = make_run(config=Experiment.model_validate({"log": {"images": 2}}))
    assert probe_notes(settings.compute, [images])[0].startswith("log.images beside compute.probe")
    assert probe_notes(settings.compute, [make_run()]) == probe_notes(make_settings().compute, [run]) == []


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        ({"memory": "16 GB"}, "no amount of memory"),
        ({"queue": "A b"}, "no name"),
        ({"pods": 3}, "probe.pods"),
    ],
)
def test_a_wrong_value_is_named(probe: Document, said: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=said):
        planned(tmp_path, probe=probe)


def test_rendered_files_are_those_of_submit(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    settings = resolve_settings(plan.compute)
    files = render_files(plan, settings, "yaml")
    knowing = settings.for_plan(plan)
    for run in (*plan.encodings, *plan.runs):
        document = render_jobset(run, knowing)
        assert yaml.safe_load(files[f"runs/{document['metadata']['name']}.yaml"]) == document
    chart = render_files(plan, settings, "helm")
    for run in plan.runs:
        if settings.of(run).cores is not None:
            text = chart[f"templates/{render_jobset(run, knowing)['metadata']['name']}.yaml"]
            assert "queue-name: cpu" in text.replace('"', "")
            assert '.Values.image "cpu" "" .Values.namespace' in text

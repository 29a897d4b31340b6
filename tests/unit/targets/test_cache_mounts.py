"""`compute.cache_gcsfuse` and `compute.cache_disk`: which pods get a mount, how, and where it is refused or idle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from doubles.cluster_runs import COMPUTE, container, make_run, make_settings, pod_spec

from octjob.cli import run as octjob
from octjob.env import CACHE_MOUNT
from octjob.errors import SpecError
from octjob.records.preparation import preparation_of
from octjob.spec.effects import compute_notes
from octjob.spec.encoding import encodings
from octjob.spec.expand import plan_sweep
from octjob.spec.experiment import Experiment
from octjob.targets.kubernetes.documents.indexed_job import render_job
from octjob.targets.kubernetes.documents.manifest import SPEC_HASH, render_jobset
from octjob.targets.kubernetes.documents.yamltext import to_yaml

GOLDEN = Path(__file__).parents[2] / "golden"
ACCOUNT = "octjob-run"
KEYS: dict[str, dict[str, Any]] = {
    "gcsfuse": {"cache_gcsfuse": True, "service_account": ACCOUNT},
    "disk": {"cache_disk": "octjob-volumes"},
}
Document = dict[str, Any]


def sharing(**data: Any) -> dict[str, Any]:
    """A fine-tuning that keeps volumes in the shared cache."""
    data = {"shared_cache": "float16", **data}
    config = Experiment.model_validate({"model": {"freeze_encoder": False}, "data": data})
    return {"config_name": "finetune", "config": config}


def mounted(document: Document) -> bool:
    names = [one["name"] for one in container(document)["env"]]
    volumes = [one["name"] for one in pod_spec(document)["volumes"]]
    assert (CACHE_MOUNT in names) == ("octjob-cache" in volumes)
    return CACHE_MOUNT in names


def annotations(document: Document) -> dict[str, str]:
    template = document["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    found: dict[str, str] = template["metadata"]["annotations"]
    return found


@pytest.mark.parametrize("key", KEYS)
def test_golden(key: str, request: pytest.FixtureRequest) -> None:
    settings = make_settings(accelerator="v6e-8", machine_type="ct6e-standard-8t", **KEYS[key])
    text = to_yaml(render_jobset(make_run(**sharing()), settings))
    path = GOLDEN / f"v6e-8-cache-{key}.yaml"
    if request.config.getoption("--update-goldens"):
        path.write_text(text)
    assert path.read_text() == text, "pytest --update-goldens writes it anew"


@pytest.mark.parametrize("key", KEYS)
def test_the_trainer_is_told_what_stands_for_the_cache(key: str) -> None:
    document = render_jobset(make_run(**sharing()), make_settings(**KEYS[key]))
    (told,) = [one["value"] for one in container(document)["env"] if one["name"] == CACHE_MOUNT]
    (mount,) = [one for one in container(document)["volumeMounts"] if one["name"] == "octjob-cache"]
    assert mount["readOnly"] is True
    below = {"gcsfuse": "/octjob/cache", "disk": ""}[key]
    assert told == mount["mountPath"] + below, "the bucket is mounted whole, the cache is a folder of it"


def test_a_run_without_a_shared_cache_is_rendered_as_before() -> None:
    plain = render_jobset(make_run(), make_settings(service_account=ACCOUNT))
    with_key = render_jobset(make_run(), make_settings(**KEYS["gcsfuse"]))
    assert with_key == plain
    other = render_jobset(make_run(**sharing()), make_settings(**KEYS["disk"]))
    bare = render_jobset(make_run(**sharing()), make_settings())
    assert other["metadata"]["annotations"][SPEC_HASH] != bare["metadata"]["annotations"][SPEC_HASH]


def test_the_node_keeps_what_was_read_once_only() -> None:
    def options(**data: Any) -> tuple[str, set[str]]:
        document = render_jobset(make_run(**sharing(**data)), make_settings(**KEYS["gcsfuse"]))
        (volume,) = [one for one in pod_spec(document)["volumes"] if one["name"] == "octjob-cache"]
        found = {key for key in annotations(document) if key.startswith("gke-gcsfuse/")}
        return volume["csi"]["volumeAttributes"]["mountOptions"], found

    assert options() == (
        "implicit-dirs,uid=10001,gid=10001,file-cache:max-size-mb:16384",
        {"gke-gcsfuse/volumes", "gke-gcsfuse/ephemeral-storage-limit"},
    )
    assert options(cache_dir="/tmp/volumes") == (
        "implicit-dirs,uid=10001,gid=10001",
        {"gke-gcsfuse/volumes"},
    )


def test_a_pods_own_additions_stand_beside_the_mount() -> None:
    pod = {
        "metadata": {"annotations": {"gke-gcsfuse/ephemeral-storage-limit": "0"}},
        "spec": {"volumes": [{"name": "gke-gcsfuse-cache", "emptyDir": {"medium": "Memory"}}]},
    }
    document = render_jobset(make_run(**sharing()), make_settings(pod=pod, **KEYS["gcsfuse"]))
    assert mounted(document)
    assert annotations(document)["gke-gcsfuse/ephemeral-storage-limit"] == "0"
    assert "gke-gcsfuse-cache" in [one["name"] for one in pod_spec(document)["volumes"]]
    taken = {"spec": {"volumes": [{"name": "octjob-cache", "emptyDir": {}}]}}
    with pytest.raises(SpecError, match="octjob has a volume octjob-cache itself"):
        make_settings(pod=taken)


@pytest.mark.parametrize("key", KEYS)
def test_pods_that_read_no_volume_there_get_none(key: str) -> None:
    """With `compute.probe` the encoding reads volumes, a probe its features."""
    config = Experiment.model_validate({"data": {"shared_cache": "float16"}})
    run = make_run(config=config)
    encoding = encodings([run])[run.run_id]
    settings = make_settings(probe={"queue": "cpu"}, **KEYS[key])
    settings = replace(settings, features_of={run.run_id: encoding.run_id})
    assert mounted(render_jobset(encoding, settings))
    assert not mounted(render_jobset(run, settings))


def sweep(
    folder: Path, *, data: dict[str, Any] | None = None, cache: str | None = None, **compute: Any
) -> Path:
    content = {
        "name": "phase3",
        "output": "gs://bucket/octjob",
        **({"cache": cache} if cache else {}),
        "checkpoints": {"a": "gs://bucket/a.pt"},
        "configs": {"mean": {}},
        "data": {"source": "gs://bucket/data", "shared_cache": "float16", **(data or {})},
        "compute": {**COMPUTE, **compute},
    }
    path = folder / "phase3.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


REFUSED = [
    ({**KEYS["gcsfuse"], **KEYS["disk"]}, None, "cache_disk: a run reads its volumes from one", "Keep one"),
    ({"cache_gcsfuse": True}, None, "cache_gcsfuse: .* service account", "Set compute.service_account"),
    (KEYS["gcsfuse"], "b2://bucket/cache", "cache_gcsfuse: .* b2://bucket/cache", "gs:// URI"),
    ({"cache_disk": "Not a name"}, None, "cache_disk: .*no name of a Kubernetes object", ""),
]


@pytest.mark.parametrize(("compute", "cache", "message", "hint"), REFUSED)
def test_what_cannot_be_is_refused_where_it_is_written(
    tmp_path: Path, compute: dict[str, Any], cache: str | None, message: str, hint: str
) -> None:
    with pytest.raises(SpecError, match=rf"phase3\.yaml:\d+: compute\.{message}") as raised:
        plan_sweep(sweep(tmp_path, cache=cache, **compute))
    assert hint in raised.value.hint


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_changes_nothing_is_said_to(key: str, tmp_path: Path, capsys: Any) -> None:
    def notes(**changes: Any) -> list[str]:
        plan = plan_sweep(sweep(tmp_path, **KEYS[key], **changes))
        return compute_notes(plan.compute, plan.runs)

    assert notes() == []
    (local,) = notes(target="local")
    assert local == f"compute.cache_{key}: changes nothing with target local, which has no pods"
    (idle,) = notes(data={"shared_cache": None})
    assert idle.startswith(f"compute.cache_{key}: changes nothing: no run ")
    assert octjob(["plan", "-f", str(tmp_path / "phase3.yaml"), "--offline"]) == 0
    assert f"note: {idle}" in capsys.readouterr().out


def test_pods_that_prepare_volumes_write_by_the_api(tmp_path: Path) -> None:
    plan = plan_sweep(sweep(tmp_path, **KEYS["gcsfuse"]))
    assert "gcsfuse" not in to_yaml(render_job(preparation_of(plan), "gs://bucket/p.json", plan.compute))


def test_the_disk_that_the_page_makes_is_laid_out_as_the_mount() -> None:
    path = Path(__file__).parents[3] / "k8s/hyperdisk-ml/volumes.yaml"
    kinds = {one["kind"]: one for one in yaml.safe_load_all(path.read_text())}
    claim, source = kinds["PersistentVolumeClaim"], kinds["GCPDataSource"]
    assert claim["spec"]["dataSourceRef"]["name"] == source["metadata"]["name"]
    assert claim["spec"]["storageClassName"] == kinds["StorageClass"]["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadOnlyMany"]
    (folder,) = claim["metadata"]["annotations"].values()
    assert source["spec"]["cloudStorage"]["uri"].endswith(f"/cache/{folder}/")

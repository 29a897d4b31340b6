"""`octjob prepare` on a real control plane: the Job controller's pods, each with its index, fill the cache."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from doubles.tiny_sweep import fill_bucket, save_checkpoint, sweep_file

from tests.cluster.access import ClusterAccess
from tests.cluster.submission import IMAGE, octjob

NUM_VOLUMES, PODS = 32, 3
INDEX = "batch.kubernetes.io/job-completion-index"


def write_sweep(folder: Path) -> Path:
    fill_bucket(folder / "bucket").write()
    save_checkpoint(folder / "a.pt")
    compute = {
        "target": "kubernetes",
        "image": IMAGE,
        "prepare": {"pods": PODS, "cpu": 1, "memory": "1Gi"},
    }
    data = {"source": f"{folder}/bucket", "shared_cache": "float16"}
    return sweep_file(folder, {"probe": {}}, data=data, compute=compute)


def test_the_pods_of_an_indexed_job_make_every_volume_once(
    control_plane: ClusterAccess, namespace: str, tmp_path: Path
) -> None:
    sweep = str(write_sweep(tmp_path))
    place = ("-f", sweep, "-n", namespace)
    ended = octjob(control_plane, "prepare", *place, "--dry-run")
    assert ended.code == 0, ended.err
    assert control_plane.list("jobs", namespace) == []
    assert not (tmp_path / "out").exists()

    ended = octjob(control_plane, "prepare", *place, "--wait", "-o", "json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert (found["num_volumes"], found["num_made"], found["refused"]) == (NUM_VOLUMES, NUM_VOLUMES, [])
    assert len(list((tmp_path / "out/cache/volumes").rglob("*.npy"))) == NUM_VOLUMES
    (job,) = control_plane.list("jobs", namespace)
    assert job["status"]["completedIndexes"] == "0-2"
    pods = control_plane.list("pods", namespace)
    assert sorted(pod["metadata"]["labels"][INDEX] for pod in pods) == ["0", "1", "2"]
    assert {pod["spec"]["nodeName"] for pod in pods} == {"gke-default-pool-0"}

    ended = octjob(control_plane, "prepare", *place, "--wait", "-o", "json")
    assert ended.code == 0, ended.err
    assert "created again" in ended.err
    assert json.loads(ended.out)["num_there"] == NUM_VOLUMES


def test_what_is_printed_is_accepted_by_kubectl(
    control_plane: ClusterAccess, namespace: str, tmp_path: Path
) -> None:
    ended = octjob(control_plane, "prepare", "-f", str(write_sweep(tmp_path)), "-o", "yaml")
    assert ended.code == 0, ended.err
    assert len(list((tmp_path / "out/cache/preparations").glob("*.json"))) == 1
    name = yaml.safe_load(ended.out)["metadata"]["name"]
    said = control_plane.kubectl(
        *("apply", "--server-side", "--dry-run=server", "-n", namespace, "-f", "-"), stdin=ended.out
    )
    assert said.startswith(f"job.batch/{name} serverside-applied")

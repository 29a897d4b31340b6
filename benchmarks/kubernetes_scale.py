"""A sweep of 1,000 runs: planned, submitted and looked at by octjob, applied by kubectl, on a real control plane.

    python -m benchmarks.kubernetes_scale [--runs 1000] [--repeats 3]

Prints seconds (medians), API calls a run, and how long octjob takes against `kubectl apply` of the same documents.
octjob's figure includes three dry runs of every run, the specs in the store and the look for every child Job.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from octjob.spec.expand import plan_sweep
from octjob.storage.open import open_store
from octjob.targets.kubernetes.api import Cluster
from octjob.targets.kubernetes.documents.render import write_files, yaml_files
from octjob.targets.kubernetes.documents.settings import resolve_settings
from octjob.targets.kubernetes.observation.status import SweepView
from octjob.targets.kubernetes.submission.submit import submit
from tests.cluster.access import ClusterAccess
from tests.cluster.controlplane import ControlPlane, Options
from tests.cluster.tenancy import make_namespace, remove_namespace

NUM_CHECKPOINTS = 10
OCTJOB = Path(sys.executable).with_name("octjob")


def write_sweep(folder: Path, num_runs: int, namespace: str) -> Path:
    """A sweep of ten checkpoints and as many configs as make `num_runs`."""
    sweep = {
        "name": "scale",
        "output": f"file://{folder}/{namespace}",
        "checkpoints": {f"c{i}": f"gs://bucket/{i}.pt" for i in range(NUM_CHECKPOINTS)},
        "configs": {
            f"lr{i}": {"overrides": {"train.lr_head": (i + 1) * 1e-5}}
            for i in range(num_runs // NUM_CHECKPOINTS)
        },
        "data": {"source": "b2://bucket/dataset"},
        "compute": {
            "target": "kubernetes",
            "accelerator": "v4-32",
            "image": f"octjob@sha256:{'0' * 64}",
            "queue": "tpu",
            "namespace": namespace,
        },
    }
    path = folder / f"{namespace}.yaml"
    path.write_text(yaml.safe_dump(sweep))
    return path


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds it took, and what it returned."""
    start = time.monotonic()
    value = action()
    return time.monotonic() - start, value


def once(plane: ClusterAccess, folder: Path, num_runs: int, number: int) -> dict[str, float]:
    """All figures of one repeat, each in namespaces of its own."""
    ours, peer = f"octjob-{number}", f"kubectl-{number}"
    for namespace in (ours, peer):
        make_namespace(plane, namespace)
    sweep = write_sweep(folder, num_runs, ours)
    figures = {"plan, whole command": timed(lambda: _run("plan", "--offline", "-f", str(sweep)))[0]}
    plan = plan_sweep(sweep)
    settings = resolve_settings(plan.compute)
    cluster = Cluster.connect(None, ours)
    before = cluster.num_calls
    _started.clear()
    figures["submit"], done = timed(lambda: submit(plan, cluster, open_store(plan.output), settings))
    assert len(done.created) == num_runs
    figures["submit: API calls a run"] = (cluster.num_calls - before) / num_runs
    figures["submit: subprocesses"] = len(_started)
    before = cluster.num_calls
    figures["status"], _ = timed(lambda: SweepView(cluster, "scale").look())
    figures["status: API calls"] = cluster.num_calls - before
    figures["status, whole command"] = timed(lambda: _run("status", str(sweep)))[0]
    remove_namespace(plane, ours, timeout_s=600)

    documents = folder / f"documents-{number}"
    plan = plan_sweep(write_sweep(folder, num_runs, peer))
    write_files(yaml_files(plan, resolve_settings(plan.compute)), documents)
    apply = ("apply", "--namespace", peer, "-k", str(documents))
    figures["kubectl apply"] = timed(lambda: plane.kubectl(*apply))[0]
    remove_namespace(plane, peer, timeout_s=600)
    return figures


_started: list[str] = []


def _note_program(event: str, arguments: object) -> None:
    if event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork"):
        _started.append(event)


def _run(*arguments: str) -> None:
    subprocess.run([str(OCTJOB), *arguments], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    sys.addaudithook(_note_program)
    with tempfile.TemporaryDirectory(prefix="octjob-scale-") as name:
        folder = Path(name)
        plane = ControlPlane.create(folder / "cluster", Options(run_pods="none"))
        try:
            plane.start()
            os.environ["KUBECONFIG"] = str(plane.kubeconfig)
            repeats = [once(plane, folder, options.runs, i) for i in range(options.repeats)]
        finally:
            plane.stop()
    median = {key: statistics.median(each[key] for each in repeats) for key in repeats[0]}
    print(f"{options.runs} runs, medians of {options.repeats}")
    for key, value in median.items():
        print(f"{key:28} {value:8.2f}")
    print(f"{'octjob submit / kubectl apply':28} {median['submit'] / median['kubectl apply']:7.2f}")


if __name__ == "__main__":
    main()

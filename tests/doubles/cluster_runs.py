"""Runs and settings as they reach the kubernetes target, without a sweep file."""

from __future__ import annotations

from typing import Any

from octjob.spec.compute import Compute
from octjob.spec.experiment import Experiment
from octjob.spec.run import Run
from octjob.spec.sweep import Checkpoint
from octjob.targets.kubernetes.documents.manifest import render_jobset
from octjob.targets.kubernetes.documents.settings import Settings, resolve_settings

IMAGE = f"europe-docker.pkg.dev/project/octjob/octjob@sha256:{'0123456789abcdef' * 4}"
COMPUTE: dict[str, Any] = {
    "target": "kubernetes",
    "accelerator": "v4-32",
    "image": IMAGE,
    "queue": "tpu",
    "secrets": ["octjob-b2", "octjob-wandb"],
}


def make_run(config_name: str = "linear_probe", **changes: Any) -> Run:
    """A run whose id does not depend on the code, so that golden files stay."""
    return Run(
        **{
            "sweep": "phase3",
            "run_id": f"multi_domain.{config_name}-0bc93113",
            "checkpoint_name": "multi_domain",
            "checkpoint": Checkpoint(uri="gs://bucket/multi_domain.pt"),
            "config_name": config_name,
            "config": Experiment(),
            "seeds": (1,),
            "folds": 0,
            "output": "gs://bucket/octjob/phase3",
            "cache": "gs://bucket/octjob/cache",
            **changes,
        }
    )


def make_settings(**changes: Any) -> Settings:
    """What a sweep's `compute` with these keys resolves to; None leaves a key out."""
    keys = {key: value for key, value in {**COMPUTE, **changes}.items() if value is not None}
    return resolve_settings(Compute.model_validate(keys))


def jobset(**compute: Any) -> dict[str, Any]:
    """A rendered run with these keys of `compute`."""
    return render_jobset(make_run(), make_settings(**compute))


def pod_spec(jobset: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    return spec


def container(jobset: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod_spec(jobset)["containers"]
    found: dict[str, Any] = only
    return found

"""`compute` of a sweep on a cluster: what is missing, contradicts itself or is a credential in the open."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from doubles.cluster_runs import IMAGE, make_run, make_settings

from octjob.errors import SpecError
from octjob.spec.compute import Compute
from octjob.spec.experiment import Experiment
from octjob.spec.sweep import Sweep
from octjob.spec.validate import validate
from octjob.spec.yaml import loads
from octjob.targets.kubernetes.documents.settings import resolve_settings, warnings

Document = dict[str, Any]


SWEEP = """\
name: s
output: gs://bucket/out
checkpoints: {a: gs://bucket/a.pt}
configs: {x: x.yaml}
compute:
  target: kubernetes
"""


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", r"sweep.yaml:5: compute.accelerator: is required"),
        ("  accelerator: v4-32\n", r"sweep.yaml:5: compute.image: is required"),
        ("  image: x\n  accelerator: v4-33\n", r"sweep.yaml:8: compute.accelerator: 'v4-33' is no TPU slice"),
        (
            "  image: x\n  accelerator: h100:8\n  slices: 2\n",
            r"sweep.yaml:9: compute.slices: 2, but h100:8 are GPUs",
        ),
        ("  image: x\n  accelerator: v4-32\n  slices: 0\n", r"sweep.yaml:9: compute.slices: "),
        ("  image: x\n  accelerator: v4-32\n  priority: p\n", r":9: compute.priority: has no effect without"),
        (
            "  image: x\n  accelerator: v4-32\n  max_runtime_hours: 3\n",
            r":9: compute.max_runtime_hours: has no effect",
        ),
        (
            "  image: x\n  accelerator: v4-32\n  env: {OCTJOB_ATTEMPT: '1'}\n",
            r"compute.env: OCTJOB_ATTEMPT is set by",
        ),
        (
            "  memory: lots\n",
            r"sweep.yaml:7: compute.memory: 'lots' is no amount of memory; write it like 300Gi",
        ),
        ("  memory: 500m\n", r"sweep.yaml:7: compute.memory: "),
        ("  image: two words\n", r"sweep.yaml:7: compute.image: expected one word"),
        ("  queue: My_Queue\n", r"sweep.yaml:7: compute.queue: 'My_Queue' is no name"),
        (
            "  secrets: [other]\n",
            r"sweep.yaml:7: compute.secrets: which keys of Secret other .*\{other: \[KEY",
        ),
        ("  secrets: {octjob-b2: []}\n", r"compute.secrets.octjob-b2"),
        ("  secrets: {a: [X], b: [X]}\n", r"key X is wanted twice, from a and from b"),
        ("  secrets: {a: [X-Y]}\n", r"key 'X-Y' of a cannot be an environment variable"),
        ("  secrets: {a: [X]}\n  env: {X: '1'}\n", r"X is set in env and wanted from Secret a"),
        (
            "  env: {WANDB_API_KEY: abc}\n",
            r"sweep.yaml:7: compute.env: WANDB_API_KEY looks like a credential",
        ),
        ("  env: {AWS_ACCESS_KEY_ID: abc}\n", r"looks like a credential"),
        ("  env: {HF_TOKEN: abc}\n", r"looks like a credential.*secrets: \{<secret>: \[HF_TOKEN\]\}"),
        ("  env: {db_passwords: abc}\n", r"looks like a credential"),
        ("  env: {TPU_WORKER_ID: '0'}\n", r"TPU_WORKER_ID is set by the cluster"),
    ],
)
def test_what_is_wrong_in_compute_is_named_with_its_line(lines: str, message: str) -> None:
    document = loads(SWEEP + lines, "sweep.yaml")
    with pytest.raises(SpecError, match=message):
        resolve_settings(validate(Sweep, document, "sweep").compute, document)


def test_ordinary_variables_are_no_credentials() -> None:
    env = {
        "TOKENIZERS_PARALLELISM": "false",
        "OCTJOB_DEVICE": "cpu",
        "WANDB_MODE": "offline",
        "XLA_FLAGS": "",
    }
    assert make_settings(env=env).env.items() >= env.items()


def test_a_list_of_known_secrets_is_short_for_their_keys() -> None:
    short = Compute.model_validate({"secrets": ["octjob-b2"]})
    assert short == Compute.model_validate(
        {"secrets": {"octjob-b2": ["B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY"]}}
    )
    assert Compute.model_validate(json.loads(short.model_dump_json())) == short


def test_warnings_name_what_may_not_be_meant() -> None:
    run = make_run(config=Experiment.model_validate({"data": {"source": "b2://eye/dataset"}}))
    plan: Any = SimpleNamespace(output=run.output, cache=run.cache, runs=(run,))
    assert warnings(plan, make_settings()) == []
    (tag,) = warnings(plan, make_settings(image="octjob:latest"))
    assert "octjob:latest is not pinned by digest" in tag
    (bundle,) = warnings(plan, make_settings(bundle=3))
    assert bundle.startswith("compute.bundle: has no effect here")
    plan.output = "file:///home/me/out"
    (local,) = warnings(plan, make_settings(image=IMAGE))
    assert local.startswith("output: file:// is a directory of the pod's own")

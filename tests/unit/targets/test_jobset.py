"""JobSets as rendered: golden files, how each end of a pod is answered, and one test per trap that shows in them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from doubles.cluster_runs import container, jobset, make_run, make_settings, pod_spec

from octjob.spec.experiment import Experiment
from octjob.targets.kubernetes.documents.derived import child_job, child_pod
from octjob.targets.kubernetes.documents.manifest import SPEC_HASH, render_jobset
from octjob.targets.kubernetes.documents.yamltext import to_yaml

GOLDEN = Path(__file__).parents[2] / "golden"
MACHINE = {"v6e-8": "ct6e-standard-8t"}
ACCELERATORS = ("v4-32", "v5litepod-16", "v5p-16", "v6e-8", "tpu7x-8", "l4:1", "h100:8x2")
FINETUNE = {
    "config_name": "finetune",
    "config": Experiment.model_validate({"model": {"freeze_encoder": False}}),
}
POD = {
    "metadata": {"labels": {"example.com/team": "retina"}},
    "spec": {
        "tolerations": [{"key": "example.com/dedicated", "operator": "Exists"}],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "containers": [{"name": "train", "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}],
        "initContainers": [{"name": "proxy", "image": "example.com/proxy:1", "restartPolicy": "Always"}],
    },
}
MODES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "probe": ({}, {}),
    "finetune": (FINETUNE, {"priority": "high", "max_runtime_hours": 24.0, "max_restarts": 5}),
    "spot": ({}, {"spot": True, "service_account": "octjob-run", "namespace": "oct"}),
    "privileged": ({}, {"privileged": True, "queue": None, "ttl_seconds_after_finished": 3600}),
    "pod": ({}, {"pod": POD}),
}

Document = dict[str, Any]


SLICED: tuple[dict[str, Any], dict[str, Any]] = (FINETUNE, {"slices": 2})
GOLDENS = [*((accelerator, mode) for accelerator in ACCELERATORS for mode in MODES), ("v4-32", "slices")]


@pytest.mark.parametrize(("accelerator", "mode"), GOLDENS)
def test_golden(accelerator: str, mode: str, request: pytest.FixtureRequest) -> None:
    run, compute = MODES.get(mode, SLICED)
    settings = make_settings(accelerator=accelerator, machine_type=MACHINE.get(accelerator), **compute)
    text = to_yaml(render_jobset(make_run(**run), settings))
    path = GOLDEN / f"{accelerator.replace(':', '-')}-{mode}.yaml"
    if request.config.getoption("--update-goldens"):
        path.write_text(text)
    assert path.read_text() == text, "pytest --update-goldens writes it anew"


def test_there_is_no_golden_file_that_nothing_renders() -> None:
    expected = {f"{accelerator.replace(':', '-')}-{mode}.yaml" for accelerator, mode in GOLDENS}
    # Those of `test_probe_jobsets`.
    expected |= {"cores-probe.yaml", "v4-32-encoding.yaml"}
    # Those of `test_cache_mounts`.
    expected |= {"v6e-8-cache-gcsfuse.yaml", "v6e-8-cache-disk.yaml"}
    assert {path.name for path in GOLDEN.iterdir()} == expected


def test_cloud_storage_needs_no_key() -> None:
    """Neither of a service account nor HMAC: the metadata server knows the pod's account."""
    document = jobset(secrets=None, service_account="octjob-run")
    variables = container(document)["env"]
    assert not [one for one in variables if "secretKeyRef" in one.get("valueFrom", {})]
    words = ("KEY", "CREDENTIAL", "SECRET", "HMAC", "AWS")
    assert not [one["name"] for one in variables if any(word in one["name"] for word in words)]
    assert {kind for one in pod_spec(document)["volumes"] for kind in one.keys() - {"name"}} == {"emptyDir"}


# What Job controller and JobSet make of an ended pod: kubernetes pkg/controller/job/pod_failure_policy.go and jobset
# pkg/controllers/failure_policy.go.


def job_failure(job: Document, exit_code: int | None, condition: str | None = None) -> tuple[str, str]:
    """(reason, message) of a Job whose first failed pod ended like this."""
    for index, rule in enumerate(job["spec"]["podFailurePolicy"]["rules"]):
        exits = rule.get("onExitCodes")
        if exits and exits["operator"] == "In" and exit_code in exits["values"]:
            what = f"Container {exits['containerName']} for pod oct/{job['metadata']['name']}-0-x7k2p failed"
            return (
                "PodFailurePolicy",
                f"{what} with exit code {exit_code} matching {rule['action']} rule at index {index}",
            )
        for wanted in rule.get("onPodConditions", ()):
            if (wanted["type"], wanted["status"]) == (condition, "True"):
                what = f"Pod oct/{job['metadata']['name']}-0-x7k2p has condition {condition}"
                return "PodFailurePolicy", f"{what} matching {rule['action']} rule at index {index}"
    return "BackoffLimitExceeded", "Job has reached the specified backoff limit"


def verdict(document: Document, exit_code: int | None, condition: str | None = None) -> str:
    """What JobSet does then."""
    reason, message = job_failure(child_job(document, "oct"), exit_code, condition)
    for rule in document["spec"]["failurePolicy"]["rules"]:
        patterns = rule.get("onJobFailureMessagePatterns", [""])
        if reason in rule["onJobFailureReasons"] and any(re.search(pattern, message) for pattern in patterns):
            return str(rule["action"])
    return "RestartJobSet"


ENDS = [
    pytest.param(75, None, "RestartJobSetAndIgnoreMaxRestarts", id="saved and asks to be started again"),
    pytest.param(143, None, "RestartJobSetAndIgnoreMaxRestarts", id="Kueue preempts before octjob listens"),
    pytest.param(75, "DisruptionTarget", "RestartJobSetAndIgnoreMaxRestarts", id="node drained"),
    pytest.param(137, "DisruptionTarget", "RestartJobSetAndIgnoreMaxRestarts", id="Spot node gone"),
    pytest.param(
        None, "DisruptionTarget", "RestartJobSetAndIgnoreMaxRestarts", id="pod deleted with its node"
    ),
    pytest.param(2, None, "FailJobSet", id="wrong spec"),
    pytest.param(3, None, "FailJobSet", id="unusable data"),
    pytest.param(4, None, "FailJobSet", id="no access"),
    pytest.param(1, None, "RestartJobSet", id="bug"),
    pytest.param(139, None, "RestartJobSet", id="segmentation fault"),
    pytest.param(137, None, "RestartJobSet", id="out of memory"),
]


@pytest.mark.parametrize(("exit_code", "condition", "action"), ENDS)
def test_each_end_of_a_pod_has_its_answer(exit_code: int | None, condition: str | None, action: str) -> None:
    assert verdict(jobset(), exit_code, condition) == action


@pytest.mark.parametrize(("exit_code", "condition", "action"), ENDS)
def test_an_older_jobset_tells_two_ways_apart_and_never_restarts_for_ever(
    exit_code: int | None, condition: str | None, action: str
) -> None:
    document = render_jobset(make_run(), make_settings(), message_patterns=False)
    assert "onJobFailureMessagePatterns" not in json.dumps(document)
    expected = "RestartJobSet" if action == "FailJobSet" else action
    assert verdict(document, exit_code, condition) == expected
    assert document["metadata"]["annotations"][SPEC_HASH] == jobset()["metadata"]["annotations"][SPEC_HASH]


def test_messages_of_other_rules_and_containers_match_nothing() -> None:
    (disrupted, again, never) = (
        rule["onJobFailureMessagePatterns"][0] for rule in jobset()["spec"]["failurePolicy"]["rules"]
    )
    text = "Container train for pod oct/x failed with exit code 75 matching FailJob rule at index 1"
    assert re.search(again, text)
    assert not re.search(disrupted, text)
    assert not re.search(never, text)
    for other in (text + "0", text.replace("train", "sidecar"), text.replace("75", "175"), f"x {text}"):
        assert not re.search(again, other)


# Traps, as the fact sheet numbers them.


def test_trap_restart_policy_is_never_where_there_is_a_pod_failure_policy() -> None:
    spec = child_job(jobset(), "oct")["spec"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["podFailurePolicy"]["rules"]
    assert spec["backoffLimit"] == 0


@pytest.mark.parametrize("accelerator", ["v4-8", "v4-32", "v5litepod-1"])
def test_trap_nothing_but_chips_is_requested(accelerator: str) -> None:
    document = jobset(accelerator=accelerator)
    chips = {"google.com/tpu": "1" if accelerator == "v5litepod-1" else "4"}
    assert container(document)["resources"] == {"requests": chips, "limits": chips}
    assert "initContainers" not in pod_spec(document)


def test_memory_is_asked_for_where_the_sweep_says_so() -> None:
    resources = container(jobset(memory="300Gi"))["resources"]
    assert resources["requests"] == resources["limits"] == {"google.com/tpu": "4", "memory": "300Gi"}


def test_trap_octjob_gets_sigterm_itself() -> None:
    uri = "gs://bucket/octjob/phase3/runs/multi_domain.linear_probe-0bc93113"
    assert container(jobset())["command"] == ["octjob", "train", "--run", uri]
    assert "args" not in container(jobset())


@pytest.mark.parametrize("privileged", [False, True])
def test_trap_no_host_network(privileged: bool) -> None:
    spec = pod_spec(jobset(privileged=privileged))
    assert not {"hostNetwork", "hostPID", "hostIPC", "dnsPolicy"} & spec.keys()
    assert all("hostPort" not in port for port in spec["containers"][0]["ports"])


@pytest.mark.parametrize(("accelerator", "hosts"), [("v4-8", 1), ("v4-32", 4), ("v4-512", 64)])
def test_trap_completions_are_explicit(accelerator: str, hosts: int) -> None:
    spec = child_job(jobset(accelerator=accelerator), "oct")["spec"]
    assert (spec["parallelism"], spec["completions"], spec["completionMode"]) == (hosts, hosts, "Indexed")


def test_trap_labels_are_on_job_and_pod_too() -> None:
    document = jobset()
    wanted = {
        "octjob.dev/sweep": "phase3",
        "octjob.dev/run": "multi_domain.linear_probe-0bc93113",
        "octjob.dev/checkpoint": "multi_domain",
        "octjob.dev/config": "linear_probe",
    }
    job = document["spec"]["replicatedJobs"][0]["template"]
    for metadata in (document["metadata"], job["metadata"], job["spec"]["template"]["metadata"]):
        assert wanted.items() <= metadata["labels"].items()
        assert wanted.items() <= metadata["annotations"].items()


def test_trap_pod_conditions_name_their_status() -> None:
    conditions = [
        condition
        for rule in child_job(jobset(), "oct")["spec"]["podFailurePolicy"]["rules"]
        for condition in rule.get("onPodConditions", ())
    ]
    assert conditions == [{"type": "DisruptionTarget", "status": "True"}]


def test_trap_a_restarted_pod_knows_its_attempt() -> None:
    env = {entry["name"]: entry for entry in container(jobset())["env"]}
    path = env["OCTJOB_ATTEMPT"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert path == "metadata.annotations['jobset.sigs.k8s.io/restart-attempt']"
    assert "jobset.sigs.k8s.io/restart-attempt" in child_pod(jobset(), "oct")["metadata"]["annotations"]


def test_trap_a_changed_spec_shows_in_the_hash() -> None:
    def hash_of(run: dict[str, Any], **compute: Any) -> str:
        return str(
            render_jobset(make_run(**run), make_settings(**compute))["metadata"]["annotations"][SPEC_HASH]
        )

    changes: list[dict[str, Any]] = [
        {"image": "other"},
        {"queue": "other"},
        {"priority": "high"},
        {"namespace": "oct"},
        {"spot": True},
        {"max_restarts": 4},
        {"max_runtime_hours": 1.0},
        {"env": {"A": "b"}},
        {"accelerator": "v4-64"},
        {"secrets": ["octjob-b2"]},
    ]
    hashes = [
        hash_of({}),
        hash_of({"output": "gs://other/phase3"}),
        *(hash_of({}, **change) for change in changes),
    ]
    assert len(set(hashes)) == len(hashes)
    assert hash_of({}) == hashes[0]


def test_trap_the_cluster_alone_says_which_worker_a_pod_is() -> None:
    names = [entry["name"] for entry in container(jobset(env={"A": "b"}))["env"]]
    assert len(set(names)) == len(names)
    assert not [name for name in names if name.startswith(("TPU_", "MEGASCALE_", "JOB_COMPLETION"))]
    assert "PJRT_DEVICE" in names


def test_every_host_of_a_slice_computes_on_its_chips() -> None:
    def values(document: dict[str, Any]) -> dict[str, str]:
        return {entry["name"]: entry.get("value", "") for entry in container(document)["env"]}

    document = jobset()
    name = document["metadata"]["name"]
    found = values(document)
    assert (found["OCTJOB_DEVICE"], found["PJRT_DEVICE"], found["OCTJOB_NUM_HOSTS"]) == ("xla", "TPU", "4")
    assert found["OCTJOB_COORDINATOR"] == f"{name}-w-0-0.{name}:12355"
    assert values(jobset(env={"OCTJOB_DEVICE": "cpu"}))["OCTJOB_DEVICE"] == "cpu"
    assert "OCTJOB_COORDINATOR" not in values(jobset(accelerator="v4-8"))


def test_trap_rule_names_and_patterns_are_what_jobset_accepts() -> None:
    rules = jobset()["spec"]["failurePolicy"]["rules"]
    names = [rule["name"] for rule in rules]
    assert all(re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", name) for name in names)
    assert len(set(names)) == len(names)
    for rule in rules:
        for pattern in rule["onJobFailureMessagePatterns"]:
            re.compile(pattern)
            assert not re.search(r"\(\?|\\[1-9]", pattern), "RE2 has no look-around and no back references"


def test_trap_the_queue_is_a_label_and_suspend_is_left_to_kueue() -> None:
    document = jobset(priority="high", max_runtime_hours=1.5)
    labels = document["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "tpu"
    assert labels["kueue.x-k8s.io/priority-class"] == "high"
    assert labels["kueue.x-k8s.io/max-exec-time-seconds"] == "5400"
    assert "suspend" not in document["spec"]
    text = json.dumps(document["spec"])
    assert "kueue" not in text, "a queue label on Job or pod would queue it a second time"


def test_trap_one_node_pool_per_run_only_where_a_slice_has_several_hosts() -> None:
    key = "alpha.jobset.sigs.k8s.io/exclusive-topology"
    assert jobset()["metadata"]["annotations"][key] == "cloud.google.com/gke-nodepool"
    assert key not in jobset(accelerator="v4-8")["metadata"]["annotations"]


def test_trap_old_pods_are_gone_before_new_ones_start() -> None:
    assert jobset()["spec"]["failurePolicy"]["restartStrategy"] == "BlockingRecreate"


def test_trap_shared_memory_is_bounded() -> None:
    (shm,) = [volume for volume in pod_spec(jobset())["volumes"] if volume["name"] == "shm"]
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}

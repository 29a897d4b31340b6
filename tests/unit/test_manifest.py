"""JobSets as rendered: golden files, the cluster's rules they must pass, and one test per trap that shows in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from doubles.cluster_runs import IMAGE, container, make_run, make_settings, pod_spec

from octjob.errors import SpecError
from octjob.spec.experiment import Experiment
from octjob.spec.sweep import Compute, Sweep
from octjob.spec.validate import validate
from octjob.spec.yaml import loads
from octjob.targets.kubernetes.derived import child_job, child_pod
from octjob.targets.kubernetes.fields import check_fields, differing_fields, knows_message_patterns
from octjob.targets.kubernetes.manifest import SPEC_HASH, render_jobset
from octjob.targets.kubernetes.settings import resolve_settings, warnings
from octjob.targets.kubernetes.yamltext import to_yaml

GOLDEN = Path(__file__).parents[1] / "golden"
MACHINE = {"v6e-8": "ct6e-standard-8t"}
ACCELERATORS = ("v4-32", "v5litepod-16", "v5p-16", "v6e-8", "tpu7x-8")
FINETUNE = {
    "config_name": "finetune",
    "config": Experiment.model_validate({"model": {"freeze_encoder": False}}),
}
MODES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "probe": ({}, {}),
    "finetune": (FINETUNE, {"priority": "high", "max_runtime_hours": 24.0, "max_restarts": 5}),
    "spot": ({}, {"spot": True, "service_account": "octjob-run", "namespace": "oct"}),
    "privileged": ({}, {"privileged": True, "queue": None, "ttl_seconds_after_finished": 3600}),
}

Document = dict[str, Any]


def jobset(**compute: Any) -> Document:
    return render_jobset(make_run(), make_settings(**compute))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_golden(accelerator: str, mode: str, request: pytest.FixtureRequest) -> None:
    run, compute = MODES[mode]
    settings = make_settings(accelerator=accelerator, machine_type=MACHINE.get(accelerator), **compute)
    text = to_yaml(render_jobset(make_run(**run), settings))
    path = GOLDEN / f"{accelerator}-{mode}.yaml"
    if request.config.getoption("--update-goldens"):
        path.write_text(text)
    assert path.read_text() == text, "pytest --update-goldens writes it anew"


def test_there_is_no_golden_file_that_nothing_renders() -> None:
    expected = {f"{accelerator}-{mode}.yaml" for accelerator in ACCELERATORS for mode in MODES}
    assert {path.name for path in GOLDEN.iterdir()} == expected


# What Job controller and JobSet make of an ended pod: kubernetes pkg/controller/job/pod_failure_policy.go and jobset
# pkg/controllers/failure_policy.go.


def job_failure(job: Document, exit_code: int | None, condition: str | None = None) -> tuple[str, str]:
    """(reason, message) of a Job whose first failed pod ended like this."""
    for index, rule in enumerate(job["spec"]["podFailurePolicy"]["rules"]):
        exits = rule.get("onExitCodes")
        if exits and exits["operator"] == "In" and exit_code in exits["values"]:
            what = f"Container {exits['containerName']} for pod oct/{job['metadata']['name']}-0-x7k2p failed with exit"
            return (
                "PodFailurePolicy",
                f"{what} code {exit_code} matching {rule['action']} rule at index {index}",
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
    chips = {"google.com/tpu": 1 if accelerator == "v5litepod-1" else 4}
    assert container(document)["resources"] == {"requests": chips, "limits": chips}
    assert "initContainers" not in pod_spec(document)


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


# What a cluster would say.


def pod_security_complaints(pod: Document) -> Iterator[str]:
    """The `restricted` Pod Security level, kubernetes.io/docs/concepts/security/pod-security-standards."""
    spec = pod["spec"]
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    for volume in spec["volumes"]:
        yield from (f"volume {kind}" for kind in volume.keys() - allowed - {"name"})
    if spec.get("hostNetwork") or spec.get("hostPID") or spec.get("hostIPC"):
        yield "host namespace"
    for item in spec["containers"]:
        context = {**spec["securityContext"], **item["securityContext"]}
        if context.get("privileged"):
            yield "privileged"
        if context.get("allowPrivilegeEscalation") is not False:
            yield "privilege escalation"
        if context.get("capabilities", {}).get("drop") != ["ALL"] or context["capabilities"].get("add"):
            yield "capabilities"
        if not context.get("runAsNonRoot") or context.get("runAsUser") == 0:
            yield "root"
        if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield "seccomp"


def test_a_pod_passes_the_restricted_level_unless_the_switch_says_otherwise() -> None:
    assert list(pod_security_complaints(child_pod(jobset(), "oct"))) == []
    privileged = set(pod_security_complaints(child_pod(jobset(privileged=True), "oct")))
    assert privileged == {"privileged", "privilege escalation", "capabilities", "root"}
    assert container(jobset(privileged=True))["securityContext"] == {
        "privileged": True,
        "readOnlyRootFilesystem": True,
    }


@pytest.mark.parametrize("mode", MODES)
def test_job_and_pod_have_no_field_that_kubernetes_does_not_know(mode: str) -> None:
    from kubernetes import client

    run, compute = MODES[mode]
    document = render_jobset(make_run(**run), make_settings(**compute))
    api = client.ApiClient()
    for built, kind in ((child_job(document, "oct"), "V1Job"), (child_pod(document, "oct"), "V1Pod")):
        typed = api.deserialize(json.dumps(built), kind, "application/json")
        assert api.sanitize_for_serialization(typed) == built


def test_what_a_run_writes_to_is_writable_and_nothing_else() -> None:
    config = Experiment.model_validate({"data": {"cache_dir": "/work/cache"}})
    document = render_jobset(make_run(config=config), make_settings())
    paths = [mount["mountPath"] for mount in container(document)["volumeMounts"]]
    assert paths == ["/dev/shm", "/tmp", "/work/cache"]
    assert container(document)["securityContext"]["readOnlyRootFilesystem"] is True


def test_secrets_come_by_reference_only() -> None:
    env = container(jobset(secrets={"mine": ["HF_TOKEN"], "octjob-wandb": ["WANDB_API_KEY"]}))["env"]
    references = {e["name"]: e["valueFrom"] for e in env if "secretKeyRef" in e.get("valueFrom", {})}
    assert references == {
        "HF_TOKEN": {"secretKeyRef": {"name": "mine", "key": "HF_TOKEN"}},
        "WANDB_API_KEY": {"secretKeyRef": {"name": "octjob-wandb", "key": "WANDB_API_KEY"}},
    }


def test_text_from_a_sweep_stays_text() -> None:
    value = 'a "quoted" {{ thing }}: #1\n\ttrue é 😀 {% raw %}'
    entries = container(jobset(env={"A": value, "B": "1e3", "C": "y"}))["env"]
    assert [e["value"] for e in entries if e["name"] in "ABC"] == [value, "1e3", "y"]


def test_a_reservation_and_spot_choose_their_nodes() -> None:
    spot = pod_spec(jobset(spot=True))
    assert spot["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
    assert {
        "key": "cloud.google.com/gke-spot",
        "operator": "Equal",
        "value": "true",
        "effect": "NoSchedule",
    } in spot["tolerations"]
    reserved = pod_spec(jobset(reservation="shared/mine"))["nodeSelector"]
    assert reserved["cloud.google.com/reservation-name"] == "mine"
    assert reserved["cloud.google.com/reservation-project"] == "shared"


# Settings.

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
        ("  image: x\n  accelerator: v4-32\n  priority: p\n", r":9: compute.priority: has no effect without"),
        (
            "  image: x\n  accelerator: v4-32\n  max_runtime_hours: 3\n",
            r":9: compute.max_runtime_hours: has no effect",
        ),
        (
            "  image: x\n  accelerator: v4-32\n  spot: true\n  reservation: r\n",
            r":10: compute.reservation: .* not Spot",
        ),
        (
            "  image: x\n  accelerator: v4-32\n  env: {OCTJOB_ATTEMPT: '1'}\n",
            r"compute.env: OCTJOB_ATTEMPT is set by",
        ),
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
    plan.output = "file:///home/me/out"
    (local,) = warnings(plan, make_settings(image=IMAGE))
    assert local.startswith("output: file:///home/me/out is a directory of the pod's own")


# Against what a cluster knows and has.


def schema_of(document: Any) -> Document:
    """A schema that knows exactly the fields of a document."""
    if isinstance(document, dict):
        return {"type": "object", "properties": {key: schema_of(value) for key, value in document.items()}}
    if isinstance(document, list):
        merged: Document = {"properties": {}}
        for item in document:
            merged["properties"].update(schema_of(item).get("properties", {}))
        return {"type": "array", "items": merged}
    return {}


def test_fields_that_a_crd_does_not_know_are_named() -> None:
    document = jobset()
    schema = schema_of(document)
    assert check_fields(document, schema) == []
    assert knows_message_patterns(schema)
    rules = schema["properties"]["spec"]["properties"]["failurePolicy"]["properties"]["rules"]
    del rules["items"]["properties"]["onJobFailureMessagePatterns"]
    del schema["properties"]["spec"]["properties"]["ttlSecondsAfterFinished"]
    assert not knows_message_patterns(schema)
    assert check_fields(document, schema) == [
        "spec.ttlSecondsAfterFinished",
        *(f"spec.failurePolicy.rules[{index}].onJobFailureMessagePatterns" for index in range(3)),
    ]
    older = render_jobset(make_run(), make_settings(ttl_seconds_after_finished=None), message_patterns=False)
    assert (
        check_fields({**older, "spec": {k: v for k, v in older["spec"].items() if k[0] != "t"}}, schema) == []
    )


def test_maps_and_open_schemas_know_any_key() -> None:
    schema: Document = {
        "properties": {
            "map": {"additionalProperties": {"type": "string"}},
            "open": {"x-kubernetes-preserve-unknown-fields": True},
            "closed": {"type": "object"},
        }
    }
    document = {"kind": "X", "map": {"a": 1}, "open": {"b": {"c": 1}}, "closed": {"d": 1}, "e": 1}
    assert check_fields(document, schema) == ["closed.d", "e"]


def test_what_changed_is_said_and_what_the_server_added_is_not() -> None:
    live = jobset()
    live["spec"]["suspend"] = True
    live["metadata"]["uid"] = "1"
    live["status"] = {"restarts": 1}
    assert differing_fields(live, jobset()) == []
    found = differing_fields(live, jobset(max_restarts=7, image="other"))
    assert "spec.failurePolicy.maxRestarts: 3 -> 7" in found
    assert [line for line in found if ".image: " in line and line.endswith("-> other")]
    assert any(SPEC_HASH in line for line in found)


@pytest.mark.parametrize(
    "text", ["1234e567", "y", "N", "0x1f", "1_000", "12:30", "true", "~", "", " x", "a: b", "a\nb"]
)
def test_yaml_text_is_quoted_wherever_a_reader_may_take_it_for_something_else(text: str) -> None:
    written = to_yaml({"key": text})
    assert yaml.safe_load(written) == {"key": text}
    assert re.fullmatch(r"""key: (".*"|'.*')\n""", written)

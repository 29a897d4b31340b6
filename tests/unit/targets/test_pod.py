"""`compute.pod`: merged into the pods of runs as Kubernetes would, and refused where octjob's promises end."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from doubles.cluster_runs import IMAGE, container, make_run, make_settings, pod_spec
from hypothesis import given
from hypothesis import strategies as st

from octjob.cli import run as octjob
from octjob.errors import SpecError
from octjob.spec.compute import Compute
from octjob.spec.expand import plan_sweep
from octjob.spec.experiment import Experiment
from octjob.spec.pod import (
    OWN_VOLUMES,
    POD_FIELDS,
    REFUSED_POD_FIELDS,
    REFUSED_RUN_FIELDS,
    RUN_FIELDS,
    check_pod,
)
from octjob.targets.kubernetes.documents.manifest import SPEC_HASH, render_jobset
from octjob.targets.kubernetes.documents.pod import MERGE_KEYS, with_pod
from octjob.targets.kubernetes.submission.existing import describe_changes

Pod = dict[str, Any]


def train(**fields: Any) -> Pod:
    return {"spec": {"containers": [{"name": "train", **fields}]}}


def sidecar(**fields: Any) -> Pod:
    return {
        "spec": {"initContainers": [{"name": "proxy", "image": "p:1", "restartPolicy": "Always", **fields}]}
    }


def rendered(pod: Pod, run: Any = None, **compute: Any) -> dict[str, Any]:
    return render_jobset(run or make_run(), make_settings(pod=pod, **compute))


def template_of(jobset: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    return found


# Refusals: what stands in compute.pod, where the complaint points, what it says, and what the hint says.
REFUSED: list[tuple[Pod, str, str, str]] = [
    ({"kind": "Pod"}, "kind", "unknown field", "Fields here: metadata, spec"),
    ({"sepc": {}}, "sepc", "unknown field", "Did you mean spec?"),
    ({"metadata": {"name": "x"}}, "metadata.name", "JobSet names the pods", "Remove it"),
    ({"metadata": {"labels": {"a": True}}}, "metadata.labels.a", "expected text", "quotes"),
    ({"spec": {"toleration": []}}, "spec.toleration", "unknown field", "Did you mean tolerations?"),
    ({"spec": {"tolerations": {}}}, "spec.tolerations", "expected a list", "Put -"),
    ({"spec": {"tolerations": ["all"]}}, "spec.tolerations.0", "expected a mapping", "explain"),
    ({"spec": []}, "spec", "expected a mapping", "explain"),
    ({"spec": {"hostNetwork": True}}, "spec.hostNetwork", "Workload Identity", "Remove it"),
    ({"spec": {"restartPolicy": "Always"}}, "spec.restartPolicy", "failure policy", "max_restarts"),
    ({"spec": {"serviceAccountName": "x"}}, "spec.serviceAccountName", "a key", "compute.service_account"),
    (
        {"spec": {"terminationGracePeriodSeconds": 30}},
        "spec.terminationGracePeriodSeconds",
        "at least 120",
        "120",
    ),
    (
        {"spec": {"securityContext": {"runAsUser": 0}}},
        "spec.securityContext.runAsUser",
        "root",
        "privileged",
    ),
    ({"spec": {"volumes": [{"emptyDir": {}}]}}, "spec.volumes.0", "name is required", "Add name"),
    ({"spec": {"volumes": [{"name": "a"}] * 2}}, "spec.volumes.1.name", "'a' is there twice", "Keep one"),
    ({"spec": {"volumes": [{"name": "a", "emptyDir": None}]}}, "spec.volumes.0.emptyDir", "value", "{}"),
    ({"spec": {"volumes": [{"$patch": "delete"}]}}, "spec.volumes.0.$patch", "removed", "Remove it"),
    ({"spec": {"containers": [{"name": "proxy"}]}}, "spec.containers.0.name", "only train", "sidecar"),
    (
        {"spec": {"initContainers": [{"name": "train"}]}},
        "spec.initContainers.0.name",
        "octjob's own",
        "another name",
    ),
    (train(comand=["x"]), "spec.containers.0.comand", "unknown field", "Did you mean command?"),
    (train(command=["x"]), "spec.containers.0.command", "octjob train", "env"),
    (train(image="x"), "spec.containers.0.image", "a key", "compute.image"),
    (
        train(securityContext={"readOnlyRootFilesystem": False}),
        "spec.containers.0.securityContext",
        "neither root",
        "compute.privileged",
    ),
    (
        train(env=[{"name": "OCTJOB_POD", "value": "x"}]),
        "spec.containers.0.env.0.name",
        "set by octjob",
        "Remove",
    ),
    (
        train(env=[{"name": "HOME", "value": "/"}]),
        "spec.containers.0.env.0.name",
        "a key for it",
        "compute.env",
    ),
    (
        train(env=[{"name": "TPU_TOPOLOGY", "value": "x"}]),
        "spec.containers.0.env.0.name",
        "by the cluster",
        "Remove",
    ),
    (
        train(env=[{"name": "B2_APPLICATION_KEY"}]),
        "spec.containers.0.env.0.name",
        "compute.secrets",
        "one of",
    ),
    (train(env=[{"name": "N", "value": 1}]), "spec.containers.0.env.0.value", "expected text", "quotes"),
    (
        train(env=[{"name": "HF_TOKEN", "value": "x"}]),
        "spec.containers.0.env.0.name",
        "credential",
        "secretKeyRef: {name: <secret>, key: HF_TOKEN}",
    ),
    (
        train(resources={"limits": {"google.com/tpu": "8"}}),
        "spec.containers.0.resources.limits.google.com/tpu",
        "chips",
        "compute.accelerator",
    ),
    (
        train(resources={"requests": {"memory": "1Gi"}}),
        "spec.containers.0.resources.requests.memory",
        "a key",
        "compute.memory",
    ),
    *(
        (
            train(volumeMounts=[{"name": "x", "mountPath": path}]),
            "spec.containers.0.volumeMounts.0.mountPath",
            "hides what octjob mounts there",
            "/scratch",
        )
        for path in ("/tmp", "/tmp/", "/dev", "/", "/a/../tmp", "relative")
    ),
    (
        sidecar(securityContext={"privileged": True}),
        "spec.initContainers.0.securityContext.privileged",
        "root",
        "compute",
    ),
    (
        sidecar(securityContext={"runAsUser": 0}),
        "spec.initContainers.0.securityContext.runAsUser",
        "root",
        "privi",
    ),
    (
        sidecar(resources={"requests": {"google.com/tpu": "1"}}),
        "spec.initContainers.0.resources.requests.google.com/tpu",
        "chips",
        "accelerator",
    ),
    *(
        ({"metadata": {kind: {key: "x"}}}, f"metadata.{kind}.{key}", "belongs to octjob", "domain")
        for kind in ("labels", "annotations")
        for key in ("kueue.x-k8s.io/queue-name", "jobset.sigs.k8s.io/x", "octjob.dev/run", "job-name")
    ),
    (
        {"metadata": {"annotations": {"alpha.jobset.sigs.k8s.io/exclusive-topology": "x"}}},
        "metadata.annotations.alpha.jobset.sigs.k8s.io/exclusive-topology",
        "belongs to",
        "domain",
    ),
    *(
        ({"spec": {"nodeSelector": {key: "x"}}}, f"spec.nodeSelector.{key}", "slice", "compute.accelerator")
        for key in ("cloud.google.com/gke-tpu-topology", "cloud.google.com/gke-spot")
    ),
    *(({"metadata": {}, "spec": {key: "x"}}, f"spec.{key}", "", "") for key in REFUSED_POD_FIELDS),
    *((train(**{key: "x"}), f"spec.containers.0.{key}", "", "") for key in REFUSED_RUN_FIELDS),
]


@pytest.mark.parametrize(("pod", "where", "message", "hint"), REFUSED)
def test_what_breaks_a_promise_is_refused(pod: Pod, where: str, message: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        make_settings(pod=pod)
    assert caught.value.message.startswith(f"compute.pod.{where}: ")
    assert message in caught.value.message
    assert hint in caught.value.hint


def write_sweep(folder: Path, pod: str, target: str = "kubernetes") -> Path:
    path = folder / "sweep.yaml"
    path.write_text(
        f"name: s\noutput: {folder}/out\ncheckpoints: {{a: gs://bucket/a.pt}}\n"
        "configs: {x: {overrides: {train.epochs: 2}}}\ndata: {source: b2://bucket/dataset}\n"
        f"compute:\n  target: {target}\n  accelerator: v4-8\n  image: {IMAGE}\n  pod:\n{pod}"
    )
    return path


def test_file_and_line_are_named_where_the_sweep_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_sweep(
        tmp_path, "    spec:\n      volumes:\n      - {name: a, emptyDir: {}}\n      - name: tmp\n"
    )
    assert octjob(["plan", "-f", str(path)]) == 2
    assert f"{path}:14: compute.pod.spec.volumes.1.name: octjob has a volume tmp" in capsys.readouterr().err


def test_on_this_machine_it_is_said_to_change_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_sweep(tmp_path, "    spec: {hostAliases: []}\n", target="local")
    assert octjob(["plan", "-f", str(path)]) == 0
    assert "note: compute.pod: changes nothing with target local" in capsys.readouterr().out


def test_run_ids_do_not_depend_on_it(tmp_path: Path) -> None:
    ids = []
    for pod in ("    {}\n", "    {spec: {priorityClassName: high}}\n"):
        ids.append([run.run_id for run in plan_sweep(write_sweep(tmp_path, pod)).runs])
    assert ids[0] == ids[1]


def test_what_is_added_stands_beside_octjobs_own() -> None:
    added: Pod = {
        "metadata": {"labels": {"team": "retina"}},
        "spec": {
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "dedicated", "operator": "Exists"}],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
            "containers": [
                {
                    "name": "train",
                    "env": [{"name": "SITE", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}],
                    "resources": {"limits": {"ephemeral-storage": "90Gi"}},
                    "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
                }
            ],
        },
    }
    plain, more = render_jobset(make_run(), make_settings()), rendered(added)
    own, pod = template_of(plain), template_of(more)
    assert pod["metadata"]["labels"] == {**own["metadata"]["labels"], "team": "retina"}
    assert pod["spec"]["nodeSelector"] == {**own["spec"]["nodeSelector"], "disk": "ssd"}
    assert pod["spec"]["tolerations"] == [*own["spec"]["tolerations"], *added["spec"]["tolerations"]]
    assert pod["spec"]["volumes"] == [*own["spec"]["volumes"], *added["spec"]["volumes"]]
    extra = added["spec"]["containers"][0]
    for key in ("env", "volumeMounts"):
        assert container(more)[key] == [*container(plain)[key], *extra[key]]
    assert container(more)["resources"]["limits"] == {"google.com/tpu": "4", "ephemeral-storage": "90Gi"}
    assert container(more)["command"] == container(plain)["command"]


def test_init_containers_keep_to_the_level_restricted_by_themselves() -> None:
    pod = sidecar(securityContext={"runAsUser": 5, "readOnlyRootFilesystem": True})
    (found,) = pod_spec(rendered(pod))["initContainers"]
    assert found["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsUser": 5,
        "readOnlyRootFilesystem": True,
    }
    asked = {"privileged": True}
    (free,) = pod_spec(rendered(sidecar(securityContext=asked), privileged=True))["initContainers"]
    assert free["securityContext"] == asked


@pytest.mark.parametrize("mount", ["/ssd", "/ssd/cache"])
def test_a_volume_at_the_cache_takes_the_place_of_octjobs_own(mount: str) -> None:
    run = make_run(config=Experiment.model_validate({"data": {"cache_dir": "/ssd/cache"}}))
    pod = train(volumeMounts=[{"name": "ssd", "mountPath": mount}])
    pod["spec"]["volumes"] = [{"name": "ssd", "emptyDir": {}}]
    names = [one["name"] for one in pod_spec(rendered(pod, run))["volumes"]]
    assert names == ["shm", "tmp", "ssd"]
    assert "cache" in [one["name"] for one in pod_spec(rendered({}, run))["volumes"]]


def test_another_pod_is_seen_in_what_the_cluster_has() -> None:
    tolerations = [{"key": "dedicated", "operator": "Exists"}]
    live, wanted = rendered({}), rendered({"spec": {"tolerations": tolerations}})
    assert live["metadata"]["annotations"][SPEC_HASH] != wanted["metadata"]["annotations"][SPEC_HASH]
    (change,) = describe_changes(live, wanted)
    assert change.startswith("tolerations: ")


# The merge, for any pod that passes.

WORDS = st.text("abc", min_size=1, max_size=3)
VALUES = st.recursive(
    WORDS | st.booleans() | st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=6,
)


def lists_of(key: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    names = WORDS.map(lambda word: f"/{word}" if key == "mountPath" else word)
    return st.lists(
        st.fixed_dictionaries({key: names}, optional={**fields}), max_size=3, unique_by=lambda one: one[key]
    )


def perhaps(refused: Any) -> st.SearchStrategy[dict[str, Any]]:
    """At most one of the refused fields; mostly none."""
    return st.just({}) | st.just({}) | st.dictionaries(st.sampled_from(sorted(refused)), VALUES, max_size=1)


def joined(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts).map(lambda all_: {key: value for one in all_ for key, value in one.items()})


RUN = joined(
    st.fixed_dictionaries(
        {"name": st.just("train")},
        optional={
            "env": lists_of("name", valueFrom=VALUES),
            "volumeMounts": lists_of("mountPath", name=WORDS),
        },
    ),
    perhaps(REFUSED_RUN_FIELDS),
)
PODS = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                kind: st.dictionaries(st.sampled_from(["a", "b/c", "octjob.dev/run", "job-name"]), WORDS)
                for kind in ("labels", "annotations")
            },
        ),
        "spec": joined(
            perhaps(REFUSED_POD_FIELDS),
            st.fixed_dictionaries(
                {},
                optional={
                    "nodeSelector": st.dictionaries(
                        st.sampled_from(["a", "cloud.google.com/gke-tpu-topology"]), WORDS
                    ),
                    "tolerations": st.lists(st.dictionaries(WORDS, WORDS), max_size=2),
                    "volumes": lists_of("name", emptyDir=st.just({}))
                    | st.sampled_from([[{"name": name}] for name in OWN_VOLUMES]),
                    "containers": st.lists(RUN, max_size=1),
                    "initContainers": lists_of("name", securityContext=st.dictionaries(WORDS, VALUES)),
                    "affinity": VALUES,
                },
            ),
        ),
    },
)


def test_an_empty_pod_changes_nothing() -> None:
    template = template_of(render_jobset(make_run(), make_settings()))
    before = copy.deepcopy(template)
    for nothing in ({}, {"spec": {}}, {"metadata": {}, "spec": {"containers": [{"name": "train"}]}}):
        assert with_pod(template, nothing, privileged=False) == before
    assert template == before
    assert json.dumps(rendered({})) == json.dumps(render_jobset(make_run(), make_settings()))


def kept(own: Any, merged: Any, field: str = "") -> bool:
    """Whether all of `own` is in `merged`, unchanged."""
    if isinstance(own, dict):
        return isinstance(merged, dict) and all(kept(own[key], merged.get(key), key) for key in own)
    if isinstance(own, list) and field in MERGE_KEYS:
        key = MERGE_KEYS[field]
        there = {one[key]: one for one in merged}
        return len(there) == len(merged) and all(kept(one, there.get(one[key])) for one in own)
    if isinstance(own, list) and field == "tolerations":
        return bool(merged[: len(own)] == own)
    return bool(own == merged)


@given(PODS)
def test_whatever_passes_takes_nothing_away_and_comes_through_whole(pod: Pod) -> None:
    template = template_of(render_jobset(make_run(), make_settings()))
    before = copy.deepcopy((template, pod))
    try:
        check_pod(Compute.model_validate({"pod": pod}))
    except SpecError:
        return
    spec = pod.get("spec", {})
    assert not set(spec) & set(REFUSED_POD_FIELDS)
    assert not any(set(one) & set(REFUSED_RUN_FIELDS) for one in spec.get("containers", ()))
    merged = with_pod(template, pod, privileged=False)
    assert kept(template, merged)
    for key, value in spec.get("nodeSelector", {}).items():
        assert merged["spec"]["nodeSelector"][key] == value
    assert kept({"volumes": spec.get("volumes", [])}, {"volumes": merged["spec"]["volumes"]})
    assert (template, pod) == before
    assert with_pod(merged, pod, privileged=False) == merged


def test_the_fields_are_those_of_the_api() -> None:
    from kubernetes.client import V1Container, V1PodSpec

    pods, containers = {*POD_FIELDS, *REFUSED_POD_FIELDS}, {*RUN_FIELDS, *REFUSED_RUN_FIELDS}
    assert set(V1PodSpec.attribute_map.values()) == pods
    assert set(V1Container.attribute_map.values()) == containers


def test_the_documented_example_renders() -> None:
    page = (Path(__file__).parents[3] / "docs/kubernetes.md").read_text()
    block = page.split("## Anything else in a pod")[1].split("```yaml\n")[1].split("```")[0]
    pod = yaml.safe_load(block)["compute"]["pod"]
    (proxy,) = pod_spec(rendered(pod))["initContainers"]
    assert proxy["restartPolicy"] == "Always"

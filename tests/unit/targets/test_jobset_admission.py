"""Rendered documents before a cluster: Pod Security, known fields, changed fields, text that stays text."""

from __future__ import annotations

import json
import re
from functools import reduce
from typing import Any

import pytest
import yaml
from doubles.cluster_runs import container, jobset, make_run, make_settings, pod_spec
from doubles.pod_security import pod_security_complaints

from octjob.spec.experiment import Experiment
from octjob.targets.kubernetes.documents.derived import child_job, child_pod
from octjob.targets.kubernetes.documents.fields import check_fields, differing_fields, knows_message_patterns
from octjob.targets.kubernetes.documents.manifest import SPEC_HASH, render_jobset
from octjob.targets.kubernetes.documents.yamltext import to_yaml

Document = dict[str, Any]


def test_a_pod_passes_the_restricted_level_unless_the_switch_says_otherwise() -> None:
    assert list(pod_security_complaints(child_pod(jobset(), "oct"))) == []
    privileged = set(pod_security_complaints(child_pod(jobset(privileged=True), "oct")))
    assert privileged == {"privileged", "privilege escalation", "capabilities", "root"}
    assert container(jobset(privileged=True))["securityContext"] == {
        "privileged": True,
        "readOnlyRootFilesystem": True,
    }


@pytest.mark.parametrize(
    "compute", [{}, {"spot": True, "service_account": "octjob-run"}, {"privileged": True}]
)
def test_job_and_pod_have_no_field_that_kubernetes_does_not_know(compute: Document) -> None:
    from kubernetes import client

    document = jobset(**compute)
    api = client.ApiClient()
    for built, kind in ((child_job(document, "oct"), "V1Job"), (child_pod(document, "oct"), "V1Pod")):
        typed = api.deserialize(json.dumps(built), kind, "application/json")
        assert api.sanitize_for_serialization(typed) == built


def test_what_a_run_writes_to_is_writable_and_nothing_else() -> None:
    config = Experiment.model_validate({"data": {"cache_dir": "/scratch/cache"}})
    document = render_jobset(make_run(config=config), make_settings())
    paths = [mount["mountPath"] for mount in container(document)["volumeMounts"]]
    assert paths == ["/dev/shm", "/tmp", "/scratch/cache"]
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


def schema_of(document: Any) -> Document:
    """A schema that knows exactly the fields of a document."""
    if isinstance(document, dict):
        return {"properties": {key: schema_of(value) for key, value in document.items()}}
    if isinstance(document, list):
        return {"items": reduce(merged, map(schema_of, document), {})}
    return {}


def merged(one: Document, other: Document) -> Document:
    return {key: merged(one.get(key, {}), other.get(key, {})) for key in {**one, **other}}


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

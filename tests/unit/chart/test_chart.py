"""charts/octjob as real helm renders it: valid documents, refused values, pods that pass the restricted level.

What a server makes of it stands in tests/cluster.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

from octjob import __version__, env
from octjob.cli import cli
from octjob.cli.collect import collect
from octjob.targets.kubernetes.pricelist import KEY, NAME
from octjob.targets.prices import parse_prices
from tests.cluster.charts import (
    CHART,
    Document,
    HelmError,
    helm,
    helm_template,
    kubeconform,
    named,
    of_kind,
    rendered,
)

pytestmark = pytest.mark.chart

CASES = sorted((CHART / "ci").glob("*.yaml"))
SWEEPS = 'collector.sweeps=[{"name": "a", "uri": "gs://bucket/a"}]'
IMAGE = f"image=registry.example.org/octjob@sha256:{'0' * 64}"


@pytest.fixture(scope="module")
def default() -> list[Document]:
    return rendered()


@pytest.fixture(scope="module")
def full() -> list[Document]:
    return rendered(values="full")


@pytest.mark.parametrize("case", [None, *CASES], ids=lambda case: case.stem if case else "default")
def test_helm_lints_it_and_every_document_is_valid(case: Path | None) -> None:
    arguments = ["--values", case] if case else []
    assert "1 chart(s) linted, 0 chart(s) failed" in helm("lint", "--strict", CHART, *arguments)
    documents = helm_template(CHART, *arguments)
    # External Secrets' CRD is no Go module; its one document is compared below.
    assert kubeconform(documents, skip="ExternalSecret") == []
    identities = [(one["kind"], one["metadata"]["name"]) for one in documents]
    assert len(identities) == len(set(identities))


def test_the_version_is_octjobs() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__


def test_the_readme_explains_every_value() -> None:
    text = (CHART / "README.md").read_text()
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    keys = [key for key, value in values.items() if not isinstance(value, dict)]
    keys += [f"{key}.{inner}" for key, value in values.items() if isinstance(value, dict) for inner in value]
    assert [key for key in keys if f"`{key}`" not in text] == []
    assert [key for key in re.findall(r"^\| `([\w.]+)`", text, re.MULTILINE) if key not in keys] == []


# What is refused.


def test_the_schema_knows_every_default_and_is_closed_everywhere() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)

    def open_objects(node: Any, path: str) -> list[str]:
        if not isinstance(node, dict):
            return []
        own = [path] if node.get("type") == "object" and "additionalProperties" not in node else []
        inner = {**node.get("properties", {}), "[]": node.get("items")}
        return own + [found for key, child in inner.items() for found in open_objects(child, f"{path}.{key}")]

    # Passed through as Kubernetes has them, and checked there; `global` is Helm's own.
    assert open_objects(schema, "") == [
        ".global", ".networkPolicy.extraEgress.[]", ".networkPolicy.metricsFrom.[]", ".collector.env.[].valueFrom",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "typo",
    [
        "kueu.enabled=false",
        "kueue.cluster.cohrt=x",
        'kueue.cluster.queues=[{"name": "q", "accelerators": [{"accelerator": "v4-32", "slice": 2}]}]',
        'kueue.cluster.queues=[{"name": "q", "accelerators": [{"accelerator": "v4-32", "slices": "two"}]}]',
        'kueue.cluster.queues=[{"name": "q", "accelerators": [{"accelerator": "v4-32", "slices": 2, "spot": true}]}]',
        'kueue.localQueues=[{"name": "tpu"}]',
        "rbac.readSecret=false",
        "networkPolicy.https.excpt[0]=10.0.0.0/8",
        "serviceAccounts.run.gcpServiceAccount=someone@example.org",
        "collector.metric=auc",
        "secrets[0].name=octjob-b2,secrets[0].keys[0]=NOT-A-VARIABLE",
        "secrets[0].name=octjob-b2,secrets[0].keys[0]=A,secrets[0].value=hunter2",
        "kueue.apiVersion=v1",
        'prices.chip_hours={"v4": {"on-demand": 2}}',
        "prices.currency=euro",
    ],
)
def test_a_typo_is_refused(typo: str) -> None:
    with pytest.raises(HelmError, match="values don't meet the specifications of the schema"):
        rendered(typo)


V4 = {"accelerator": "v4-32", "slices": 1}


def queues(*accelerators: dict[str, Any], **capacity: Any) -> str:
    queue = {"name": "octjob", "accelerators": accelerators, **capacity}
    return "kueue.cluster.queues=" + json.dumps([queue])


OTHER = {"accelerator": "v5p-32", "slices": 1, "flavor": "v4-32"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (queues({**V4, "accelerator": "v4-31"}), "there is no v4-31; files/accelerators.yaml has the names"),
        (
            queues({**V4, "accelerator": "v6e-8"}),
            "there is no v6e-8; there is: v6e-8 with machineType ct6e-standard-4t, "
            "v6e-8 with machineType ct6e-standard-8t",
        ),
        (queues(V4, V4), "octjob: two flavors are named v4-32; set `flavor` on one"),
        (
            "kueue.cluster.queues="
            + json.dumps([{"name": "a", "accelerators": [V4]}, {"name": "b", "accelerators": [OTHER]}]),
            "b: flavor v4-32 is another in an earlier queue; set `flavor` on one",
        ),
        (queues(V4, spot=True, reservation="r"), "octjob: reserved nodes are not Spot nodes"),
        (SWEEPS, "image: is needed by the collector"),
        ('prices.chip_hours={"v4": {"spot": 1}}', "prices: chip_hours need currency and date"),
        ("externalSecrets.enabled=true", "externalSecrets.store.name: is needed"),
        (
            'resourceQuota.hard={"requests.cpu": "10"}',
            "resourceQuota.hard.requests.cpu: would refuse every pod that does not ask for it",
        ),
        (
            'limitRange={"enabled": true, "limits": [{"type": "Container", "max": {"memory": "1Gi"}}]}',
            "limitRange.limits: memory of containers becomes a request of every pod",
        ),
    ],
)  # fmt: skip
def test_what_could_never_work_is_refused_with_its_reason(value: str, message: str) -> None:
    with pytest.raises(HelmError, match=re.escape(message)):
        rendered(value)


# The collector, the test pod, secrets.


def pods_of(documents: list[Document]) -> list[Document]:
    templates = [one["spec"]["jobTemplate"]["spec"]["template"] for one in of_kind(documents, "CronJob")]
    return [*of_kind(documents, "Pod"), *templates]


def test_its_pods_pass_the_restricted_level(full: list[Document]) -> None:
    assert len(pods_of(full)) == 3
    for pod in pods_of(full):
        spec = pod["spec"]
        (only,) = spec["containers"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert only["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert [volume.keys() - {"name"} for volume in spec["volumes"]] == [{"emptyDir"}]
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers"}
        assert spec["restartPolicy"] == "Never"


def test_a_failed_run_does_not_make_the_collector_loop(full: list[Document]) -> None:
    for cronjob in of_kind(full, "CronJob"):
        assert cronjob["spec"]["concurrencyPolicy"] == "Forbid"
        assert cronjob["spec"]["jobTemplate"]["spec"]["backoffLimit"] == 0


def test_the_collectors_command_is_octjobs(full: list[Document]) -> None:
    for cronjob in of_kind(full, "CronJob"):
        (only,) = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        assert only["command"][:2] == ["octjob", "collect"]
        collect.make_context(
            "collect", only["command"][2:], parent=click.Context(cli, **cli.context_settings)
        )
        assert only["command"][2] in {"gs://bucket/octjob/phase3", "b2://bucket/octjob/nightly"}


def collectors(documents: list[Document]) -> list[Document]:
    """The one container of each CronJob."""
    pods = [one["spec"]["jobTemplate"]["spec"]["template"] for one in of_kind(documents, "CronJob")]
    return [pod["spec"]["containers"][0] for pod in pods]


def test_the_collector_notifies_by_a_secret_and_only_if_asked(full: list[Document]) -> None:
    source = {"name": "octjob-notify", "key": "url"}
    for container in collectors(full):
        variables = {one["name"]: one for one in container["env"]}
        assert variables[env.NOTIFY_URL] == {
            "name": env.NOTIFY_URL,
            "valueFrom": {"secretKeyRef": source},
        }
        assert "--notify" not in container["command"]
    (alone,) = collectors(rendered(IMAGE, SWEEPS))
    assert env.NOTIFY_URL not in {one["name"] for one in alone["env"]}


def test_the_collector_asks_the_cluster_where_it_may(full: list[Document]) -> None:
    (alone,) = collectors(rendered(IMAGE, SWEEPS))
    assert "--namespace" not in alone["command"]
    for container in collectors(full):
        assert container["command"][-2:] == ["--namespace", "oct"]


def test_a_token_is_mounted_only_with_cluster_access(full: list[Document]) -> None:
    tokens = {
        access: {pod["spec"]["automountServiceAccountToken"] for pod in pods_of(documents)}
        for access, documents in (("no", rendered(IMAGE, SWEEPS)), ("yes", full))
    }
    assert tokens == {"no": {False}, "yes": {False, True}}


@pytest.mark.parametrize(
    ("checkpoint", "command"),
    [
        ("", ["octjob", "--version"]),
        ("gs://bucket/best.pt", ["octjob", "checkpoint", "inspect", "gs://bucket/best.pt"]),
    ],
)
def test_helm_test_is_a_pod_of_the_runs_account(checkpoint: str, command: list[str]) -> None:
    (pod,) = pods_of(rendered(IMAGE, f"tests.checkpointUri={checkpoint}"))
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["serviceAccountName"] == "octjob-run"
    assert pod["spec"]["containers"][0]["command"] == command


def test_without_an_image_nothing_runs(default: list[Document]) -> None:
    assert pods_of(default) == []


def test_prices_are_a_table_that_octjob_reads(full: list[Document], default: list[Document]) -> None:
    table = parse_prices(named(full, "ConfigMap", NAME)["data"][KEY], "values").table
    assert (table.currency, table.date) == ("EUR", "2026-12-01")
    assert table.chip_hours["v4"].spot == 1
    assert table.chip_hours["h100"].flex_start == 3.5
    rules = named(full, "Role", "octjob-submitter")["rules"]
    assert [rule["verbs"] for rule in rules if rule.get("resourceNames") == [NAME]] == [["get"]]
    assert of_kind(default, "ConfigMap") == []


def test_external_secrets_fill_the_secrets_that_runs_name(full: list[Document]) -> None:
    assert of_kind(full, "Secret") == []
    found = {one["metadata"]["name"]: one for one in of_kind(full, "ExternalSecret")}
    assert found.keys() == {"octjob-b2", "octjob-wandb"}
    wandb = found["octjob-wandb"]
    assert wandb["apiVersion"] == "external-secrets.io/v1"
    assert wandb["spec"] == {
        "refreshInterval": "1h",
        "secretStoreRef": {"kind": "ClusterSecretStore", "name": "gcp"},
        "target": {"name": "octjob-wandb", "creationPolicy": "Owner"},
        "data": [{"secretKey": "WANDB_API_KEY", "remoteRef": {"key": "team-wandb-key"}}],
    }


def test_the_notes_name_what_a_sweep_needs() -> None:
    notes = helm("install", "octjob", CHART, "--namespace", "oct", "--dry-run=client", "--set", IMAGE)
    _, _, notes = notes.partition("NOTES:\n")
    compute, _, rest = notes.partition("\nStill to do:\n")
    assert yaml.safe_load(compute.partition("\n\n")[2]) == {
        "compute": {
            "target": "kubernetes",
            "namespace": "oct",
            "service_account": "octjob-run",
            "queue": "tpu",
            "secrets": ["octjob-b2", "octjob-wandb"],
        }
    }
    assert "kubectl label namespace oct pod-security.kubernetes.io/enforce=restricted" in rest
    assert "create secret generic octjob-wandb --from-file=WANDB_API_KEY" in rest
    assert "helm test octjob -n oct" in rest
    assert "Nobody is named under `submitters`" in rest

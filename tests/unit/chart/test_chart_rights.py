"""charts/octjob: who may do what."""

from __future__ import annotations

import pytest

from tests.cluster.charts import (
    Document,
    named,
    of_kind,
    rendered,
)

pytestmark = pytest.mark.chart

CLUSTER_SCOPED = {
    "ClusterQueue", "ClusterRole", "ClusterRoleBinding", "Namespace", "ResourceFlavor", "WorkloadPriorityClass",
}  # fmt: skip


@pytest.fixture(scope="module")
def default() -> list[Document]:
    return rendered()


@pytest.fixture(scope="module")
def full() -> list[Document]:
    return rendered(values="full")


def rights(role: Document) -> list[str]:
    found = []
    for rule in role["rules"]:
        assert len(rule["apiGroups"]) == 1
        names = f" {','.join(rule['resourceNames'])}" if "resourceNames" in rule else ""
        group = rule["apiGroups"][0]
        for resource in rule["resources"]:
            found.append(f"{resource}{'.' if group else ''}{group}{names}: {' '.join(rule['verbs'])}")
    return found


def test_the_submitter_may_do_this_and_nothing_else(default: list[Document]) -> None:
    assert rights(named(default, "Role", "octjob-submitter")) == [
        "jobsets.jobset.x-k8s.io: create delete get list patch watch",
        "jobs.batch: create delete get list patch watch",
        "pods: create get list watch",
        "pods/log: get",
        "events: list",
        "serviceaccounts: get",
        "persistentvolumeclaims: get list",
        "limitranges: get list",
        "resourcequotas: get list",
        "secrets octjob-b2,octjob-wandb: get",
        "workloads.kueue.x-k8s.io: get list patch watch",
        "localqueues.kueue.x-k8s.io: get list",
    ]
    assert rights(named(default, "ClusterRole", "oct-octjob-submitter")) == [
        "admissionchecks.kueue.x-k8s.io: get list",
        "clusterqueues.kueue.x-k8s.io: get list",
        "resourceflavors.kueue.x-k8s.io: get list",
        "topologies.kueue.x-k8s.io: get list",
        "workloadpriorityclasses.kueue.x-k8s.io: get list",
        "nodes: get list",
    ]


def test_what_the_chart_makes_changes_no_right_to_look(default: list[Document]) -> None:
    """Queues may be somebody else's: their Kueue is there all the same."""
    without = rendered(values="no-kueue")
    for kind, name in (("Role", "octjob-submitter"), ("ClusterRole", "oct-octjob-submitter")):
        secrets = {one for one in rights(named(default, kind, name)) if one.startswith("secrets ")}
        assert set(rights(named(without, kind, name))) == set(rights(named(default, kind, name))) - secrets


def test_a_run_may_do_nothing_and_gets_no_token(full: list[Document]) -> None:
    bound = [
        binding["roleRef"]["name"]
        for kind in ("RoleBinding", "ClusterRoleBinding")
        for binding in of_kind(full, kind)
        if "octjob-run" in {subject["name"] for subject in binding["subjects"]}
    ]
    assert bound == ["octjob-run"]
    assert named(full, "Role", "octjob-run")["rules"] == []
    assert all(
        account["automountServiceAccountToken"] is False for account in of_kind(full, "ServiceAccount")
    )


def test_the_collector_may_only_list_and_only_if_asked(default: list[Document], full: list[Document]) -> None:
    assert "octjob-collector" not in {role["metadata"]["name"] for role in of_kind(default, "Role")}
    assert rights(named(full, "Role", "octjob-collector")) == [
        "jobsets.jobset.x-k8s.io: list",
        "events: list",
        "pods: list",
        "workloads.kueue.x-k8s.io: list",
    ]


def test_no_role_has_a_wildcard_or_reads_other_secrets(full: list[Document]) -> None:
    for role in (*of_kind(full, "Role"), *of_kind(full, "ClusterRole")):
        for rule in role["rules"]:
            assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
            if "secrets" in rule["resources"]:
                assert (rule["verbs"], rule["resourceNames"]) == (["get"], ["octjob-b2", "octjob-wandb"])
            assert not {"escalate", "bind", "impersonate"} & {*rule["verbs"]}


def test_submitters_are_those_named(default: list[Document], full: list[Document]) -> None:
    assert {binding["metadata"]["name"] for binding in of_kind(default, "RoleBinding")} == {"octjob-run"}
    assert of_kind(default, "ClusterRoleBinding") == []
    wanted = {
        ("User", "ada@example.org", None),
        ("Group", "oct-researchers@example.org", None),
        ("ServiceAccount", "argo", "ci"),
        ("ServiceAccount", "octjob-submitter", "oct"),
    }
    name = {"RoleBinding": "octjob-submitter", "ClusterRoleBinding": "oct-octjob-submitter"}
    for kind in name:
        subjects = named(full, kind, name[kind])["subjects"]
        assert {(one["kind"], one["name"], one.get("namespace")) for one in subjects} == wanted


def test_a_second_namespace_needs_nothing_outside_it() -> None:
    documents = rendered(values="second-namespace")
    assert {one["kind"] for one in documents} & CLUSTER_SCOPED == set()
    assert {one["metadata"]["namespace"] for one in documents} == {"oct"}
    (queue,) = of_kind(documents, "LocalQueue")
    assert queue["spec"] == {"clusterQueue": "octjob"}
    assert "secrets" not in " ".join(rights(named(documents, "Role", "octjob-submitter")))


def test_workload_identity_is_an_annotation(full: list[Document], default: list[Document]) -> None:
    account = named(full, "ServiceAccount", "octjob-run")
    assert account["metadata"]["annotations"] == {
        "iam.gke.io/gcp-service-account": "octjob-run@my-project.iam.gserviceaccount.com"
    }
    assert "annotations" not in named(default, "ServiceAccount", "octjob-run")["metadata"]

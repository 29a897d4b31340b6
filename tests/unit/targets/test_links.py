"""Links into Google Cloud's console: whole, escaped, and only for GKE."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest

from octjob.targets.kubernetes.links import GkeCluster, gke_cluster


def test_gclouds_names_are_taken_apart() -> None:
    assert gke_cluster("gke_my-project_us-central2_octjob") == GkeCluster(
        "my-project", "us-central2", "octjob"
    )
    assert gke_cluster("work", "gke_example.com:my-project_us-central2-b_a-1") == GkeCluster(
        "example.com:my-project", "us-central2-b", "a-1"
    )


@pytest.mark.parametrize("name", ["", "kind-octjob", "gke_project_location", "gke_a_b_c_d", "arn:aws:eks:x"])
def test_other_clusters_have_no_links(name: str) -> None:
    assert gke_cluster(name) is None


def test_links_name_everything_and_are_escaped() -> None:
    cluster = GkeCluster("example.com:my-project", "us-central2", "octjob")
    console = urlsplit(cluster.console("team", "a-linear-0000abcd"))
    assert console.path == "/kubernetes/job/us-central2/octjob/team/a-linear-0000abcd-w-0/details"
    assert console.query == "project=example.com%3Amy-project"
    logs = urlsplit(cluster.run_logs("team", "a-linear-0000abcd"))
    head, query, duration = logs.path.split(";")
    assert (head, duration) == ("/logs/query", "duration=P7D")
    assert unquote(query.removeprefix("query=")).splitlines() == [
        'resource.type="k8s_container"',
        'resource.labels.project_id="example.com:my-project"',
        'resource.labels.location="us-central2"',
        'resource.labels.cluster_name="octjob"',
        'resource.labels.namespace_name="team"',
        'labels."k8s-pod/jobset_sigs_k8s_io/jobset-name"="a-linear-0000abcd"',
    ]


def test_a_sweeps_logs_are_found_by_its_label() -> None:
    cluster = GkeCluster("p", "l", "c")
    assert 'labels."k8s-pod/octjob_dev/sweep"="phase3"' in unquote(cluster.sweep_logs("oct", "phase3"))
    # A value that a label cannot have is shortened there as well.
    long = "x" * 80
    assert long not in cluster.sweep_logs("oct", long)


def test_nothing_leaves_its_place_in_the_address() -> None:
    odd = 'a"b\\c;d?e#f&g h'
    url = urlsplit(GkeCluster("p", "l", "c").run_logs(odd, "j"))
    assert (url.query, url.fragment) == ("project=p", "")
    assert 'namespace_name="a\\"b\\\\c;d?e#f&g h"' in unquote(url.path.split(";")[1])

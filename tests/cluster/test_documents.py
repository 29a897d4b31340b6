"""What octjob and its chart write, for every accelerator and capacity, before kubeconform, linters and a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from doubles.cluster_runs import make_run, make_settings

from octjob.spec.experiment import Experiment
from octjob.targets.kubernetes.documents.manifest import render_jobset
from octjob.targets.kubernetes.documents.yamltext import to_yaml
from tests.cluster.access import ClusterAccess
from tests.cluster.charts import kubeconform, rendered
from tests.cluster.every_kind import Document, accelerators, capacities, jobsets, with_children
from tests.cluster.linters import CHECKOV, Finding, Linter, argued, checkov, kube_score
from tests.cluster.tenancy import RUN_ACCOUNT

NAMESPACE = "oct"
CLAIM = "PersistentVolumeClaim"


@pytest.fixture(scope="module")
def every() -> list[Document]:
    """JobSets of all pairs that octjob does not refuse, those of ordinary capacity first."""
    plain, *others = capacities()
    documents, refused = jobsets(plain, service_account=RUN_ACCOUNT)
    assert (len(documents), refused) == (len(list(accelerators())), [])
    for capacity in others:
        more, refused = jobsets(capacity, service_account=RUN_ACCOUNT)
        assert len(more) + len(refused) == len(list(accelerators()))
        assert more, f"{capacity}: {refused}"
        documents += more
    return documents


@pytest.fixture(scope="module")
def chart() -> list[Document]:
    """The chart with all that it can have, but for the kind that is another operator's."""
    return [one for one in rendered(values="full") if one["kind"] != "ExternalSecret"]


def left(found: set[Finding], linter: Linter) -> tuple[list[Finding], list[tuple[str, str]]]:
    """Findings that nobody argued, and arguments that nothing needs."""
    meant = argued(linter)
    return sorted(one for one in found if one.key not in meant), sorted(meant.keys() - {f.key for f in found})


def test_kubeconform_knows_every_field(every: list[Document], chart: list[Document]) -> None:
    assert kubeconform([*chart, *(one for jobset in every for one in with_children(jobset, NAMESPACE))]) == []


def test_kube_score_finds_only_what_is_argued(every: list[Document], chart: list[Document]) -> None:
    found = kube_score([*chart, *(one for jobset in every for one in with_children(jobset, NAMESPACE))])
    assert left(found, "kube-score") == ([], [])
    of_chart = {one.says for one in found if one.key == ("container-resources", "chart")}
    assert of_chart == {"CPU limit is not set"}


def test_checkov_finds_only_what_is_argued(
    every: list[Document], chart: list[Document], tmp_path: Path
) -> None:
    if not CHECKOV.exists():
        pytest.skip("no checkov; `make checkov` installs it")
    # Reading takes it a second for three pods, so one slice and one kind of GPU stand for all.
    some = [every[0], every[len(list(accelerators())) - 1]]
    found = checkov([*chart, *(one for jobset in some for one in with_children(jobset, NAMESPACE))], tmp_path)
    assert left(found, "checkov") == ([], [])


@pytest.mark.timeout(900)
def test_the_server_takes_every_document(
    control_plane: ClusterAccess, namespace: str, every: list[Document]
) -> None:
    # Capacities differ in labels and tolerations: the Jobs and pods of the ordinary one stand for theirs.
    plain = len(list(accelerators()))
    documents = [one for jobset in every[:plain] for one in with_children(jobset, namespace)]
    documents += [with_children(jobset, namespace)[0] for jobset in every[plain:]]
    text = "---\n".join(to_yaml(document) for document in documents)
    said = control_plane.kubectl("create", "--dry-run=server", "-f", "-", "-o", "name", stdin=text)
    assert len(set(said.splitlines())) == len(documents)
    assert control_plane.list("jobsets,jobs,pods", namespace) == []


@pytest.mark.parametrize("mount", [{"cache_gcsfuse": True}, {"cache_disk": "volumes"}], ids=str)
def test_the_server_takes_mounts_of_the_cache(
    control_plane: ClusterAccess, namespace: str, mount: dict[str, Any]
) -> None:
    """In a namespace of the level restricted; what a CSI driver makes of its attributes is GKE's."""
    config = Experiment.model_validate({"data": {"shared_cache": "float16"}})
    jobset = render_jobset(make_run(config=config), make_settings(service_account=RUN_ACCOUNT, **mount))
    documents = with_children(jobset, namespace)
    assert kubeconform(documents) == []
    text = "---\n".join(to_yaml(document) for document in documents)
    said = control_plane.kubectl("create", "--dry-run=server", "-f", "-", "-o", "json", stdin=text)
    assert said.count('"name": "octjob-cache"') == 2 * len(documents)


def test_the_server_takes_the_class_and_the_claim_of_a_disk(control_plane: ClusterAccess) -> None:
    """Of `k8s/hyperdisk-ml`; the two other kinds are GKE's."""
    path = Path(__file__).parents[2] / "k8s/hyperdisk-ml/volumes.yaml"
    documents = [
        one for one in yaml.safe_load_all(path.read_text()) if one["kind"] in ("StorageClass", CLAIM)
    ]
    for one in documents:
        one["metadata"].pop("namespace", None)
    text = "---\n".join(map(yaml.safe_dump, documents))
    said = control_plane.kubectl("create", "--dry-run=server", "-f", "-", "-o", "name", stdin=text)
    assert len(said.splitlines()) == 2

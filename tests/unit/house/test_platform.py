"""k8s/: versions agree everywhere, charts take our settings, and the scripts say what they would run."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from octjob.spec.accelerator import parse_accelerator
from tests.cluster.build import module_dir
from tests.cluster.charts import helm_template, kubeconform

pytestmark = pytest.mark.chart

K8S = Path(__file__).parents[3] / "k8s"
PINS = (Path(__file__).parents[2] / "cluster/tools/kubernetes/go.mod").read_text()
NODES = ("--project", "p", "--cluster", "c", "--location", "us-central2", "--zone", "us-central2-b")


def script(name: str, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"PATH": path} if path else {})}
    return subprocess.run([K8S / name, *arguments], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("name", ["jobset", "kueue"])
def test_what_is_installed_is_what_is_tested(name: str) -> None:
    (pinned,) = re.findall(rf"^\s+sigs\.k8s\.io/{name} v(\S+)", PINS, re.MULTILINE)
    printed = script("install.sh", "--dry-run").stdout.splitlines()
    (line,) = [one for one in printed if f"oci://registry.k8s.io/{name}/" in one]
    assert f" --version {pinned} " in line
    values = K8S / name / "values.yaml"
    assert f" --values {values} " in line
    documents = helm_template(module_dir(f"sigs.k8s.io/{name}") / "charts" / name, "--values", values)
    images = {
        container["image"]
        for document in documents
        if document["kind"] == "Deployment"
        for container in document["spec"]["template"]["spec"]["containers"]
    }
    assert images == {f"registry.k8s.io/{name}/{name}:v{pinned}"}
    known = [one for one in documents if one["kind"] != "CustomResourceDefinition"]
    assert kubeconform(known) == []


def keys(document: Any) -> set[str]:
    if not isinstance(document, dict):
        return set()
    return {*document, *(key for child in document.values() for key in keys(child))}


def test_kueue_is_configured_by_keys_that_it_knows() -> None:
    values = yaml.safe_load((K8S / "kueue/values.yaml").read_text())
    config = yaml.safe_load(values["managerConfig"]["controllerManagerConfigYaml"])
    types = (module_dir("sigs.k8s.io/kueue") / "apis/config/v1beta2/configuration_types.go").read_text()
    known = {*re.findall(r'json:"(\w+)', types), "apiVersion", "kind"}
    # LeaderElectionConfiguration's, of k8s.io/component-base.
    assert keys(config) - known == {"leaderElect", "resourceName"}
    assert config["integrations"]["frameworks"] == ["batch/job", "jobset.x-k8s.io/jobset"]
    chart = yaml.safe_load((module_dir("sigs.k8s.io/kueue") / "charts/kueue/values.yaml").read_text())
    default = yaml.safe_load(chart["managerConfig"]["controllerManagerConfigYaml"])
    # The dashboard asks for what each queue has and uses.
    default["metrics"]["enableClusterQueueResources"] = True
    for key in ("apiVersion", "kind", "health", "metrics", "webhook", "leaderElection"):
        assert config[key] == default[key]


def pools(*options: str) -> list[list[str]]:
    done = script("nodepools/create-v4-32.sh", *NODES, *options, "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split() for line in done.stdout.splitlines()]


def test_a_pool_is_one_v4_32_slice() -> None:
    row = parse_accelerator("v4-32")
    commands = pools("--slices", "2")
    assert [command[4] for command in commands] == ["v4-32-0", "v4-32-1"]
    for command in commands:
        assert command[:4] == ["gcloud", "container", "node-pools", "create"]
        assert f"--machine-type={row.machine_type}" in command
        assert f"--tpu-topology={row.topology}" in command
        assert f"--num-nodes={row.hosts}" in command
        assert "--workload-metadata=GKE_METADATA" in command


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        (("--spot",), ["--spot"]),
        (("--reservation", "r"), ["--reservation-affinity=specific", "--reservation=r"]),
        (("--autoscale",), ["--num-nodes=0", "--enable-autoscaling", "--min-nodes=0", "--max-nodes=4"]),
        (("--service-account", "a@b"), ["--service-account=a@b"]),
    ],
)
def test_capacity_is_chosen_by_flags(options: tuple[str, ...], flags: list[str]) -> None:
    (plain,), (changed,) = pools(), pools(*options)
    assert [flag for flag in changed if flag not in plain] == flags


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "nodepools/create-v4-32.sh",
            ("--project", "p"),
            "--project, --cluster, --location and --zone are needed",
        ),
        ("nodepools/create-v4-32.sh", (*NODES, "--spot", "--reservation", "r"), "exclude each other"),
        ("nodepools/create-v4-32.sh", (*NODES, "--slices", "two"), "two is not a positive number"),
        ("nodepools/create-v4-32.sh", (*NODES, "--slice", "2"), "unknown option --slice"),
        ("nodepools/create-v4-32.sh", (*NODES, "--slices"), "--slices needs a value"),
        ("install.sh", ("--contxt", "x"), "unknown option --contxt"),
        ("install.sh", ("--context",), "--context needs a name"),
        ("kind/up.sh", ("--slices", "two"), "two is not a number"),
        ("kind/pretend-tpus.sh", ("x",), "unknown option x"),
    ],
)
def test_scripts_refuse_before_they_do_anything(name: str, arguments: tuple[str, ...], message: str) -> None:
    done = script(name, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr.splitlines()[0]
    assert done.stderr.startswith("error: ")


RECORDER = """#!/usr/bin/env bash
# Stands in for kind, helm and kubectl: writes down how it was called, and answers `get nodes`.
echo "${0##*/} $*" >> "$CALLS"
[[ $1 != create ]] || cat >> "$CALLS"
[[ $* != *"get nodes"* ]] || printf 'w%s\\n' 10 9 8 7 6 5 4 3
"""


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """A PATH whose kind, helm and kubectl only write down how they were called, and where."""
    for name in ("kind", "helm", "kubectl"):
        (tmp_path / name).write_text(RECORDER)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return f"{tmp_path}:{os.environ['PATH']}", tmp_path / "calls"


def test_kind_gets_workers_that_look_like_slices(recorded: tuple[str, Path]) -> None:
    path, log = recorded
    done = script("kind/up.sh", "--slices", "2", path=path)
    assert done.returncode == 0, done.stderr
    calls = log.read_text()
    config = yaml.safe_load(calls.partition("\n")[2].partition("helm ")[0])
    assert [node["role"] for node in config["nodes"]] == ["control-plane", *["worker"] * 8]
    assert all("--context kind-octjob" in line for line in re.findall(r"^kubectl .*", calls, re.MULTILINE))
    assert calls.count("--kube-context kind-octjob") == 2
    selector = parse_accelerator("v4-32").node_selector
    labelled = re.findall(r"label node (\S+) --overwrite (.*)", calls)
    assert [node for node, _ in labelled] == [f"w{number}" for number in range(3, 11)]
    for place, (_, text) in enumerate(labelled):
        labels = dict(word.split("=") for word in text.split())
        assert labels.items() >= selector.items()
        assert labels["cloud.google.com/gke-nodepool"] == f"v4-32-{place // 4}"
    assert calls.count("google.com/tpu=present:NoSchedule") == 8
    assert calls.count('"allocatable":{"google.com/tpu":"4"}') == 8


def test_kind_without_slices_is_one_node(recorded: tuple[str, Path]) -> None:
    path, log = recorded
    done = script("kind/up.sh", "--slices", "0", path=path)
    assert done.returncode == 0, done.stderr
    calls = log.read_text()
    config = yaml.safe_load(calls.partition("\n")[2].partition("helm ")[0])
    assert [node["role"] for node in config["nodes"]] == ["control-plane"]
    assert "kubectl" not in calls
    assert calls.count("helm upgrade --install") == 2


def test_half_a_slice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kubectl").write_text("#!/usr/bin/env bash\nprintf 'w%s\\n' 1 2 3\n")
    (tmp_path / "kubectl").chmod(0o755)
    done = script("kind/pretend-tpus.sh", path=f"{tmp_path}:{os.environ['PATH']}")
    assert (done.returncode, done.stderr) == (1, "error: 3 workers; a v4-32 slice is 4 of them\n")

"""docs/platform.md: each of its commands is one that gcloud, kubectl, helm and octjob understand.

The page's blocks are run by bash with programs that only write down how they were called. What they wrote goes
through the parsers of the real ones: of gcloud the parser alone, of kubectl and helm the program with a cluster that
is not there. None of them reaches a cloud.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import click
import pytest

from octjob.cli import cli
from tests.cluster.build import tool
from tests.cluster.charts import helm_template

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/platform.md").read_text()
PROGRAMS = ("gcloud", "kubectl", "helm", "docker", "make", "octjob")
RECORDER = """#!/usr/bin/env python3
# Stands in for a program: writes down how it was called, and answers with a project's number.
import json, os, sys
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
if sys.argv[1:3] == ["projects", "describe"]:
    print("123456789012")
"""
NOWHERE = """\
apiVersion: v1
kind: Config
current-context: nowhere
clusters: [{name: nowhere, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: nowhere, context: {cluster: nowhere, user: nobody}}]
users: [{name: nobody, user: {}}]
"""
POOLS = ("--spot", "--reservation=projects/p/reservations/r", "--autoscale", "--service-account=a@b")


def _record(folder: Path) -> list[list[str]]:
    for program in PROGRAMS:
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin" / program).write_text(RECORDER)
        (folder / "bin" / program).chmod(0o755)
    for name in ("k8s", "charts", "sweeps"):
        (folder / name).symlink_to(ROOT / name)
    pool = "k8s/nodepools/create-v4-32.sh --project p --cluster c --location us-central2 --zone us-central2-b"
    more = [f"{pool} {option.replace('=', ' ')}" for option in POOLS]
    script = "\n".join(["set -euo pipefail", *re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL), *more])
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "CALLS": str(folder / "calls"), "HOME": str(folder)}
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=env, input="a\nb\nc\n", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[str]]]:
    """What each program was called with, in the page's order."""
    recorded = _record(tmp_path_factory.mktemp("page"))
    return {program: [words for name, *words in recorded if name == program] for program in PROGRAMS}


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """An environment whose kubeconfig names a server that is not there."""
    (tmp_path / "nowhere").write_text(NOWHERE)
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "nowhere")}


def test_every_program_is_met(calls: dict[str, list[list[str]]]) -> None:
    assert all(calls.values())
    members = [word for words in calls["gcloud"] for word in words if word.startswith("--member=principal:")]
    assert [member.rpartition("/")[2] for member in members] == ["octjob-run", "octjob-collector"]
    pool = "projects/123456789012/locations/global/workloadIdentityPools/my-project.svc.id.goog"
    assert {member.partition("/subject/")[0] for member in members} == {
        f"--member=principal://iam.googleapis.com/{pool}"
    }


def _parsed(argvs: list[list[str]], home: Path) -> tuple[list[str], str]:
    found = shutil.which("gcloud")
    root = Path(found).resolve().parents[1] if found else None
    if root is None or not (root / "lib/googlecloudsdk").is_dir():
        pytest.skip("no gcloud here whose parser can be called")
    bundled = root / "platform/bundledpythonunix/bin/python3"
    done = subprocess.run(
        [bundled if bundled.exists() else sys.executable, Path(__file__).with_name("parse_gcloud.py"), root],
        input="\n".join(map(json.dumps, argvs)),
        env={"PATH": os.environ["PATH"], "HOME": str(home), "CLOUDSDK_CONFIG": str(home)},
        capture_output=True,
        text=True,
    )
    return done.stdout.split(), done.stderr


def test_gcloud_parses_each_of_its_commands(calls: dict[str, list[list[str]]], tmp_path: Path) -> None:
    argvs = calls["gcloud"]
    ended, said = _parsed(
        [*argvs, ["container", "node-pools", "create", "x", "--tpu-topolgy=2x2x4"]], tmp_path
    )
    assert ended == ["ok"] * len(argvs) + ["2"], said


def test_kubectl_takes_each_of_its_commands(
    calls: dict[str, list[list[str]]], nowhere: dict[str, str], tmp_path: Path
) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl here")
    for words in calls["kubectl"]:
        for file in (word.partition("=")[2] for word in words if word.startswith("--from-file=")):
            (tmp_path / file).write_text("x")
        done = subprocess.run(
            [kubectl, *words], cwd=tmp_path, env=nowhere, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 1, words
        assert "refused" in done.stderr, (words, done.stderr)


@pytest.mark.chart
def test_the_chart_takes_what_the_page_sets(calls: dict[str, list[list[str]]]) -> None:
    set_ = [words for words in calls["helm"] if "charts/octjob" in words]
    assert [words[0] for words in set_] == ["install", "upgrade"]
    kinds = []
    for words in set_:
        options = [word for name, word in pairwise(words) if name == "--set"]
        flags = [flag for option in options for flag in ("--set", option)]
        documents = helm_template(ROOT / "charts/octjob", *flags, namespace="octjob")
        kinds.append(sorted({document["kind"] for document in documents}))
        assert "oct-researchers@example.org" in json.dumps(documents) or words[0] == "upgrade"
    assert {"ClusterQueue", "LocalQueue", "ResourceFlavor", "ServiceAccount"} <= set(kinds[0])
    assert "Pod" in kinds[1]


@pytest.mark.chart
def test_helm_takes_the_others(calls: dict[str, list[list[str]]], nowhere: dict[str, str]) -> None:
    others = [words for words in calls["helm"] if not any(word.startswith("oci://") for word in words)]
    for words in others:
        done = subprocess.run(
            [tool("helm"), *words], cwd=ROOT, env=nowhere, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 1, words
        assert "refused" in done.stderr, (words, done.stderr)


def test_octjob_takes_each_of_its_commands(calls: dict[str, list[list[str]]]) -> None:
    for words in calls["octjob"]:
        name, command, rest = cli.resolve_command(click.Context(cli), words)
        assert command is not None
        command.make_context(name, rest)

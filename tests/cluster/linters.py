"""Documents through kube-score and checkov: what they find, less what `argued.yaml` says is meant.

kube-score is built with the other programs (`tests.cluster.build`), checkov lies in an environment of its own,
`make checkov`: its dependencies are not the tests'.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from octjob.targets.kubernetes.documents.yamltext import to_yaml
from tests.cluster.build import tool

Document = dict[str, Any]
Linter = Literal["kube-score", "checkov"]
CHECKOV = Path(__file__).parents[2] / ".venv-checkov/bin/checkov"
ARGUED = Path(__file__).with_name("argued.yaml")


@dataclass(frozen=True, order=True)
class Finding:
    """What one linter has against some objects. of: `chart`, or `runs` for JobSets and what is made of them."""

    check: str
    of: str
    says: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return self.check, self.of


def argued(linter: Linter) -> dict[tuple[str, str], str]:
    """(check, of) to why it is meant."""
    entries = yaml.safe_load(ARGUED.read_text())[linter]
    found = {(entry["check"], of): entry["why"] for entry in entries for of in entry["of"]}
    assert len(found) == sum(len(entry["of"]) for entry in entries), "an entry twice"
    return found


def kube_score(documents: list[Document]) -> set[Finding]:
    """What `kube-score score` finds, each once. It knows no JobSets and passes them over."""
    text = "---\n".join(to_yaml(document) for document in documents)
    command = [tool("kube-score"), "score", "--output-format", "json", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    found = set()
    for scored in json.loads(done.stdout):
        for check in scored["checks"]:
            # 10 is all well, 7 a remark, 5 a warning, 1 critical.
            if not check["skipped"] and check["grade"] < 7:
                comments = [comment["summary"] for comment in check["comments"] or ()]
                of = _of(scored["object_meta"]["name"])
                found |= {Finding(check["check"]["id"], of, said) for said in comments or [""]}
    return found


def checkov(documents: list[Document], folder: Path) -> set[Finding]:
    """What checkov's policies of Kubernetes find, each once; it reads them from a file in `folder`."""
    path = folder / "documents.yaml"
    path.write_text("---\n".join(to_yaml(document) for document in documents))
    command = [CHECKOV, "--file", path, "--framework", "kubernetes", "--output", "json", "--quiet"]
    # Nothing of it is to be asked of, or told to, any server.
    env = {**os.environ, "CHECKOV_RUN_SCA_PACKAGE_SCAN": "false"}
    done = subprocess.run([*command, "--skip-download"], capture_output=True, text=True, env=env)
    answer = json.loads(done.stdout)
    assert answer["summary"]["parsing_errors"] == 0
    assert answer["summary"]["passed"] > 0
    return {
        Finding(one["check_id"], _of(one["resource"].split(".")[2]), one["check_name"])
        for one in answer["results"]["failed_checks"]
    }


def _of(name: str) -> str:
    return "chart" if name.startswith("octjob") else "runs"

"""What a test does with a cluster, whoever runs it: kubectl, helm, a user's kubeconfig, waiting."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from octjob.targets.kubernetes.documents.yamltext import to_yaml

from .kubeconfig import by_token, server_and_ca, write_kubeconfig

Document = dict[str, Any]
T = TypeVar("T")

CHART = Path(__file__).parents[2] / "charts" / "octjob"
POLL_S = 0.2
SHORTEST_TOKEN_S = 600


class CommandError(Exception):
    """A command failed; `stderr` is what it said."""

    def __init__(self, command: str, stderr: str) -> None:
        super().__init__(f"`{command}` failed: {stderr.strip()}")
        self.stderr = stderr


class ClusterAccess:
    """An existing cluster, reached as its administrator.

    kubeconfig: the administrator's.
    data: a folder for files made on the way.
    """

    def __init__(self, kubeconfig: Path, data: Path) -> None:
        self.kubeconfig = kubeconfig
        self.data = data

    def program(self, name: str) -> Path:
        """`kubectl` or `helm`."""
        found = shutil.which(name)
        if found is None:
            raise CommandError(name, "not on the PATH")
        return Path(found)

    def kubectl(self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """What `kubectl ARGUMENTS` prints; as the administrator, or as `kubeconfig` says.

        Raises:
            CommandError: it ended with an error.
        """
        return self._run("kubectl", arguments, stdin, kubeconfig or self.kubeconfig)

    def helm(self, *arguments: str) -> str:
        """What `helm ARGUMENTS` prints, as the administrator; see `kubectl`."""
        return self._run("helm", arguments, None, self.kubeconfig)

    def _run(self, name: str, arguments: tuple[str, ...], stdin: str | None, kubeconfig: Path) -> str:
        argv = [str(self.program(name)), *arguments]
        env = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        done = subprocess.run(argv, env=env, input=stdin, capture_output=True, text=True)
        if done.returncode != 0:
            raise CommandError(f"{name} {' '.join(arguments)}", done.stderr)
        return done.stdout

    def apply(self, *documents: Document) -> None:
        """Server-side apply, so that large CRDs fit."""
        text = "---\n".join(map(to_yaml, documents))
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)

    def get(self, kind: str, name: str, namespace: str | None = None) -> Document | None:
        """One object, or None if it is not there."""
        flags = ("--namespace", namespace) if namespace else ()
        text = self.kubectl("get", kind, name, *flags, "--ignore-not-found", "-o", "json")
        return json.loads(text) if text.strip() else None

    def list(self, kind: str, namespace: str | None = None, selector: str = "") -> list[Document]:
        """All objects of a kind, in a namespace or in all of them."""
        scope = ("--namespace", namespace) if namespace else ("--all-namespaces",)
        text = self.kubectl("get", kind, *scope, "--selector", selector, "-o", "json")
        items: list[Document] = json.loads(text)["items"]
        return items

    def user_kubeconfig(self, service_account: str, namespace: str, seconds: int = 3600) -> Path:
        """A kubeconfig whose only right to anything is a token of this ServiceAccount, valid `seconds`."""
        token = self.token(service_account, namespace, seconds)
        server, ca = server_and_ca(self.kubeconfig)
        path = self.data / "users" / f"{namespace}.{service_account}.{time.monotonic_ns()}.yaml"
        return write_kubeconfig(path, server, ca, by_token(token), namespace)

    def token(self, service_account: str, namespace: str, seconds: int) -> str:
        """A token of a ServiceAccount; no cluster gives one for under 10 minutes."""
        duration = f"--duration={max(seconds, SHORTEST_TOKEN_S)}s"
        return self.kubectl("create", "token", service_account, "-n", namespace, duration).strip()

    def install_chart(
        self, namespace: str, values: Mapping[str, Any] | None = None, release: str = "octjob"
    ) -> str:
        """`helm install` (or upgrade) of charts/octjob as a user would; returns what helm prints."""
        path = self.data / "values" / f"{namespace}.{release}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(dict(values or {})))
        return self.helm(
            "upgrade", "--install", release, str(CHART), "--namespace", namespace, "--create-namespace",
            "--values", str(path),
        )  # fmt: skip

    def wait_until(self, condition: Callable[[], T], what: str, timeout_s: float = 120.0) -> T:
        """The first true answer of `condition`.

        Raises:
            AssertionError: none within `timeout_s`; shows the last answer.
        """
        deadline = time.monotonic() + timeout_s
        while not (answer := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"after {timeout_s:.0f} s still not: {what}; last answer: {answer!r}")
            time.sleep(POLL_S)
        return answer


def condition_status(document: Document | None, kind: str) -> str:
    """The status of a condition of an object, `Unknown` where it has none: `True`, `False` or `Unknown`."""
    conditions = (document or {}).get("status", {}).get("conditions", [])
    found: list[str] = [each["status"] for each in conditions if each["type"] == kind]
    return found[0] if found else "Unknown"

"""Kubeconfigs that lead nowhere are one line with what mends it, never a library's traceback."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from octjob import env
from octjob.errors import OctjobError, SpecError
from octjob.targets.kubernetes.api import Cluster
from octjob.targets.kubernetes.kubeconfig import locate_cluster
from octjob.targets.kubernetes.refusal import Answer, NoCredentials, Request, refusal

Write = Callable[[object], None]


def kubeconfig(**user: object) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "oct"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": user}],
    }


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    path = tmp_path / "config"
    monkeypatch.setenv("KUBECONFIG", str(path))

    def write(content: object) -> None:
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))

    return write


def refused(context: str | None = None) -> OctjobError:
    with pytest.raises(OctjobError) as caught:
        Cluster.connect(context)
    assert "\n" not in caught.value.hint
    return caught.value


def test_none_at_all(write: Write) -> None:
    error = refused()
    assert isinstance(error, SpecError)
    assert "no cluster" in error.message
    assert "get-credentials" in error.hint


@pytest.mark.parametrize("content", ["{", "a: [b", "just words", "- 1\n- 2\n", "{}\n"])
def test_what_is_no_kubeconfig(write: Write, content: str) -> None:
    write(content)
    assert isinstance(refused(), SpecError)


def test_no_such_context(write: Write) -> None:
    write(kubeconfig())
    error = refused("there")
    assert "no context 'there' in the kubeconfig; there are here" in error.message
    assert isinstance(error, SpecError)


def test_a_certificate_that_is_not_there(write: Write) -> None:
    write(kubeconfig(**{"client-certificate": "/nowhere.crt", "client-key": "/nowhere.key"}))
    error = refused()
    assert "context here cannot be used" in error.message
    assert "/nowhere.crt" in error.message


def test_no_answer(write: Write) -> None:
    write(kubeconfig())
    error = refused()
    assert error.exit_code == 4
    assert "context here: https://127.0.0.1:1 does not answer" in error.message


def test_a_time_that_is_none(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write(kubeconfig())
    monkeypatch.setenv(env.CLUSTER_RETRY_S, "soon")
    assert f"{env.CLUSTER_RETRY_S}='soon'" in refused().message


# Credential plugins


@pytest.fixture
def plugin(tmp_path: Path, write: Write) -> Callable[..., Path]:
    """Make the kubeconfig's user one with this plugin: a shell script, or a name that is nowhere."""

    def make(script: str | None, name: str = "gke-gcloud-auth-plugin", **given: object) -> Path:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        if script is not None:
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
        call = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": str(path), **given}
        write(kubeconfig(exec=call))
        return path

    return make


TOKEN = "ya29.a0AfH6SMBx-canary-7f3a9c1e"


def test_a_plugin_that_is_not_installed(plugin: Callable[..., Path]) -> None:
    path = plugin(None)
    error = refused()
    assert error.exit_code == 4
    assert error.message == f"context here: its credential plugin {path} is not installed"
    assert error.hint == "`gcloud components install gke-gcloud-auth-plugin` installs it."


def test_another_plugin_says_itself_how_it_is_installed(plugin: Callable[..., Path]) -> None:
    plugin(None, "aws", installHint="Get aws\nfrom somewhere.")
    assert refused().hint == "Get aws from somewhere."


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("gke-gcloud-auth-plugin", "gcloud auth login"),
        ("aws", "aws sso login"),
        ("kubelogin", "az login"),
    ],
)
def test_an_expired_login_names_the_command(plugin: Callable[..., Path], name: str, command: str) -> None:
    plugin(f"echo 'Reauthentication failed.' >&2; echo 'token {TOKEN}' >&2; exit 1", name)
    error = refused()
    assert error.exit_code == 4
    assert error.message == (
        f"context here: its credential plugin {name} ended with 1: Reauthentication failed. token ***"
    )
    assert error.hint == f"`{command}`, then the same command again."


def test_an_unknown_plugin_is_named_with_its_arguments(plugin: Callable[..., Path]) -> None:
    path = plugin("exit 3", "sso", args=["token", "--team"])
    assert "sso ended with 3: it said nothing" in refused().message
    assert f"`{path} token --team` must succeed" in refused().hint


@pytest.mark.parametrize("printed", ["nonsense", "{}", '{"status": {}}', '{"status": 1}', f'"{TOKEN}"'])
def test_output_that_is_no_credential_is_not_repeated(plugin: Callable[..., Path], printed: str) -> None:
    plugin(f"echo '{printed}'")
    error = refused()
    assert "gke-gcloud-auth-plugin printed n" in error.message
    assert "canary" not in error.message + error.hint


def test_a_plugin_that_hangs_is_ended(
    plugin: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("octjob.targets.kubernetes.credentials.TIMEOUT_S", 0.5)
    plugin(f"sleep 60 & echo $! > {tmp_path}/child; wait")
    assert "has not answered in 0 s" in refused().message
    child = int((tmp_path / "child").read_text())
    assert not runs_on(child)


def runs_on(process: int) -> bool:
    """Whether a killed process is still there a second later, other than as a zombie."""
    for _ in range(100):
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return False
        except FileNotFoundError:
            return False
        time.sleep(0.01)
    return True


def test_a_plugin_that_works_is_used(plugin: Callable[..., Path]) -> None:
    plugin(f"""echo '{{"kind": "ExecCredential", "status": {{"token": "{TOKEN}"}}}}'""")
    context, namespace, load = locate_cluster(None, None)
    assert (context, namespace) == ("here", "oct")
    assert load().configuration.api_key["BearerToken"] == f"Bearer {TOKEN}"


def test_a_server_that_takes_us_for_nobody_is_not_asked_for_rights() -> None:
    asked = Request("list", "jobsets.jobset.x-k8s.io", "jobsets", "oct", "here", "https://x")
    text = 'jobsets is forbidden: User "system:anonymous" cannot list resource "jobsets" in API group "x"'
    error = refusal(asked, Answer(403, text))
    assert isinstance(error, NoCredentials)
    assert "no credentials" in error.message
    assert "submitter role" not in error.hint

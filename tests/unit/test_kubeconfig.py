"""Kubeconfigs that lead nowhere are one line with what mends it, never a library's traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from octjob.errors import OctjobError, SpecError
from octjob.targets.kubernetes.api import RETRY_ENV, Cluster

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
    monkeypatch.setenv(RETRY_ENV, "soon")
    assert f"{RETRY_ENV}='soon'" in refused().message

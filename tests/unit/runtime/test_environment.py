"""What a result says it was computed with."""

from __future__ import annotations

import platform

import pytest

from octjob import __version__
from octjob.runtime.environment import environment
from octjob.runtime.single import Single


def test_image_and_revision_are_said_where_they_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OCTJOB_IMAGE", "OCTJOB_REVISION"):
        monkeypatch.delenv(name, raising=False)
    plain = environment(Single("cpu"))
    assert not {"image", "revision"} & plain.keys()
    assert (plain["octjob"], plain["python"]) == (__version__, platform.python_version())
    monkeypatch.setenv("OCTJOB_IMAGE", "registry/octjob@sha256:0123")
    monkeypatch.setenv("OCTJOB_REVISION", "abc")
    assert environment(Single("cpu")) == {**plain, "image": "registry/octjob@sha256:0123", "revision": "abc"}

"""What `octjob render` writes, given to kubectl as it says: again and again, also while runs go on."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.cluster.access import ClusterAccess
from tests.cluster.submission import octjob, write_sweep
from tests.cluster.tenancy import QUEUE


@pytest.fixture
def rendered(control_plane: ClusterAccess, tmp_path: Path) -> list[str]:
    """The arguments of the kubectl command that render prints."""
    sweep = write_sweep(tmp_path, num_configs=1, queue=QUEUE, secrets=None)
    ended = octjob(control_plane, "render", "-f", str(sweep), "-o", str(tmp_path / "rendered"))
    assert ended.code == 0, ended.err
    program, *arguments = shlex.split(ended.out.split("`")[1])
    assert program == "kubectl"
    return arguments


def test_applied_twice_it_changes_nothing_that_was_admitted(
    control_plane: ClusterAccess, namespace: str, rendered: list[str]
) -> None:
    control_plane.kubectl(*rendered, "-n", namespace)

    def admitted() -> bool:
        # Kueue resumes a JobSet a moment after it has admitted its Workload.
        jobsets = control_plane.list("jobsets", namespace)
        return sum(not one["spec"].get("suspend") for one in jobsets) == 2

    control_plane.wait_until(admitted, "both slices are taken")
    before = {one["metadata"]["uid"]: one["spec"] for one in control_plane.list("jobsets", namespace)}
    control_plane.kubectl(*rendered, "-n", namespace)
    assert {one["metadata"]["uid"]: one["spec"] for one in control_plane.list("jobsets", namespace)} == before

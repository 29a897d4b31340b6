"""`octjob queue` on a real control plane: who holds the chips."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cluster.access import ClusterAccess
from tests.cluster.scripted import Scripted
from tests.cluster.submission import octjob
from tests.cluster.tenancy import own_namespace


def test_holders_of_two_namespaces(control_plane: ClusterAccess, namespace: str, tmp_path: Path) -> None:
    with own_namespace(control_plane) as other:
        theirs = Scripted(control_plane, other, tmp_path / "theirs", ("x",))
        ours = Scripted(control_plane, namespace, tmp_path / "ours", ("a", "b"))
        theirs.start("x", max_runtime_hours=2)
        ours.start("a", max_runtime_hours=1)

        def num_admitted() -> int:
            found = [*control_plane.list("workloads", other), *control_plane.list("workloads", namespace)]
            return sum("admission" in one.get("status", {}) for one in found)

        control_plane.wait_until(lambda: num_admitted() == 2, "two runs are admitted", 60)
        ours.start("b")

        def asked() -> list[dict[str, object]]:
            document = json.loads(octjob(control_plane, "queue", "demo", "-n", namespace, "-o", "json").out)
            return list(document["queues"])

        control_plane.wait_until(lambda: bool(asked()), "a run waits", 60)
        (queue,) = asked()
        assert (queue["waiting"], queue["note"]) == (["b.linear-0000abcd"], "")
        held = [(one["namespace"], one["run"], one["chips"]) for one in queue["holders"]]  # type: ignore[attr-defined]
        assert held == [(namespace, "a.linear-0000abcd", 16), (other, "x.linear-0000abcd", 16)]
        limits = [round(one["held_s"] + one["ends_in_s"]) for one in queue["holders"]]  # type: ignore[attr-defined]
        assert limits == [3600, 7200]
        text = octjob(control_plane, "queue", "demo", "-n", namespace).out
        assert "demo/a.linear-0000abcd" in text

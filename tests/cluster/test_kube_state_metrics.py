"""What a real kube-state-metrics makes of runs by the chart's configuration and rights, and the dashboard of it."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.access import ClusterAccess
from tests.cluster.build import tool
from tests.cluster.charts import named, rendered
from tests.cluster.processes import free_ports
from tests.cluster.promql import evaluate
from tests.cluster.scripted import Scripted

ACCOUNT = "octjob-submit"
SUCCEEDS, FAILS = "pass", "import sys; sys.exit(3)"


@contextmanager
def kube_state_metrics(config: Path, kubeconfig: Path) -> Iterator[str]:
    """The URL of its metrics while it runs."""
    port, other = free_ports(2)
    command = [
        str(tool("kube-state-metrics")),
        "--host=127.0.0.1", f"--port={port}", "--telemetry-host=127.0.0.1", f"--telemetry-port={other}",
        f"--kubeconfig={kubeconfig}", "--custom-resource-state-only", f"--custom-resource-state-config-file={config}",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}/metrics"
    finally:
        process.terminate()
        process.wait()


def scrape(url: str) -> list[str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            text: str = answer.read().decode()
    except (urllib.error.URLError, ConnectionError):
        return []
    return [line for line in text.splitlines() if line.startswith("octjob_")]


@pytest.mark.timeout(900)
def test_the_series_of_a_sweep(control_plane: ClusterAccess, namespace: str, tmp_path: Path) -> None:
    account = {"name": ACCOUNT, "namespace": namespace}
    metrics = {
        "kubeStateMetrics": {"enabled": True, "serviceAccounts": [account]},
        "dashboard": {"enabled": True},
    }
    documents = rendered(f"metrics={json.dumps(metrics)}")
    rights = [
        named(documents, kind, "oct-octjob-kube-state-metrics")
        for kind in ("ClusterRole", "ClusterRoleBinding")
    ]
    control_plane.apply(*rights)
    config = tmp_path / "config.yaml"
    config.write_text(named(documents, "ConfigMap", "octjob-kube-state-metrics")["data"]["config.yaml"])
    sweep = Scripted(control_plane, namespace, tmp_path, ("a", "b", "c", "d", "e"))
    for name, code, condition in (("d", SUCCEEDS, "Completed"), ("e", FAILS, "Failed")):
        jobset = sweep.start(name, code, max_restarts=0)
        control_plane.kubectl(
            "wait", f"--for=condition={condition}", f"jobset/{jobset}", "-n", namespace, "--timeout=180s"
        )
    for name in "abc":
        sweep.start(name)
    jobsets = [one["metadata"]["name"] for one in control_plane.list("jobsets", namespace)]
    expressions = [
        target["expr"].replace("$sweep", "demo")
        for panel in json.loads(named(documents, "ConfigMap", "octjob-dashboard")["data"]["octjob.json"])[
            "panels"
        ]
        for target in panel["targets"]
        if panel["title"] in ("Runs now", "Chips held")
    ]
    seen: list[str] = []

    def counted() -> bool:
        seen[:] = [line for line in scrape(url) if f'jobset_namespace="{namespace}"' in line]
        series = [re.sub(r"} (\S+)$", r"} \1+0x5", line) for line in seen]
        values = [list(one.values.values()) for one in evaluate(series, 60, expressions)] if seen else []
        return values == [[1], [2], [1], [1], [32]]

    with kube_state_metrics(config, control_plane.user_kubeconfig(ACCOUNT, namespace)) as url:
        control_plane.wait_until(counted, "one run waits, two go on, one has succeeded, one has failed", 180)
    of_run = 'run="a.linear-0000abcd",sweep="demo"'
    assert any(
        re.match(rf"octjob_run_info\{{.*checkpoint=\"a\".*config=\"linear\".*{of_run}", line) for line in seen
    )
    for name in (
        "created_timestamp_seconds",
        "restarts",
        "restarts_counted",
        "max_restarts",
        "hosts",
        "host_chips",
    ):
        assert sum(line.startswith(f"octjob_run_{name}{{") for line in seen) == len(jobsets), name
    for name in ("condition", "condition_timestamp_seconds", "active", "requeues"):
        assert any(line.startswith(f"octjob_workload_{name}{{") for line in seen), name
    control_plane.kubectl("delete", "clusterrole,clusterrolebinding", "oct-octjob-kube-state-metrics")

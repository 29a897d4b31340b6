"""`octjob status` on a real control plane: money by the price table there, and links where it is named as GKE's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from doubles.sweep_results import beat

from tests.cluster.access import ClusterAccess
from tests.cluster.scripted import Scripted
from tests.cluster.submission import octjob
from tests.cluster.tenancy import SUBMIT_ACCOUNT

TABLE = "currency: EUR\ndate: 2026-12-01\nchip_hours:\n  v4: {on_demand: 2}\n"
CONTEXT = "gke_my-project_us-central2_octjob"


def prices(namespace: str, text: str) -> dict[str, object]:
    metadata = {"name": "octjob-prices", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"prices.yaml": text}}


def test_used_so_far_and_links(control_plane: ClusterAccess, namespace: str, tmp_path: Path) -> None:
    sweep = Scripted(control_plane, namespace, tmp_path, ("a",))
    jobset = sweep.start("a")
    beat(sweep.store, sweep.entries["a"], "training", at=1_700_000_000.0 + 3600)
    kubeconfig = Path(shutil.copy(control_plane.kubeconfig, tmp_path / "gke.yaml"))
    current = control_plane.kubectl("config", "current-context", kubeconfig=kubeconfig).strip()
    control_plane.kubectl("config", "rename-context", current, CONTEXT, kubeconfig=kubeconfig)
    control_plane.apply(prices(namespace, TABLE))
    shown = octjob(control_plane, "status", "demo", "-n", namespace, kubeconfig=kubeconfig)
    assert shown.code == 0, shown.err
    used = f"at least 16.0 chip-hours of v4 on demand, 32.00 EUR (ConfigMap {namespace}/octjob-prices of 2026-12-01)"
    assert f"\nused so far: {used}\n" in shown.out
    page = f"/kubernetes/job/us-central2/octjob/{namespace}/{jobset}-w-0/details?project=my-project"
    assert f"console: https://console.cloud.google.com{page}\n" in shown.out
    document = json.loads(
        octjob(control_plane, "status", "demo", "-n", namespace, "-o", "json", kubeconfig=kubeconfig).out
    )
    assert [one["cost"] for one in document["used"]] == [32]
    assert document["links"]["runs"][sweep.entries["a"].run_id]["console"].endswith(page)

    control_plane.apply(prices(namespace, TABLE.replace("EUR", "euro")))
    damaged = octjob(control_plane, "status", "demo", "-n", namespace)
    assert damaged.code == 0
    assert f"warning: no prices: ConfigMap {namespace}/octjob-prices:1: currency" in damaged.err
    assert "used so far" not in damaged.out
    assert "https://" not in damaged.out


def test_without_a_right_to_the_table_there_is_no_money(
    control_plane: ClusterAccess, namespace: str, tmp_path: Path
) -> None:
    sweep = Scripted(control_plane, namespace, tmp_path, ("a",))
    sweep.start("a")
    control_plane.apply(prices(namespace, TABLE))
    rules = ["--verb=list", "--resource=jobsets.jobset.x-k8s.io,workloads.kueue.x-k8s.io,pods,events"]
    control_plane.kubectl("create", "role", "look", *rules, "-n", namespace)
    account = f"--serviceaccount={namespace}:{SUBMIT_ACCOUNT}"
    control_plane.kubectl("create", "rolebinding", "look", "--role=look", account, "-n", namespace)
    kubeconfig = control_plane.user_kubeconfig(SUBMIT_ACCOUNT, namespace)
    shown = octjob(control_plane, "status", "demo", "-n", namespace, kubeconfig=kubeconfig)
    assert (shown.code, shown.err, "used so far" in shown.out) == (0, "", False)

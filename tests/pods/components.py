"""The command lines and the configuration of what runs pods: containerd, kubelet, CoreDNS."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.build import tool
from tests.cluster.certs import LOOPBACK
from tests.cluster.components import Layout
from tests.cluster.nodes import (
    CHIPS_PER_NODE,
    NODES_PER_POOL,
    POOL_LABEL,
    REAL_NODE,
    TPU_LABELS,
    TPU_TAINT,
    pool_name,
)
from tests.cluster.processes import Component, Health
from tests.pods.enclosure import ADDRESS, BRIDGE, SUBNET
from tests.pods.images import PAUSE

# A whole v4-32 slice on one node.
CHIPS = NODES_PER_POOL * CHIPS_PER_NODE
# All of them in the namespaces' own /run and network; nobody else is there.
SOCKET = Path("/run/octjob/containerd.sock")
KUBELET_PORT, KUBELET_HEALTH, CONTAINERD_METRICS, DNS_HEALTH = 10250, 10248, 1338, 8181
PLUGINS = Path("/usr/lib/cni")


def containerd(layout: Layout) -> Component:
    """containerd 2, which a kubelet of today needs, with everything below the control plane's folder and /run."""
    folder = layout.data / "containerd"
    networks = folder / "networks"
    networks.mkdir(parents=True)
    (networks / "10-octjob.conflist").write_text(json.dumps(_network()))
    config = folder / "config.toml"
    config.write_text(
        _CONTAINERD.format(
            root=folder / "root",
            socket=SOCKET,
            networks=networks,
            pause=PAUSE,
            plugins=PLUGINS,
            metrics=f"{LOOPBACK}:{CONTAINERD_METRICS}",
        )
    )
    program = tool("containerd")
    # It looks for its shim there, and the shim for runc.
    env = {**layout.env, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    return Component("containerd", [str(program), "--config", str(config)], Health(CONTAINERD_METRICS), env)


_CONTAINERD = """\
version = 3
root = "{root}"
state = "/run/octjob/state"

[grpc]
address = "{socket}"

[metrics]
address = "{metrics}"

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{pause}"

[plugins.'io.containerd.cri.v1.runtime']
# Without it every pod fails where the machine does not allow a lower score: "can't get final child's PID from pipe".
restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["{plugins}"]
conf_dir = "{networks}"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.internal.v1.opt']
path = "{root}/opt"
"""


def _network() -> dict[str, Any]:
    addresses = {"type": "host-local", "ranges": [[{"subnet": SUBNET, "gateway": ADDRESS}]]}
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "ipam": addresses}
    return {"cniVersion": "1.0.0", "name": "octjob", "plugins": [bridge]}


def kubelet(layout: Layout) -> Component:
    """A node with the chips' labels and taint; its chips are told to the API server by whoever starts it."""
    folder = layout.data / "kubelet"
    folder.mkdir()
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(_kubelet_config(layout)))
    labels = {
        POOL_LABEL: pool_name(0),
        **TPU_LABELS,
        "cloud.google.com/gke-accelerator-count": str(CHIPS_PER_NODE),
    }
    argv = [
        str(tool("kubelet")),
        f"--config={config}",
        f"--kubeconfig={layout.kubeconfig('kubelet')}",
        f"--root-dir={folder / 'root'}",
        f"--cert-dir={folder / 'pki'}",
        f"--hostname-override={REAL_NODE}",
        # Loopback is refused.
        f"--node-ip={ADDRESS}",
        f"--node-labels={','.join(f'{key}={value}' for key, value in labels.items())}",
    ]
    health = Health(KUBELET_HEALTH, "/healthz", tls=False)
    return Component("kubelet", argv, health, {**layout.env, "PATH": os.environ["PATH"]})


def _kubelet_config(layout: Layout) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "port": KUBELET_PORT,
        "healthzBindAddress": LOOPBACK,
        "healthzPort": KUBELET_HEALTH,
        "authentication": {"webhook": {"enabled": False}, "x509": {"clientCAFile": layout.pem("ca.crt")}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "podLogsDir": str(layout.data / "kubelet" / "logs"),
        "registerWithTaints": [TPU_TAINT],
        "clusterDNS": [ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "oomScoreAdj": 0,
        # The disk of a workstation may be fuller than a node's would be, and the image must stay.
        "evictionHard": {"memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
    }


def coredns(layout: Layout) -> Component:
    """The names of JobSet's headless Services, to pods only."""
    config = layout.data / "Corefile"
    config.write_text(
        _COREFILE.format(
            address=ADDRESS, kubeconfig=layout.kubeconfig("admin"), health=f"{LOOPBACK}:{DNS_HEALTH}"
        )
    )
    argv = [str(tool("coredns")), "-conf", str(config)]
    return Component("coredns", argv, Health(DNS_HEALTH, "/ready", tls=False), layout.env)


_COREFILE = """\
.:53 {{
    bind {address}
    errors
    ready {health}
    kubernetes cluster.local {{
        kubeconfig {kubeconfig}
        pods insecure
    }}
}}
"""

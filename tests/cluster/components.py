"""The command line of each component, everything on loopback."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from .build import MODULES, module_dir, tool
from .certs import LOOPBACK
from .nodes import KWOK_SELECTOR
from .processes import Component, Health
from .tokens import ISSUER

SERVICES = "10.96.0.0/16"
PORTS = (
    "etcd", "etcd_peer", "apiserver", "controller_manager", "scheduler", "jobset_webhook", "jobset_health",
    "kueue_webhook", "kueue_health", "kwok", "kubelet",
)  # fmt: skip
# Below these a thousand runs wait for the clients' own throttles, which a real control plane sets higher too.
_QPS = ("--kube-api-qps=500", "--kube-api-burst=1000")


@dataclass(frozen=True)
class Layout:
    """Where one control plane keeps its files, and its ports by the names of `PORTS`."""

    data: Path
    ports: dict[str, int]

    @property
    def pki(self) -> Path:
        return self.data / "pki"

    def pem(self, name: str) -> str:
        return str(self.pki / name)

    def kubeconfig(self, user: str) -> Path:
        return self.data / "kubeconfigs" / f"{user}.yaml"

    @property
    def server(self) -> str:
        return f"https://{LOOPBACK}:{self.ports['apiserver']}"

    @property
    def env(self) -> dict[str, str]:
        """No proxy and no credentials of the person who starts it."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.data)}


def etcd(layout: Layout) -> Component:
    port, peer = layout.ports["etcd"], layout.ports["etcd_peer"]
    client, peers = f"https://{LOOPBACK}:{port}", f"https://{LOOPBACK}:{peer}"
    argv = [
        str(tool("etcd")),
        f"--data-dir={layout.data / 'etcd'}",
        "--name=octjob",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=octjob={peers}",
        "--client-cert-auth",
        f"--cert-file={layout.pem('etcd.crt')}",
        f"--key-file={layout.pem('etcd.key')}",
        f"--trusted-ca-file={layout.pem('ca.crt')}",
        "--peer-client-cert-auth",
        f"--peer-cert-file={layout.pem('etcd.crt')}",
        f"--peer-key-file={layout.pem('etcd.key')}",
        f"--peer-trusted-ca-file={layout.pem('ca.crt')}",
        # The data is thrown away with the folder; waiting for the disk would only slow the tests.
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]
    health = Health(port, "/health", cert=layout.pem("etcd.crt"), key=layout.pem("etcd.key"))
    return Component("etcd", argv, health, layout.env)


def apiserver(layout: Layout) -> Component:
    port = layout.ports["apiserver"]
    argv = [
        str(tool("kube-apiserver")),
        f"--bind-address={LOOPBACK}",
        f"--advertise-address={LOOPBACK}",
        f"--secure-port={port}",
        f"--etcd-servers=https://{LOOPBACK}:{layout.ports['etcd']}",
        f"--etcd-cafile={layout.pem('ca.crt')}",
        f"--etcd-certfile={layout.pem('etcd.crt')}",
        f"--etcd-keyfile={layout.pem('etcd.key')}",
        f"--tls-cert-file={layout.pem('apiserver.crt')}",
        f"--tls-private-key-file={layout.pem('apiserver.key')}",
        f"--client-ca-file={layout.pem('ca.crt')}",
        # Nothing is aggregated here; without it controller manager and scheduler log an error every few seconds.
        f"--requestheader-client-ca-file={layout.pem('ca.crt')}",
        "--requestheader-allowed-names=front-proxy-client",
        f"--service-account-key-file={layout.pem('service-accounts.key')}",
        f"--service-account-signing-key-file={layout.pem('service-accounts.key')}",
        f"--service-account-issuer={ISSUER}",
        f"--service-cluster-ip-range={SERVICES}",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        # It would write its own address into the Service `kubernetes`, and loopback is refused there.
        "--endpoint-reconciler-type=none",
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-client-certificate={layout.pem('kubelet-client.crt')}",
        f"--kubelet-client-key={layout.pem('kubelet-client.key')}",
    ]
    return Component("apiserver", argv, Health(port, "/readyz"), layout.env, grace_s=3)


def controller_manager(layout: Layout) -> Component:
    port = layout.ports["controller_manager"]
    argv = [
        str(tool("kube-controller-manager")),
        *_kube_client(layout, "controller-manager", port),
        *_QPS,
        "--use-service-account-credentials",
        f"--root-ca-file={layout.pem('ca.crt')}",
        f"--service-account-private-key-file={layout.pem('service-accounts.key')}",
        f"--cluster-signing-cert-file={layout.pem('ca.crt')}",
        f"--cluster-signing-key-file={layout.pem('ca.key')}",
    ]
    return Component("controller-manager", argv, Health(port, "/healthz"), layout.env, grace_s=3)


def scheduler(layout: Layout) -> Component:
    port = layout.ports["scheduler"]
    argv = [str(tool("kube-scheduler")), *_kube_client(layout, "scheduler", port), *_QPS]
    return Component("scheduler", argv, Health(port, "/healthz"), layout.env, grace_s=3)


def _kube_client(layout: Layout, user: str, port: int) -> list[str]:
    kubeconfig = layout.kubeconfig(user)
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={port}",
        f"--tls-cert-file={layout.pem('apiserver.crt')}",
        f"--tls-private-key-file={layout.pem('apiserver.key')}",
        "--leader-elect=false",
    ]


def jobset(layout: Layout, config: Path) -> Component:
    argv = [str(tool("jobset")), f"--kubeconfig={layout.kubeconfig('jobset')}", f"--config={config}"]
    health = Health(layout.ports["jobset_health"], "/readyz", tls=False)
    return Component("jobset", argv, health, layout.env, grace_s=3)


def kueue(layout: Layout, config: Path) -> Component:
    argv = [
        str(tool("kueue")),
        f"--kubeconfig={layout.kubeconfig('kueue')}",
        f"--config={config}",
        # Its aggregated API would have to be reached through a Service, which has no address here.
        "--feature-gates=VisibilityOnDemand=false",
        "--zap-log-level=2",
    ]
    health = Health(layout.ports["kueue_health"], "/readyz", tls=False)
    return Component("kueue", argv, health, layout.env, grace_s=3)


def kwok(layout: Layout, stages: Path) -> Component:
    port = layout.ports["kwok"]
    argv = [
        str(tool("kwok")),
        f"--kubeconfig={layout.kubeconfig('admin')}",
        f"--config={stages}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={KWOK_SELECTOR}",
        # What `kubectl logs` asks: the stand-in, not kwok.
        f"--node-ip={LOOPBACK}",
        # Without a Hostname kwok clears all addresses of a node that comes back.
        f"--node-name={LOOPBACK}",
        f"--node-port={layout.ports['kubelet']}",
        f"--server-address={LOOPBACK}:{port}",
        # Its default is not to renew any lease: the nodes would be NotReady a minute later.
        "--node-lease-duration-seconds=40",
    ]
    return Component("kwok", argv, Health(port, "/healthz", tls=False), layout.env, grace_s=3)


def kwok_stages(pods: bool) -> str:
    """kwok's own stages: nodes become ready and stay so; with `pods`, pods start, succeed and go at once."""
    folder = module_dir("sigs.k8s.io/kwok") / "kustomize" / "stage"
    files = ["node/fast/node-initialize.yaml", "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml"]
    if pods:
        files += [f"pod/fast/pod-{step}.yaml" for step in ("ready", "complete", "delete")]
    return "\n---\n".join((folder / file).read_text() for file in files)


def standin(layout: Layout) -> Component:
    port = layout.ports["kubelet"]
    argv = [sys.executable, "-m", "tests.cluster.standin", "--kubeconfig", str(layout.kubeconfig("admin"))]
    argv += ["--data", str(layout.data / "pods"), "--port", str(port)]
    env = {**os.environ, "PYTHONPATH": str(MODULES.parents[2])}
    return Component("standin", argv, Health(port), env, grace_s=15)

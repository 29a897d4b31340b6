"""A control plane of one's own: etcd, Kubernetes, JobSet, Kueue and fake TPU nodes, on loopback."""

from __future__ import annotations

import base64
import json
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import yaml

from . import autoscaler, components, controllers, kueue_certs
from .access import SHORTEST_TOKEN_S, ClusterAccess, CommandError
from .build import tool
from .certs import Authority, write_signing_key
from .components import PORTS, Layout
from .controllers import JOBSET, KUEUE, Controller
from .kubeconfig import by_certificate, write_kubeconfig
from .nodes import REAL_NODE
from .processes import Component, Supervisor, free_ports
from .tenancy import SLICES, make_nodes, make_queues
from .tokens import sign_token

RunPods = Literal["standin", "kwok", "none", "kubelet"]
STANDIN = Path(__file__).with_name("standin.py")
_STATE = "controlplane.json"
_SERVICE_ACCOUNTS = ("system:serviceaccounts", "system:authenticated")


@dataclass(frozen=True)
class Options:
    """run_pods: who plays the kubelet. `standin` runs the pods' commands here; `kwok` only says that they
    started and succeeded; `none` leaves them bound to a node; `kubelet` is a real one, see tests/pods.
    pools: v4-32 slices of fake nodes, and of quota.
    """

    run_pods: RunPods = "standin"
    pools: int = SLICES


class ControlPlane(ClusterAccess):
    """One control plane in one folder; it runs on when this object is gone, `attach` finds it again."""

    def __init__(self, data: Path, options: Options, ports: dict[str, int]) -> None:
        self.layout = Layout(data.absolute(), ports)
        super().__init__(self.layout.kubeconfig("admin"), self.layout.data)
        self.options = options
        self.supervisor = Supervisor(self.layout.data / "run")

    @classmethod
    def create(cls, data: Path, options: Options = Options(), base_port: int | None = None) -> Self:
        """A new one in the empty or missing folder `data`; not started yet.

        base_port: the first of a row of ports; default: any free ones.
        """
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        ports = dict(zip(PORTS, free_ports(len(PORTS), base_port), strict=True))
        state = {"options": vars(options), "ports": ports}
        (data / _STATE).write_text(json.dumps(state, indent=1))
        return cls(data, options, ports)

    @classmethod
    def attach(cls, data: Path) -> Self | None:
        """The one that was created in `data`, if any."""
        path = data / _STATE
        if not path.exists():
            return None
        state = json.loads(path.read_text())
        return cls(data, Options(**state["options"]), state["ports"])

    def program(self, name: str) -> Path:
        return tool(name)

    def start(self) -> None:
        """Start everything and return when runs can be submitted (about 20 s once the programs are built).

        Raises:
            BuildError, ComponentError, KueueCertsError, CommandError: it cannot be had; nothing is cleaned up.
        """
        kueue_certs.claim(self.data, self._write_identities().identity)
        self._start_server()
        self.supervisor.start(components.controller_manager(self.layout))
        self.supervisor.start(components.scheduler(self.layout))
        self._start_controllers()
        self.start_nodes()
        for name in ("controller-manager", "scheduler"):
            self.supervisor.wait_ready(name)
        make_queues(self, self.options.pools)

    def start_without_kueue(self) -> None:
        """Start only an API server that knows JobSets and no Kueue; nothing carries them out."""
        self._write_identities()
        self._start_server()
        jobset = self._render(JOBSET, {}, self.layout.ports["jobset_webhook"])
        self._serve(*(one for one in jobset.before if one["kind"] == "CustomResourceDefinition"))

    def stop(self) -> None:
        """End every process, newest first, and remove every file. Harmless when it is partly or not there."""
        gentle = ("standin",)
        for name in reversed(self.supervisor.names()):
            # The stand-in has processes of its own to end; the others' data is thrown away anyhow.
            self.supervisor.stop(name, signal.SIGTERM if name in gentle else signal.SIGKILL)
        kueue_certs.release(self.data)
        shutil.rmtree(self.data, ignore_errors=True)

    def status(self) -> dict[str, bool]:
        """Every component that was started, and whether it still runs."""
        return {name: self.supervisor.running(name) for name in self.supervisor.names()}

    def stop_component(self, name: str, sig: signal.Signals = signal.SIGTERM) -> None:
        """`name`: apiserver, controller-manager, scheduler, jobset, kueue, kwok, standin or etcd."""
        self.supervisor.stop(name, sig)

    def start_component(self, name: str) -> None:
        """Start a stopped component as it was, and wait until it is ready."""
        self.supervisor.restart(name)
        self.supervisor.wait_ready(name)

    def stop_jobset(self) -> None:
        """JobSets are then refused too: the webhook is the same process."""
        self.stop_component("jobset")

    def start_jobset(self) -> None:
        self.start_component("jobset")

    def restart_apiserver(self) -> None:
        self.stop_component("apiserver")
        self.start_component("apiserver")

    def token(self, service_account: str, namespace: str, seconds: int) -> str:
        """As in `ClusterAccess`, but for any time, also one that is over."""
        if seconds >= SHORTEST_TOKEN_S:
            return super().token(service_account, namespace, seconds)
        account = self.get("serviceaccount", service_account, namespace)
        if account is None:
            raise LookupError(f"no ServiceAccount {service_account} in namespace {namespace}")
        key = self.layout.pki / "service-accounts.key"
        return sign_token(key, namespace, service_account, account["metadata"]["uid"], seconds)

    def _start_server(self) -> None:
        self._start(components.etcd(self.layout))
        self._start(components.apiserver(self.layout))

    def _serve(self, *documents: dict[str, Any]) -> None:
        """Apply documents with CRDs, and return once all CRDs are served."""
        self.apply(*documents)

        def established() -> bool:
            try:
                self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=5s")
            except CommandError:
                # Also where one has no conditions at all yet, which kubectl does not wait for.
                return False
            return True

        self.wait_until(established, "every CRD is established", 120)

    def _start(self, component: Component) -> None:
        self.supervisor.start(component)
        self.supervisor.wait_ready(component.name)

    def _write_identities(self) -> Authority:
        authority = Authority(self.layout.pki)
        write_signing_key(self.layout.pki / "service-accounts.key")
        names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
        authority.sign("apiserver", "kube-apiserver", names=names)
        authority.sign("etcd", "etcd")
        authority.sign("webhook/tls", "webhook")
        authority.sign("kubelet-client", "kube-apiserver-kubelet-client", ("system:masters",))
        users = {
            "admin": ("kubernetes-admin", ("system:masters",)),
            "controller-manager": ("system:kube-controller-manager", ()),
            "scheduler": ("system:kube-scheduler", ()),
            "kubelet": (f"system:node:{REAL_NODE}", ("system:nodes",)),
            # As whom they would run in the cluster: so the rights in their charts are the ones they have.
            "jobset": (JOBSET.user, _SERVICE_ACCOUNTS),
            "kueue": (KUEUE.user, _SERVICE_ACCOUNTS),
        }
        ca = authority.identity.cert.read_bytes()
        for file, (user, groups) in users.items():
            identity = authority.sign(f"users/{file}", user, groups)
            write_kubeconfig(self.layout.kubeconfig(file), self.layout.server, ca, by_certificate(identity))
        return authority

    def _start_controllers(self) -> None:
        certs, ports = self.layout.pki / "webhook", self.layout.ports
        jobset_config = controllers.jobset_config(ports["jobset_webhook"], ports["jobset_health"], certs)
        kueue_config = controllers.kueue_config(ports["kueue_webhook"], ports["kueue_health"], certs)
        kueue_values = {"managerConfig": {"controllerManagerConfigYaml": yaml.safe_dump(kueue_config)}}
        jobset = self._render(JOBSET, {}, ports["jobset_webhook"])
        kueue = self._render(KUEUE, kueue_values, ports["kueue_webhook"])
        self._serve(*jobset.before, *kueue.before, autoscaler.CRD)
        self.supervisor.start(components.jobset(self.layout, self._write("jobset.yaml", jobset_config)))
        self.supervisor.start(components.kueue(self.layout, self._write("kueue.yaml", kueue_config)))
        for name in ("jobset", "kueue"):
            self.supervisor.wait_ready(name)
        self.apply(*jobset.webhooks, *kueue.webhooks)

    def _render(self, controller: Controller, values: dict[str, Any], port: int) -> controllers.Manifests:
        ca = base64.b64encode((self.layout.pki / "ca.crt").read_bytes()).decode()
        return controllers.render(controller, values, port, ca, self.data)

    def start_nodes(self) -> None:
        """Start the nodes, and what plays their kubelets."""
        stages = self.data / "stages.yaml"
        stages.write_text(components.kwok_stages(pods=self.options.run_pods == "kwok"))
        self._start(components.kwok(self.layout, stages))
        if self.options.run_pods == "standin" and STANDIN.exists():
            self._start(components.standin(self.layout))
        make_nodes(self, self.options.pools)

    def _write(self, file: str, config: dict[str, Any]) -> Path:
        path = self.data / file
        path.write_text(yaml.safe_dump(config))
        return path

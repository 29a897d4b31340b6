"""`python -m tests.cluster.standin`: run the pods of the fake nodes, until SIGTERM.

Every pod's command runs as a process of this machine with the pod's environment; `octjob` is this one, forked. What
the process says, how it ends and its termination message reach the API server as from a kubelet; images, users and
read-only file systems do not exist here, and of pod networks only that a JobSet's pods meet at the first.
"""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from pathlib import Path

from tests.cluster.certs import LOOPBACK, Authority
from tests.cluster.kubelet.api import Api
from tests.cluster.kubelet.kubelet import Kubelet
from tests.cluster.kubelet.logs import LogServer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.standin", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="the pods' directories")
    parser.add_argument("--port", type=int, required=True, help="of the kubelets' endpoint, TLS")
    parser.add_argument(
        "--host", default=LOOPBACK, help="where the API server reaches it; default: %(default)s"
    )
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # One connection a pod is more than the client pools; that is no matter.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    data = chosen.data.absolute()
    identity = Authority(data / "pki").sign("kubelet", "kubelet")
    api = Api(chosen.kubeconfig, stopping)
    kubelet = Kubelet(api, data)
    server = LogServer(kubelet, (chosen.host, chosen.port), identity)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kubelet.start()
    while not stopping.wait(1.0):
        pass
    kubelet.stop()


if __name__ == "__main__":
    main()

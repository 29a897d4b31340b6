"""A real training run on the cluster that a test can strike at a known moment.

The test stops the leader's process (SIGSTOP) as soon as it trains, does its harm, and lets it go on; so a run is hit
in the middle of its work however fast the machine is.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doubles.tiny_sweep import prepared, sweep_file, uri_of

from octjob.records.layout import PREDICTIONS, read_progress, read_result, run_key
from octjob.records.schema import Progress, Result
from octjob.records.state import FAILED
from octjob.spec.expand import plan_sweep
from octjob.storage.base import ObjectStore
from octjob.storage.open import open_store
from octjob.targets.kubernetes.observation.pods import worker
from tests.cluster.access import ClusterAccess, Document, condition_status
from tests.cluster.controlplane import ControlPlane
from tests.cluster.submission import IMAGE, Ended, octjob
from tests.cluster.tenancy import QUEUE, RUN_ACCOUNT

FINETUNE: dict[str, Any] = {
    "train.epochs": 8,
    "data.batch_size": 4,
    "data.augment": {"flip": True},
    "model": {"freeze_encoder": False, "head": {"hidden": 8, "dropout": 0.3}},
}
NUM_HOSTS = 4
POLL_S = 0.05
SIGNAL_S = 1.0
# A pod's Python takes long to start where other tests run beside.
PATIENCE_S = 180.0
COUNTED, ALL = "restartsCountTowardsMax", "restarts"


@dataclass(frozen=True)
class Undisturbed:
    """The same run, carried out on this machine and left alone. folder: of its data and checkpoint."""

    folder: Path
    store: ObjectStore
    run_id: str

    @property
    def predictions(self) -> bytes:
        return self.store.get(run_key(self.run_id, PREDICTIONS))


def left_alone(folder: Path) -> Undisturbed:
    """Make the data and carry the run out, on as many hosts as a v4-32 has."""
    store, (run,) = prepared(folder, {"finetune": FINETUNE}, seeds=[1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    # As the stand-in runs it: the number of threads changes the last bits.
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OCTJOB_DEVICE": "cpu",
        "OCTJOB_NUM_HOSTS": str(NUM_HOSTS),
        "OCTJOB_COORDINATOR": coordinator,
    }
    command = [sys.executable, "-m", "octjob", "train", "--run", uri_of(run)]
    hosts = [
        subprocess.Popen(command, env={**env, "JOB_COMPLETION_INDEX": str(i)}, stdout=subprocess.DEVNULL)
        for i in range(NUM_HOSTS)
    ]
    assert [host.wait() for host in hosts] == [0] * NUM_HOSTS
    return Undisturbed(folder, store, run.run_id)


class Struck:
    """The run of the sweep `name` in a namespace, with its own output."""

    def __init__(
        self,
        plane: ControlPlane,
        namespace: str,
        folder: Path,
        undisturbed: Undisturbed,
        name: str = "tiny",
        **compute: Any,
    ) -> None:
        self.plane, self.namespace, self.undisturbed, self.name = plane, namespace, undisturbed, name
        folder = folder / name
        folder.mkdir()
        keys = {"target": "kubernetes", "accelerator": "v4-32", "image": IMAGE, "queue": QUEUE}
        self.path = sweep_file(
            folder,
            {"finetune": FINETUNE},
            name=name,
            checkpoints={"a": {"uri": f"{undisturbed.folder}/a.pt", "num_heads": 2}},
            data={"source": f"{undisturbed.folder}/bucket"},
            seeds=[1],
            compute={**keys, "service_account": RUN_ACCOUNT, **compute},
        )
        plan = plan_sweep(self.path)
        (run,) = plan.runs
        self.run_id = run.run_id
        self.store = open_store(plan.output)

    def octjob(self, *arguments: str) -> Ended:
        """`octjob ARGUMENTS -n NAMESPACE`; it must succeed."""
        ended = octjob(self.plane, *arguments, "-n", self.namespace)
        assert ended.code == 0, f"octjob {' '.join(arguments)}: {ended.err}"
        return ended

    def submit(self) -> None:
        assert ": 1 created" in self.octjob("submit", "-f", str(self.path)).out

    @property
    def status(self) -> dict[str, Any]:
        (one,) = json.loads(self.octjob("status", self.name, "-o", "json").out)["runs"]
        found: dict[str, Any] = one
        return found

    def wait_for_state(self, state: str) -> dict[str, Any]:
        """The run's status as soon as it is in this state; on the way it must not be called lost."""

        def there() -> dict[str, Any] | None:
            status = self.status
            assert status["state"] not in FAILED, status
            return status if status["state"] == state else None

        found = self.plane.wait_until(there, f"the run is {state}", PATIENCE_S)
        assert found is not None
        return found

    @property
    def jobset(self) -> Document:
        (one,) = self.plane.list("jobsets", self.namespace, f"octjob.dev/sweep={self.name}")
        return one

    def restarts(self, which: str = ALL) -> int:
        """Of the JobSet: all, or those that count."""
        found: int = self.jobset.get("status", {}).get(which, 0)
        return found

    def pod(self, index: int) -> Document:
        """That worker's pod of the current attempt."""
        pods = self.plane.list("pods", self.namespace, f"octjob.dev/sweep={self.name}")
        (one,) = [pod for pod in pods if worker(pod) == index and "deletionTimestamp" not in pod["metadata"]]
        return one

    def stop_in_training(self, attempt: int = 1) -> int:
        """Stop the leader in its `attempt` as soon as it trains; returns its process id."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            progress = read_progress(self.store, self.run_id)
            if progress is not None and progress.attempt == attempt and progress.stage == "training":
                leader = self.leader(progress)
                os.kill(leader, signal.SIGSTOP)
                return leader
            assert progress is None or progress.attempt <= attempt, progress
            assert time.monotonic() < deadline, f"not in training: {progress}"
            time.sleep(POLL_S)

    def leader(self, progress: Progress) -> int:
        """The process id, on this machine, of the leader that says of itself how far it is."""
        return progress.pid

    def go_on_to_end(self, leader: int, index: int = 0) -> None:
        """Let a stopped leader take part in the answer to the SIGTERM that worker `index` gets."""

        def told() -> bool:
            pods = self.plane.list("pods", self.namespace, f"octjob.dev/sweep={self.name}")
            return any(worker(pod) == index and "deletionTimestamp" in pod["metadata"] for pod in pods)

        self.plane.wait_until(told, f"the pod of worker {index} is being deleted", PATIENCE_S)
        # The kubelet hears of it when we do.
        time.sleep(SIGNAL_S)
        os.kill(leader, signal.SIGCONT)

    def process(self, index: int) -> int:
        """The process id of a worker."""
        uid = self.pod(index)["metadata"]["uid"]
        return int((self.plane.data / "pods" / uid / "pid").read_text())

    def finished(self, *, attempts: int, counted: int) -> Result:
        """The end as it must be: done once, in so many attempts, with the result of the undisturbed run."""
        self.plane.wait_until(
            lambda: condition_status(self.jobset, "Completed") == "True", "JobSet Completed", PATIENCE_S
        )
        assert self.status["state"] == "Succeeded"
        assert self.restarts(COUNTED) == counted
        result = read_result(self.store, self.run_id)
        assert result is not None
        assert result.attempts == attempts
        self.compare()
        results = [info.key for info in self.store.list("runs/") if info.key.endswith("/result.json")]
        assert results == [run_key(self.run_id, "result.json")]
        return result

    def compare(self) -> None:
        """The predictions are those of the undisturbed run."""
        assert self.store.get(run_key(self.run_id, PREDICTIONS)) == self.undisturbed.predictions


def own_queue(cluster: ClusterAccess, namespace: str) -> str:
    """A LocalQueue with one slice of quota, which higher priorities may take from lower ones; its name.

    `remove_queue` when its runs are gone.
    """
    queue = cluster.get("clusterqueue", QUEUE)
    assert queue is not None
    spec = queue["spec"]
    for group in spec["resourceGroups"]:
        for flavor in group["flavors"]:
            flavor["resources"][0]["nominalQuota"] = "16"
    version = queue["apiVersion"]
    cluster.apply(
        {
            "apiVersion": version,
            "kind": "ClusterQueue",
            "metadata": {"name": namespace},
            "spec": spec,
        },
        {
            "apiVersion": version,
            "kind": "LocalQueue",
            "metadata": {"name": "one-slice", "namespace": namespace},
            "spec": {"clusterQueue": namespace},
        },
    )
    return "one-slice"


def remove_queue(cluster: ClusterAccess, namespace: str) -> None:
    """What `own_queue` made."""
    cluster.kubectl("-n", namespace, "delete", "localqueue", "one-slice", "--wait=false")
    cluster.kubectl("delete", "clusterqueue", namespace, "--wait=false")

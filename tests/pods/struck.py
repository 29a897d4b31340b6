"""A run in real pods that a test can strike at a known moment; see tests/cluster/struck.py."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from octjob.evaluate import Predictions
from octjob.records.predictions import read_predictions
from octjob.records.schema import Progress
from octjob.spec.expand import plan_sweep
from octjob.storage.open import open_store
from tests.cluster.access import CommandError
from tests.cluster.struck import FINETUNE, Struck, Undisturbed
from tests.pods.clouds import Bucket
from tests.pods.cluster import PodPlane

# Between the image's libraries and this machine's.
ATOL = 2e-5


class StruckPods(Struck):
    """The run of the sweep `name` in a namespace; `undisturbed` is the same on this machine."""

    plane: PodPlane

    def __init__(
        self,
        plane: PodPlane,
        namespace: str,
        folder: Path,
        undisturbed: Undisturbed,
        clouds: Bucket,
        name: str,
    ) -> None:
        self.plane, self.namespace, self.undisturbed, self.name = plane, namespace, undisturbed, name
        self.path = clouds.sweep(folder, {"finetune": FINETUNE}, name)
        plan = plan_sweep(self.path)
        (run,) = plan.runs
        self.run_id, self.store = run.run_id, open_store(plan.output)

    def leader(self, progress: Progress) -> int:
        """The leader calls itself 1, as the first process of its container."""
        return self.process(0)

    def process(self, index: int) -> int:
        return self.plane.process(self._container_id(index))

    def exhaust_memory(self, index: int) -> None:
        """Have the kernel kill a worker for its memory: there is no more for its container, yet something asks."""
        self.plane.leave_memory(self._container_id(index), 16 << 20)
        name = self.pod(index)["metadata"]["name"]
        # The largest process of the container is chosen, and that is the trainer.
        asks = ("python", "-c", "bytearray(256 << 20)")
        with suppress(CommandError):
            self.plane.kubectl("exec", name, "-n", self.namespace, "--", *asks)

    def _container_id(self, index: int) -> str:
        (status,) = self.pod(index)["status"]["containerStatuses"]
        return str(status["containerID"])

    @property
    def restarted_by(self) -> str:
        """The rule that JobSet names while it restarts the run; empty before, and when the run is done."""
        conditions = self.jobset.get("status", {}).get("conditions", [])
        found = [each["reason"] for each in conditions if each["type"] == "RestartingJobSet"]
        return "".join(found).removeprefix("FailurePolicy_")

    def compare(self) -> None:
        undisturbed = read_predictions(self.undisturbed.store, self.undisturbed.run_id)
        assert_same(read_predictions(self.store, self.run_id), undisturbed)


def assert_same(found: Predictions, expected: Predictions) -> None:
    """The same rows, the same classes, probabilities within rounding."""
    assert found.participant.tolist() == expected.participant.tolist()
    assert found.seed.tolist() == expected.seed.tolist()
    p_NK, q_NK = probabilities(found.logits_NK), probabilities(expected.logits_NK)
    np.testing.assert_allclose(p_NK, q_NK, rtol=0, atol=ATOL)
    assert p_NK.argmax(1).tolist() == q_NK.argmax(1).tolist()


def probabilities(logits_NK: np.ndarray) -> np.ndarray:
    e_NK = np.exp(logits_NK - logits_NK.max(1, keepdims=True))
    return np.asarray(e_NK / e_NK.sum(1, keepdims=True))

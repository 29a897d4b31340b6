"""A bucket that the pods reach: GCS's double at the bridge's address, with a small data set and a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from doubles.gcs import GcsServer
from doubles.tiny_sweep import fill_bucket, save_checkpoint, sweep_file

from octjob.storage.open import forget_stores, open_store
from tests.cluster.tenancy import QUEUE, RUN_ACCOUNT
from tests.pods.enclosure import ADDRESS
from tests.pods.needs import IMAGE

BUCKET = "gs://octjob-pods"


@dataclass(frozen=True)
class Bucket:
    """env: what leads to it; every pod has it, and so has this process."""

    env: dict[str, str]

    def sweep(self, folder: Path, configs: dict[str, dict[str, Any]], name: str, **compute: Any) -> Path:
        """A sweep file with these configs of the one checkpoint, for real pods unless `compute` is given."""
        # As each test of hosts on this machine has it: the number of threads changes the last bits.
        env = {**self.env, "OCTJOB_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
        pods = {
            "target": "kubernetes",
            "accelerator": "v4-32",
            "image": IMAGE,
            "image_pull_policy": "Never",
            "queue": QUEUE,
            "service_account": RUN_ACCOUNT,
        }
        return sweep_file(
            folder,
            configs,
            name=name,
            output=f"{BUCKET}/out",
            checkpoints={"a": {"uri": f"{BUCKET}/a.pt", "num_heads": 2}},
            data={"source": f"{BUCKET}/dataset"},
            seeds=[1],
            compute={"env": env, **(compute or pods)},
        )


@contextmanager
def bucket(folder: Path) -> Iterator[Bucket]:
    """The filled bucket. folder: for its files on the way there."""
    fill_bucket(folder / "dataset").write()
    save_checkpoint(folder / "a.pt")
    with GcsServer(ADDRESS) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.env.items():
            patch.setenv(name, value)
        forget_stores()
        server.create_bucket(BUCKET.removeprefix("gs://"))
        store = open_store(BUCKET)
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                store.put(str(path.relative_to(folder)), path.read_bytes())
        yield Bucket(server.env)
    forget_stores()

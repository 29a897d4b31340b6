"""Faults planted in a small sweep's inputs and configurations, and what `octjob doctor` names first.

    python -m benchmarks.doctor [--seeds 5] [--only NAME]

Nothing is told to the doctor: each fault is in the data set, the checkpoints or the sweep's file, the runs are
carried out, and the first failing gate is counted. Prints one row a fault, with how often each gate was named.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from doubles.aireadi_bucket import Bucket, speckle
from doubles.tiny_sweep import SITES, SIZE, save_checkpoint, submitted, sweep_file, uri_of
from doubles.vjepa3d import save_original_checkpoint

from octjob.doctor.examine import examine
from octjob.doctor.finding import Diagnosis
from octjob.run.job import run_job

LOGISTIC: dict[str, Any] = {"train.optimizer": "LBFGS"}
HEAD: dict[str, Any] = {"train.epochs": 6, "train.lr_head": 0.02}
# Of each class, in train and in val.
EVEN = {"train": (15, 15, 15, 15), "val": (6, 6, 6, 6)}
DEVICES = ("topcon_triton", "heidelberg_spectralis")


@dataclass
class Plant:
    """What a sweep is made of; a fault changes one thing in it.

    checkpoints: their seeds, beside an untrained one. counts: participants by split and class. gain: grey levels by
    which the rows of a class are brighter. twins: the last two participants of the last device have the same pixels.
    spoil: the data set's tables before they are written, `spoil_files` the folder after all files are there.
    """

    counts: dict[str, tuple[int, ...]] = field(default_factory=lambda: dict(EVEN))
    gain: int = 60
    configs: dict[str, dict[str, Any]] = field(default_factory=lambda: {"logistic": LOGISTIC, "head": HEAD})
    checkpoints: dict[str, int] = field(default_factory=lambda: {"a": 1})
    twins: bool = False
    spoil: Callable[[Bucket], None] | None = None
    spoil_files: Callable[[Path], None] | None = None


@dataclass(frozen=True)
class Fault:
    """gate: the one that must be named first; None for a set-up without a fault."""

    name: str
    gate: str | None
    plant: Callable[[], Plant]


def healthy() -> Plant:
    """A trained checkpoint and an untrained baseline, logistic regression and a head, even classes."""
    return Plant()


def _wrong_encoder() -> Plant:
    target = {"model.encoder": "target"}
    return Plant(configs={"logistic": LOGISTIC | target, "head": HEAD | target})


def _two_sites_lost() -> Plant:
    sites = {"data.sites": ["UW"]}
    return Plant(configs={"logistic": LOGISTIC | sites, "head": HEAD | sites})


def _truncated_listing() -> Plant:
    def cut(bucket: Bucket) -> None:
        listed = np.random.default_rng(0).permutation(len(bucket.volumes))[: 2 * len(bucket.volumes) // 3]
        bucket.volumes[:] = [bucket.volumes[number] for number in listed]

    tolerant = {"data.min_coverage": 0.1}
    return Plant(configs={"logistic": LOGISTIC | tolerant, "head": HEAD | tolerant}, spoil=cut)


def _same_volume_twice() -> Plant:
    return Plant(twins=True)


def _other_preprocessing() -> Plant:
    profile = {"data.profile": "seed_finetune"}
    return Plant(configs={"logistic": LOGISTIC | profile, "head": HEAD | profile})


def _dead_features() -> Plant:
    def kill(folder: Path) -> None:
        payload = torch.load(folder / "a.pt", weights_only=False)
        payload["model_state_dict"]["context_encoder.norm.weight"].zero_()
        torch.save(payload, folder / "a.pt")

    return Plant(spoil_files=kill)


def _learning_rate_zero() -> Plant:
    return Plant(configs={"logistic": LOGISTIC, "head": HEAD | {"train.lr_head": 1e-12}})


def _unweighted() -> Plant:
    counts = {"train": (120, 10, 10, 10), "val": (20, 20, 20, 20)}
    return Plant(counts=counts, gain=20, configs={"head": HEAD | {"train.lr_head": 0.005}})


def _two_names() -> Plant:
    return Plant(checkpoints={"a": 1, "b": 1})


def _idle_key() -> Plant:
    # No gradient here is as long as that.
    return Plant(configs={"logistic": LOGISTIC, "head": HEAD, "clipped": HEAD | {"train.grad_clip": 1.0e6}})


def _encoder_unmoved() -> Plant:
    finetune = {
        "model.freeze_encoder": False,
        "train.epochs": 3,
        "train.lr_head": 0.01,
        "train.lr_encoder": 1e-12,
    }
    return Plant(configs={"finetune": finetune})


FAULTS = (
    Fault("healthy", None, healthy),
    Fault("wrong encoder taken", "weights", _wrong_encoder),
    Fault("two of three sites left out", "coverage", _two_sites_lost),
    Fault("truncated listing", "coverage", _truncated_listing),
    Fault("one volume under two ids", "labels", _same_volume_twice),
    Fault("preprocessing mismatch", "preprocessing", _other_preprocessing),
    Fault("dead features", "features", _dead_features),
    Fault("learning rate zero", "training", _learning_rate_zero),
    Fault("unweighted 12 : 1", "prior", _unweighted),
    Fault("identical checkpoints", "weights", _two_names),
    Fault("a head key that changes nothing", "keys", _idle_key),
    Fault("fine-tuning that leaves its encoder", "training", _encoder_unmoved),
)


def examined(fault: Fault, folder: Path, seed: int) -> Diagnosis:
    """Plant the fault in `folder`, carry the sweep out, and ask the doctor. seed: of data and checkpoints."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    plant = fault.plant()
    bucket = _filled(folder / "bucket", plant, seed)
    if plant.spoil is not None:
        plant.spoil(bucket)
    bucket.write()
    for name, number in plant.checkpoints.items():
        save_checkpoint(folder / f"{name}.pt", seed=100 * seed + number)
    save_original_checkpoint(folder / "untrained.pt", seed=100 * seed, num_steps=0, **SIZE)
    if plant.spoil_files is not None:
        plant.spoil_files(folder)
    names = (*plant.checkpoints, "untrained")
    checkpoints = {name: {"uri": f"{folder}/{name}.pt", "num_heads": 2} for name in names}
    path = sweep_file(folder, plant.configs, checkpoints=checkpoints, baseline="untrained")
    store, plan = submitted(path)
    for run in plan.runs:
        run_job(uri_of(run), lambda progress: None)
    return examine(store, matrix=str(path))


def _filled(root: Path, plant: Plant, seed: int) -> Bucket:
    """Two devices, three sites; the upper rows of a class are brighter, and more of them in each next one."""
    bucket, pixels = Bucket(root), list[np.ndarray]()
    for split, count_K in plant.counts.items():
        for label, count in enumerate(count_K):
            for number in range(count):
                identity = str(1000 + len(bucket.people))
                bucket.person(identity, label=label, split=split, site=SITES[number % 3])
                x_DHW = speckle(seed=1000 * seed + len(bucket.people)).astype(np.int64) // 4
                x_DHW[:, : 2 * label + 2] += plant.gain
                x_DHW[:, :, : 5 * (number % 2)] += 80
                is_last = (split, label, number) == ("val", 3, plant.counts["val"][3] - 1)
                pixels.append(pixels[-2] if plant.twins and is_last else x_DHW.astype("u1"))
                bucket.volume(identity, device=DEVICES[number % 2], x_DHW=pixels[-1])
    return bucket


def table(named: dict[str, Counter[str]]) -> str:
    """A row a fault: how often each gate was named first."""
    wanted = {fault.name: fault.gate or "none" for fault in FAULTS}
    width = max(map(len, named))
    lines = [
        f"{name:{width}}  {wanted[name]:14}  {counts[wanted[name]]} of {counts.total()}  "
        + ", ".join(f"{gate} {count}" for gate, count in counts.most_common() if gate != wanted[name])
        for name, counts in named.items()
    ]
    return "\n".join(line.rstrip() for line in [f"{'planted':{width}}  {'gate':14}  named first", *lines])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="data sets of each fault (5)")
    parser.add_argument("--only", default="", help="faults whose names hold this")
    args = parser.parse_args()
    named: dict[str, Counter[str]] = {}
    for fault in FAULTS:
        if args.only not in fault.name:
            continue
        named[fault.name] = Counter()
        for seed in range(args.seeds):
            with tempfile.TemporaryDirectory() as folder:
                found = examined(fault, Path(folder) / "sweep", seed)
            named[fault.name][found.first_cause or "none"] += 1
            if found.cause is not None and found.first_cause != fault.gate:
                print(f"{fault.name}, seed {seed}: {found.cause.said}", file=sys.stderr)
    print(table(named))


if __name__ == "__main__":
    main()

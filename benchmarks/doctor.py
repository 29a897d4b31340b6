"""Faults planted in a small sweep's inputs and configurations, and what `octjob doctor` names first.

    python -m benchmarks.doctor [--seeds 5] [--only NAME]

Nothing is told to the doctor: each fault is in the data set, the checkpoints or the sweep's file, the runs are
carried out, and the first failing gate is counted. Prints one row a fault, with how often each gate was named, and
one a set-up without a fault, where none may be.

Encoders are pretrained for half a minute's worth of steps on volumes of nobody here, so that what is not planted is
well: they carry more than an untrained one's.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from doubles.aireadi_bucket import Bucket, speckle
from doubles.tiny_sweep import SITES, SIZE, submitted, sweep_file, uri_of
from doubles.vjepa3d import make_original_checkpoint, save_original_checkpoint

from octjob.data.preprocess import preprocess
from octjob.doctor.examine import examine
from octjob.doctor.finding import Diagnosis
from octjob.errors import OctjobError
from octjob.run.job import run_job

LOGISTIC: dict[str, Any] = {"train.optimizer": "LBFGS"}
HEAD: dict[str, Any] = {"train.epochs": 12, "train.lr_head": 0.02}
FINETUNE: dict[str, Any] = {
    "model.freeze_encoder": False,
    "train.epochs": 3,
    "train.lr_head": 0.01,
    "train.lr_encoder": 1e-4,
}
# Of each class, in train and in val.
EVEN = {"train": (15, 15, 15, 15), "val": (12, 12, 12, 12)}
SKEWED = {"train": (120, 10, 10, 10), "val": (20, 20, 20, 20)}
DEVICES = ("topcon_triton", "heidelberg_spectralis")
# Volumes that an encoder is pretrained on, and how often.
_NUM_PRETRAINING, _NUM_STEPS = 256, 150


@dataclass
class Plant:
    """What a sweep is made of; a fault changes one thing in it.

    checkpoints: their seeds, beside an untrained one. counts: participants by split and class. gain: grey levels by
    which the rows of a class are brighter. twins: the last two participants of val have the same pixels, or the last
    of val those of the first of train. mixed: volumes lie under the ids of other participants.
    spoil: the data set's tables before they are written, `spoil_files` the folder
    after all files are there. sweep: further keys of the sweep.
    """

    counts: dict[str, tuple[int, ...]] = field(default_factory=lambda: dict(EVEN))
    gain: int = 25
    configs: dict[str, dict[str, Any]] = field(default_factory=lambda: {"logistic": LOGISTIC, "head": HEAD})
    checkpoints: dict[str, int] = field(default_factory=lambda: {"a": 1})
    twins: Literal["no", "within val", "across"] = "no"
    mixed: bool = False
    spoil: Callable[[Bucket], None] | None = None
    spoil_files: Callable[[Path], None] | None = None
    sweep: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """gate: the one that must be named first; None for a set-up without a fault."""

    name: str
    gate: str | None
    plant: Callable[[], Plant]


def healthy() -> Plant:
    """A trained checkpoint and an untrained baseline, logistic regression and a head, even classes, one split."""
    return Plant()


def _folds() -> Plant:
    return Plant(sweep={"evaluate": {"protocol": "folds", "folds": 3, "repeats": 1}})


def _finetuned() -> Plant:
    return Plant(configs={"finetune": FINETUNE, "logistic": LOGISTIC})


def _attentive() -> Plant:
    return Plant(configs={"attentive": HEAD | {"model.pool_method": "attentive", "train.lr_head": 0.005}})


def _weighted() -> Plant:
    return Plant(counts=dict(SKEWED), configs={"weighted": HEAD | {"train.class_weights": "auto"}})


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


def _shifted_labels() -> Plant:
    """A table of one's own beside the data set's, its column of labels down by a row."""

    def shift(folder: Path) -> None:
        lines = (folder / "bucket/participants.tsv").read_text().splitlines()
        rows = [line.split("\t") for line in lines]
        place = rows[0].index("study_group")
        moved = [rows[-1][place], *(row[place] for row in rows[1:-1])]
        for row, label in zip(rows[1:], moved, strict=True):
            row[place] = label
        (folder / "bucket/labels.tsv").write_text("\n".join("\t".join(row) for row in rows) + "\n")

    own = {"paths.labels_tsv": "labels.tsv"}
    return Plant(configs={"logistic": LOGISTIC | own, "head": HEAD | own}, spoil_files=shift)


def _shifted_in_place() -> Plant:
    """The data set's own column of labels down by a row: no table is left that has them right."""

    def shift(bucket: Bucket) -> None:
        labels = [person["study_group"] for person in bucket.people]
        for person, label in zip(bucket.people, [labels[-1], *labels[:-1]], strict=True):
            person["study_group"] = label

    return Plant(spoil=shift)


def _in_two_splits() -> Plant:
    """A participant of train has a second row, in val."""

    def again(bucket: Bucket) -> None:
        one = next(person for person in bucket.people if person["recommended_split"] == "train")
        bucket.people.append({**one, "recommended_split": "val"})

    return Plant(spoil=again)


def _two_ids_across() -> Plant:
    return Plant(twins="across")


def _same_volume_twice() -> Plant:
    return Plant(twins="within val")


def _other_preprocessing() -> Plant:
    profile = {"data.profile": "seed_finetune"}
    return Plant(configs={"logistic": LOGISTIC | profile, "head": HEAD | profile})


def _dead_features() -> Plant:
    def kill(folder: Path) -> None:
        payload = torch.load(folder / "a.pt", weights_only=False)
        payload["model_state_dict"]["context_encoder.norm.weight"].zero_()
        torch.save(payload, folder / "a.pt")

    return Plant(spoil_files=kill)


def _mixed_up() -> Plant:
    """Files that were named after the wrong participants."""
    return Plant(mixed=True)


def _stopped_early() -> Plant:
    return Plant(configs={"head": HEAD | {"train.epochs": 1, "train.lr_head": 1e-4}})


def _learning_rate_zero() -> Plant:
    return Plant(configs={"logistic": LOGISTIC, "head": HEAD | {"train.lr_head": 1e-12}})


def _no_head_learns() -> Plant:
    return Plant(configs={"head": HEAD | {"train.lr_head": 1e-12}})


def _unweighted() -> Plant:
    """Features that leave doubt, and a fit that answers by how common a class was."""
    counts = {"train": SKEWED["train"], "val": (40, 40, 40, 40)}
    return Plant(counts=counts, gain=14, configs={"logistic": LOGISTIC | {"train.l2": 100.0}})


def _two_names() -> Plant:
    return Plant(checkpoints={"a": 1, "b": 1})


def _idle_key() -> Plant:
    # No gradient here is as long as that.
    return Plant(configs={"logistic": LOGISTIC, "head": HEAD, "clipped": HEAD | {"train.grad_clip": 1.0e6}})


def _encoder_unmoved() -> Plant:
    return Plant(configs={"finetune": FINETUNE | {"train.lr_encoder": 1e-12}})


FAULTS = (
    Fault("healthy: split", None, healthy),
    Fault("healthy: folds", None, _folds),
    Fault("healthy: fine-tuning", None, _finetuned),
    Fault("healthy: attentive head", None, _attentive),
    Fault("healthy: 12 : 1, weighted", None, _weighted),
    Fault("wrong encoder taken", "weights", _wrong_encoder),
    Fault("two of three sites left out", "coverage", _two_sites_lost),
    Fault("truncated listing", "coverage", _truncated_listing),
    Fault("labels shifted by one", "labels", _shifted_labels),
    Fault("labels shifted by one, in place", "labels", _shifted_in_place),
    Fault("a participant in two splits", "labels", _in_two_splits),
    Fault("one scan under two ids, across splits", "labels", _two_ids_across),
    Fault("one scan under two ids, within val", "labels", _same_volume_twice),
    Fault("preprocessing mismatch", "preprocessing", _other_preprocessing),
    Fault("dead features", "features", _dead_features),
    Fault("volumes mixed up among participants", "positive control", _mixed_up),
    Fault("a head that stopped early", "optimum", _stopped_early),
    Fault("learning rate zero", "training", _learning_rate_zero),
    Fault("learning rate zero, heads alone", "training", _no_head_learns),
    Fault("unweighted 12 : 1", "prior", _unweighted),
    Fault("identical checkpoints", "weights", _two_names),
    Fault("a head key that changes nothing", "keys", _idle_key),
    Fault("fine-tuning that leaves its encoder", "training", _encoder_unmoved),
)


def examined(fault: Fault, folder: Path, seed: int) -> Diagnosis:
    """Plant the fault in `folder`, carry the sweep out, and ask the doctor. seed: of data and checkpoints."""
    path = planted(fault.plant(), folder, seed)
    store, plan = submitted(path)
    for run in plan.runs:
        try:
            run_job(uri_of(run), lambda progress: None)
        except OctjobError:
            continue  # in its record, where the doctor finds it
    return examine(store, matrix=str(path))


def planted(plant: Plant, folder: Path, seed: int) -> Path:
    """Data set, checkpoints and sweep file; returns the latter."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    bucket = _filled(folder / "bucket", plant, seed)
    if plant.spoil is not None:
        plant.spoil(bucket)
    bucket.write()
    for name, number in plant.checkpoints.items():
        (folder / f"{name}.pt").write_bytes(_pretrained(plant.gain, 100 * seed + number))
    save_original_checkpoint(folder / "untrained.pt", seed=100 * seed, num_steps=0, **SIZE)
    if plant.spoil_files is not None:
        plant.spoil_files(folder)
    names = (*plant.checkpoints, "untrained")
    checkpoints = {name: {"uri": f"{folder}/{name}.pt", "num_heads": 2} for name in names}
    return sweep_file(folder, plant.configs, checkpoints=checkpoints, baseline="untrained", **plant.sweep)


def _filled(root: Path, plant: Plant, seed: int) -> Bucket:
    """Two devices, three sites; the upper rows of a class are brighter, and more of them in each next one. As in
    AI-READI, the order of the participants says nothing of them."""
    bucket, pixels = Bucket(root), list[np.ndarray]()
    people = [
        (split, label, number)
        for split, count_K in plant.counts.items()
        for label, count in enumerate(count_K)
        for number in range(count)
    ]
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(people)).tolist()
    imaged = draw.permutation(len(people)).tolist() if plant.mixed else order
    for row, other in zip(order, imaged, strict=True):
        split, label, number = people[row]
        _, seen_label, seen_number = people[other]
        identity = str(1000 + len(bucket.people))
        bucket.person(identity, label=label, split=split, site=SITES[number % 3])
        pixels.append(_pixels(seen_label, seen_number % 2, plant.gain, seed=1000 * seed + len(bucket.people)))
        bucket.volume(identity, device=DEVICES[number % 2], x_DHW=pixels[_shown(plant, bucket, pixels)])
    return bucket


def _shown(plant: Plant, bucket: Bucket, pixels: Sequence[np.ndarray]) -> int:
    """Whose pixels the participant who was added last has."""
    last = len(pixels) - 1
    if plant.twins == "no" or last != sum(map(sum, plant.counts.values())) - 1:
        return last
    split = bucket.people[last]["recommended_split"]
    same = plant.twins == "within val"
    others = [
        i for i, person in enumerate(bucket.people[:last]) if (person["recommended_split"] == split) == same
    ]
    return others[-1]


def _pixels(label: int, device: int, gain: int, seed: int) -> np.ndarray:
    x_DHW = speckle(seed=seed).astype(np.int64) // 4
    x_DHW[:, : 2 * label + 2] += gain
    x_DHW[:, :, : 5 * device] += 80
    return x_DHW.astype("u1")


@cache
def _pretrained(gain: int, seed: int) -> bytes:
    """A checkpoint in the original pretraining's format whose context encoder has seen volumes of others, and learned
    how far down they are bright."""
    model, payload = make_original_checkpoint(seed=seed, num_steps=2, **SIZE)
    generator = np.random.default_rng([seed, 7])
    label_N = generator.integers(4, size=_NUM_PRETRAINING)
    raw = [_pixels(int(k), i % 2, gain, seed=10**6 + 1000 * seed + i) for i, k in enumerate(label_N)]
    x_N = torch.from_numpy(np.stack([preprocess(x, "pretraining", SIZE["volume_size"]) for x in raw]))[
        :, None
    ]
    target_N = torch.from_numpy(label_N)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = torch.nn.Linear(SIZE["embed_dim"], 4)
        encoder = model.context_encoder.train()
        optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=2e-3)
        for _ in range(_NUM_STEPS):
            batch = torch.from_numpy(generator.integers(_NUM_PRETRAINING, size=32))
            optimizer.zero_grad()
            logits = head(encoder(x_N[batch]).mean(dim=1))
            torch.nn.functional.cross_entropy(logits, target_N[batch]).backward()
            optimizer.step()
    file = io.BytesIO()
    torch.save({**payload, "model_state_dict": model.eval().state_dict(), "epoch": 40, "loss": 0.4}, file)
    return file.getvalue()


def table(named: dict[str, Counter[str]]) -> str:
    """A row a fault: how often each gate was named first."""
    wanted = {fault.name: fault.gate or "none" for fault in FAULTS}
    width = max(map(len, named))
    lines = [
        f"{name:{width}}  {wanted[name]:16}  {counts[wanted[name]]} of {counts.total()}  "
        + ", ".join(f"{gate} {count}" for gate, count in counts.most_common() if gate != wanted[name])
        for name, counts in named.items()
    ]
    planted = [(wanted[name], counts) for name, counts in named.items()]
    right = sum(counts[gate] for gate, counts in planted if gate != "none")
    total = sum(counts.total() for gate, counts in planted if gate != "none")
    false = sum(counts.total() - counts[gate] for gate, counts in planted if gate == "none")
    well = sum(counts.total() for gate, counts in planted if gate == "none")
    lines += ["", f"planted and named first: {right} of {total}; false alarms: {false} of {well}"]
    return "\n".join(line.rstrip() for line in [f"{'planted':{width}}  {'gate':16}  named first", *lines])


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
            if found.first_cause != fault.gate:
                said = "nothing" if found.cause is None else found.cause.said
                print(f"{fault.name}, seed {seed}: {said}", file=sys.stderr)
        print(f"{fault.name}: {dict(named[fault.name])}", file=sys.stderr, flush=True)
    print(table(named))


if __name__ == "__main__":
    main()

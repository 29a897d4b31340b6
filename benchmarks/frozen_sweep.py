"""A sweep of probes is one pass over the data: beside a loop that encodes every volume every epoch.

    python -m benchmarks.frozen_sweep [--volumes 60] [--epochs 50]

octjob carries 12 configurations of 3 checkpoints out by `octjob submit`: synthetic AI-READI volumes, ViT-S encoders
on 576 tokens, mean, max and attentive heads, with and without augmentation. The peer is the usual loop, the
original's too: each epoch of each configuration encodes every volume, without gradients, and trains or scores the
head. A batch of each kind is measured and multiplied. CPU seconds, one thread each.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from benchmarks.figures import Figure, arguments, spent, tell
from octjob.data.augment import augment
from octjob.data.synthesize.bucket import synthesize
from octjob.data.synthesize.recipe import SynthesisRecipe
from octjob.models.encoder import Encoder3D, init_encoder
from octjob.models.shape import EncoderGeometry
from octjob.spec.experiment import Augment
from octjob.storage.open import open_store

# Real ones are ViT-B on 9,216 tokens: a volume costs some hundred times as much, a head's training the same. The
# demo's encoder, with a hundredth of the operations, would measure the starting of processes.
GEOMETRY = EncoderGeometry((16, 96, 96), (4, 8, 8), embed_dim=384, depth=12, num_heads=6)
NUM_CHECKPOINTS, BATCH, NUM_CLASSES = 3, 8, 4
FLIP = {"flip": True, "intensity_jitter": True}
_PEER_BATCHES = 1


def configurations(epochs: int) -> dict[str, dict[str, Any]]:
    """Twelve, as one tries them: learning rates and poolings, two with augmentation, an attentive one."""
    base = {"train.epochs": epochs, "data.batch_size": BATCH}
    found = {
        f"{pool}-{number}": {**base, "model.pool_method": pool, "train.lr_head": lr}
        for pool, rates in (("mean", (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)), ("max", (3e-4, 1e-3, 3e-3, 1e-2)))
        for number, lr in enumerate(rates)
    }
    found |= {
        f"augmented-{number}": {**base, "data.augment": FLIP, "train.lr_head": lr}
        for number, lr in enumerate((1e-3, 1e-2))
    }
    return {**found, "attentive": {**base, "model.pool_method": "attentive"}}


def prepare(folder: Path, num_volumes: int) -> None:
    """A bucket with one volume each of so many people, a third of them for scoring, and the checkpoints."""
    recipe = SynthesisRecipe(
        seed=7,
        participants={"train": num_volumes - num_volumes // 3, "val": num_volumes // 3},
        devices_per_participant=1,
        eyes="one",
    )
    synthesize(open_store(str(folder / "bucket")), recipe)
    config = {"image_size": list(GEOMETRY.volume_size), "patch_size": list(GEOMETRY.patch_size)}
    for seed in range(NUM_CHECKPOINTS):
        state = init_encoder(GEOMETRY, seed).state_dict()
        torch.save({"model_state_dict": state, "config": config}, folder / f"c{seed}.pt")


def octjob(*words: str) -> float:
    """CPU seconds of a command and of all that it started."""
    with spent() as cost:
        subprocess.run(
            [sys.executable, "-m", "octjob", *words], check=True, stdout=subprocess.DEVNULL, stderr=sys.stderr
        )
    return cost.cpu_s


def submit(folder: Path, name: str, configs: dict[str, dict[str, Any]], *options: str) -> float:
    """CPU seconds of the sweep; those of a folder share a feature cache."""
    sweep = {
        "name": name,
        "output": str(folder / "out"),
        "checkpoints": {
            f"c{seed}": {"uri": str(folder / f"c{seed}.pt"), "num_heads": GEOMETRY.num_heads}
            for seed in range(NUM_CHECKPOINTS)
        },
        "configs": {key: {"overrides": overrides} for key, overrides in configs.items()},
        "data": {"source": str(folder / "bucket")},
        "seeds": [42],
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(sweep, sort_keys=False))
    return octjob("submit", "--matrix", str(path), "--target", "local", *options)


class Attentive(nn.Module):
    """One query that attends to all tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(1, 1, width))
        self.attend = nn.MultiheadAttention(width, GEOMETRY.num_heads, batch_first=True)

    def forward(self, tokens_BNE: torch.Tensor) -> torch.Tensor:
        pooled_B1E: torch.Tensor = self.attend(
            self.query.expand(len(tokens_BNE), -1, -1), tokens_BNE, tokens_BNE
        )[0]
        return pooled_B1E[:, 0]


@dataclass(frozen=True)
class Peer:
    """CPU seconds for a volume: encoded only; trained on; trained on augmented; trained on attentively; scored."""

    encoded: float
    plain: float
    augmented: float
    attentive: float
    scored: float

    def sweep_s(self, num_volumes: int, epochs: int) -> float:
        """All configurations of all checkpoints. The volumes are in memory, preprocessed, from the start."""
        scored, trained = num_volumes // 3, num_volumes - num_volumes // 3
        epoch_s = trained * (9 * self.plain + 2 * self.augmented + self.attentive) + 12 * scored * self.scored
        return NUM_CHECKPOINTS * epochs * epoch_s


def frozen_in_the_loop(encoder: Encoder3D) -> Peer:
    """A few batches of the usual loop."""
    x_BCDHW = torch.randn(BATCH, 1, *GEOMETRY.volume_size)
    label_B = torch.arange(BATCH) % NUM_CLASSES
    encoder.requires_grad_(False)

    def trained(pool: nn.Module | None, x_BCDHW: torch.Tensor, *, augmented: bool = False) -> None:
        model = nn.ModuleList([pool or nn.Identity(), nn.Linear(GEOMETRY.embed_dim, NUM_CLASSES)])
        optimizer = torch.optim.AdamW(model.parameters())
        for _ in range(_PEER_BATCHES):
            x = _augmented(x_BCDHW) if augmented else x_BCDHW
            with torch.no_grad():
                tokens_BNE = encoder(x)
            pooled_BE = pool(tokens_BNE) if pool else tokens_BNE.mean(dim=1)
            loss = nn.functional.cross_entropy(model[1](pooled_BE), label_B)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def scored() -> None:
        for _ in range(_PEER_BATCHES):
            with torch.no_grad():
                encoder(x_BCDHW).mean(dim=1)

    def encoded() -> None:
        for x_1CDHW in x_BCDHW.split(1) * _PEER_BATCHES:
            with torch.no_grad():
                encoder(x_1CDHW)

    tasks = (
        encoded,
        lambda: trained(None, x_BCDHW),
        lambda: trained(None, x_BCDHW, augmented=True),
        lambda: trained(Attentive(GEOMETRY.embed_dim), x_BCDHW),
        scored,
    )
    scored()
    seconds = []
    for task in tasks:
        with spent() as cost:
            task()
        seconds.append(cost.cpu_s / (_PEER_BATCHES * BATCH))
    return Peer(*seconds)


def _augmented(x_BCDHW: torch.Tensor) -> torch.Tensor:
    config = Augment(**FLIP)
    return torch.from_numpy(
        np.stack([augment(x[0].numpy(), config, seed)[None] for seed, x in enumerate(x_BCDHW)])
    )


def main(words: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    parser.add_argument("--volumes", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=50)
    args = parser.parse_args(words)
    # Compiled modules are kept, as in any installation.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["OCTJOB_DEVICE"] = "cpu"
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        measure(args, Path(name))


def measure(args: argparse.Namespace, folder: Path) -> None:
    """The sweep, then the same again where all features are there, which tells the parts apart."""
    configs = configurations(args.epochs)
    prepare(folder, args.volumes)
    peer = frozen_in_the_loop(init_encoder(GEOMETRY, 0))
    sweep_s = submit(folder, "sweep", configs)
    nothing_s = submit(folder, "sweep", configs)
    cached_s = submit(folder, "cached", configs)
    run = next((folder / "out" / "cached" / "runs").iterdir())
    # A finished run is left alone, after all that one needs has been imported.
    start_s = NUM_CHECKPOINTS * octjob("train", "--run", str(run)) + nothing_s
    later = {"thirteenth": {**configs["mean-0"], "train.lr_head": 0.1}}
    later_s = submit(folder, "sweep", {**configs, **later}, "--update")
    loop_s, thirteenth_s = peer.sweep_s(args.volumes, args.epochs), (cached_s - start_s) / len(configs)
    num_encoded = NUM_CHECKPOINTS * (2 * args.volumes - args.volumes // 3)
    once_s = num_encoded * peer.encoded
    print(f"peer, CPU seconds a volume: {asdict(peer)}")
    print(f"sweep {sweep_s:.1f} s, cached {cached_s:.1f} s, starting {start_s:.1f} s; later {later_s:.1f} s")
    tell(
        args,
        f"A sweep of probes: 12 configurations x {NUM_CHECKPOINTS} checkpoints, {args.volumes} volumes",
        [
            Figure(
                "the sweep, from `octjob submit` to its end",
                "CPU s",
                sweep_s,
                loop_s,
                "frozen encoder in the loop",
                once_s,
                "encoding once",
                wanted=">= 200 x",
            ),
            Figure(
                "of that: encoding",
                "CPU s",
                sweep_s - cached_s,
                limit=once_s,
                limit_name="the forward passes",
            ),
            Figure("of that: training and evaluating 36 runs", "CPU s", cached_s - start_s),
            Figure("of that: starting processes", "CPU s", start_s),
            Figure(
                "a 13th configuration in the sweep",
                "% of the sweep",
                100 * thirteenth_s / sweep_s,
                wanted="< 2 %",
            ),
            Figure("a 13th configuration, submitted later", "% of the sweep", 100 * later_s / sweep_s),
        ],
        [
            f"Encoder: ViT-S, {GEOMETRY.num_tokens} tokens, {peer.encoded:.2f} CPU s each. The loop: 36 trainings, "
            f"{args.epochs} epochs, batches of {BATCH}, on volumes that are in memory already; a batch of each "
            f"kind was measured and multiplied, {loop_s / 3600:.1f} CPU hours in all.",
            f"{num_encoded} encodings: of every volume, and a second view of every training volume for the two "
            "augmented configurations. A real encoder costs some hundred times as much, all the rest the same.",
        ],
    )


if __name__ == "__main__":
    main()

"""The demo's recipe and its pretraining: fixed, repeatable, in the original checkpoint format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from octjob.demo.pretrain import _masked_loss, _patches, pretrain
from octjob.demo.recipe import CheckpointRecipe, DemoRecipe, EncoderRecipe, load_recipe
from octjob.errors import DataError, SpecError
from octjob.models.checkpoint import read_checkpoint
from octjob.models.encoder import Encoder3D
from octjob.models.shape import EncoderGeometry

TINY = load_recipe().model_copy(
    update={
        "encoder": EncoderRecipe(
            volume_size=(4, 8, 8), patch_size=(2, 4, 4), embed_dim=16, depth=2, num_heads=2, mlp_ratio=2.0
        )
    }
)
SHORT = CheckpointRecipe(devices=("topcon_triton",), steps=6, seed=5)


def volumes(count: int = 12) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).standard_normal((count, 4, 8, 8), dtype=np.float32)


def weights(recipe: DemoRecipe, checkpoint: CheckpointRecipe, path: Path) -> dict[str, torch.Tensor]:
    pretrain(volumes(), recipe, checkpoint, path)
    loaded: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["model_state_dict"]
    return loaded


def test_the_shipped_recipe_is_three_checkpoints_of_one_encoder() -> None:
    recipe = load_recipe()
    assert list(recipe.checkpoints) == ["multi_domain", "single_domain_01", "single_domain_02"]
    assert len(recipe.checkpoints["multi_domain"].devices) == 4
    assert recipe.checkpoints["single_domain_02"].steps_taken == 1
    assert len({c.seed for c in recipe.checkpoints.values()}) == 1


def test_the_file_has_the_original_layout_and_an_untouched_target(tmp_path: Path) -> None:
    steps: list[int] = []
    pretrain(volumes(), TINY, SHORT, tmp_path / "c.pt", progress=lambda step, total, loss: steps.append(step))
    content = torch.load(tmp_path / "c.pt", weights_only=True)
    assert set(content) == {
        "epoch", "step", "model_state_dict", "optimizer_state_dict", "scheduler_state_dict", "loss", "config",
    }  # fmt: skip
    assert steps == [1, 2, 3, 4, 5, 6]
    assert content["step"] == 6
    assert content["config"]["image_size"] == [4, 8, 8]
    state = content["model_state_dict"]
    geometry = EncoderGeometry(**TINY.encoder.model_dump())
    fresh = Encoder3D(geometry, torch.Generator().manual_seed(5)).state_dict()
    for name, tensor in fresh.items():
        assert torch.equal(state[f"target_encoder.encoder.{name}"], tensor)
    assert not torch.equal(state["context_encoder.norm.bias"], fresh["norm.bias"])
    prefixes = {name.split(".")[0] for name in state}
    assert prefixes == {"context_encoder", "target_encoder", "predictor"}
    Encoder3D(geometry).load_state_dict(
        {k.removeprefix("context_encoder."): v for k, v in state.items() if k.startswith("context_encoder.")}
    )


def test_pretraining_is_bit_reproducible_and_depends_on_the_seed(tmp_path: Path) -> None:
    first, again = (weights(TINY, SHORT, tmp_path / name) for name in ("a.pt", "b.pt"))
    assert all(torch.equal(first[k], again[k]) for k in first)
    other = weights(TINY, SHORT.model_copy(update={"seed": 6}), tmp_path / "c.pt")
    assert not torch.equal(first["context_encoder.norm.bias"], other["context_encoder.norm.bias"])


def test_a_run_stopped_at_its_first_step_is_the_start_of_the_longer_one(tmp_path: Path) -> None:
    stopped = weights(TINY, SHORT.model_copy(update={"stop_after": 1}), tmp_path / "a.pt")
    moved = [
        float((stopped[f"context_encoder.{k[23:]}"] - v).abs().max())
        for k, v in stopped.items()
        if k.startswith("target_encoder.encoder.")
    ]
    # One warm-up step of AdamW moves no weight by much more than its learning rate.
    assert 0 < max(moved) < 1.1 * TINY.pretraining.learning_rate / TINY.pretraining.warmup_steps


def test_without_a_step_the_file_is_an_encoder_that_reads_as_untrained(tmp_path: Path) -> None:
    path = tmp_path / "best_checkpoint.pt"
    result = pretrain(volumes(), TINY, SHORT.model_copy(update={"stop_after": 0}), path)
    assert result.steps == 0
    report = read_checkpoint(path, encoder="auto", uri=str(path)).report
    assert (report.epoch, report.loss) == (0, None)
    assert report.fingerprint.verdict == "untrained"


def test_it_learns_to_fill_in_what_neighbours_tell(tmp_path: Path) -> None:
    flat = np.repeat(np.random.default_rng(1).standard_normal((64, 1, 1, 1), dtype=np.float32), 4, axis=1)
    constant_NDHW = np.broadcast_to(flat, (64, 4, 8, 8)).copy()
    losses: list[float] = []
    recipe = CheckpointRecipe(devices=("topcon_triton",), steps=150, seed=5)
    pretrain(constant_NDHW, TINY, recipe, tmp_path / "c.pt", progress=lambda s, n, loss: losses.append(loss))
    assert np.mean(losses[-20:]) < 0.2 * np.mean(losses[:20])


def test_patches_stand_in_the_encoders_order_and_masked_voxels_stay_unseen() -> None:
    geometry = EncoderGeometry(**TINY.encoder.model_dump())
    encoder = Encoder3D(geometry, torch.Generator().manual_seed(0))
    x_BDHW = torch.from_numpy(volumes(2))
    projected = torch.nn.functional.linear(
        _patches(x_BDHW, geometry), encoder.patch_embed.proj.weight.flatten(1), encoder.patch_embed.proj.bias
    )
    torch.testing.assert_close(projected, encoder.patch_embed(x_BDHW[:, None]))

    given: list[torch.Tensor] = []

    def spy(visible_BVE: torch.Tensor, place_BT: torch.Tensor) -> torch.Tensor:
        given.append(visible_BVE)
        return torch.zeros(2, 8, 32)

    loss = _masked_loss(encoder, spy, x_BDHW, 0.75, torch.Generator().manual_seed(1))  # type: ignore[arg-type]
    assert given[0].shape == (2, 2, 16)
    order_BT = torch.rand(2, 8, generator=torch.Generator().manual_seed(1)).argsort(dim=1)
    hidden = torch.stack([_patches(x_BDHW, geometry)[b, order_BT[b, 2:]] for b in range(2)])
    torch.testing.assert_close(loss, hidden.square().mean())


def test_volumes_of_another_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not \\(N, \\(4, 8, 8\\)\\)"):
        pretrain(np.zeros((3, 4, 8, 9), np.float32), TINY, SHORT, tmp_path / "c.pt")


def test_a_wrong_recipe_names_the_file_and_the_key(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("synthesis: {seed: 1, class_efect: 2}\n")
    with pytest.raises(SpecError, match=r"mine\.yaml:1: synthesis\.class_efect"):
        load_recipe(path)

from __future__ import annotations

import math

import pytest
import torch
from doubles.vjepa3d import NaiveViT
from hypothesis import given, settings
from hypothesis import strategies as st

from octjob.errors import DataError, SpecError
from octjob.models.encoder import empty_encoder, init_encoder
from octjob.models.pooling import pool_tokens, token_grid
from octjob.models.shape import ORIGINAL_GEOMETRY, EncoderGeometry
from octjob.models.statedict import encoder_keys

SMALL = EncoderGeometry(
    volume_size=(8, 32, 48), patch_size=(4, 16, 16), embed_dim=48, depth=2, num_heads=3, mlp_ratio=4.0
)


def test_full_size_encoder_has_the_original_number_of_parameters_and_names():
    encoder = empty_encoder(ORIGINAL_GEOMETRY)

    assert sum(p.numel() for p in encoder.parameters()) == 92_921_088
    assert ORIGINAL_GEOMETRY.grid == (16, 24, 24)
    assert encoder.pos_embed.shape == (1, 9216, 768)
    assert encoder.patch_embed.proj.weight.shape == (768, 1, 4, 16, 16)
    assert sorted(encoder.state_dict()) == encoder_keys(12)
    assert len(encoder_keys(12)) == 149


def test_state_dict_fits_the_naive_module_and_gives_the_same_tokens():
    naive = NaiveViT(SMALL.volume_size, SMALL.patch_size, SMALL.embed_dim, SMALL.depth, SMALL.num_heads)
    encoder = init_encoder(SMALL, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.parameters():  # away from the initialisation, where biases are all zero
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    naive.load_state_dict(encoder.state_dict(), strict=True)
    x_BCDHW = torch.randn(2, 1, *SMALL.volume_size, generator=generator)

    with torch.inference_mode():
        tokens_BNE = encoder(x_BCDHW)
        expected_BNE = naive(x_BCDHW)

    assert tokens_BNE.shape == (2, SMALL.num_tokens, SMALL.embed_dim)
    torch.testing.assert_close(tokens_BNE, expected_BNE, atol=1e-5, rtol=1e-5)


def test_tokens_are_in_depth_height_width_order():
    encoder = init_encoder(SMALL, seed=0)
    x_BCDHW = torch.zeros(1, 1, *SMALL.volume_size)
    x_BCDHW[0, 0, 4:8, 16:32, 32:48] = 1.0  # the patch (1, 1, 2) of the grid (2, 2, 3)

    with torch.inference_mode():
        embedded_NE = encoder.patch_embed(x_BCDHW)[0]
    differs_N = (embedded_NE != encoder.patch_embed.proj.bias).any(dim=1)

    assert differs_N.nonzero().flatten().tolist() == [1 * 6 + 1 * 3 + 2]


@pytest.mark.parametrize("shape", [(1, 1, 8, 32, 32), (1, 1, 8, 48, 32), (1, 3, 8, 32, 48), (1, 8, 32, 48)])
def test_a_volume_of_another_shape_is_refused_with_both_shapes(shape: tuple[int, ...]):
    encoder = init_encoder(SMALL, seed=0)

    with pytest.raises(DataError) as caught:
        encoder(torch.zeros(shape))

    assert str(tuple(shape)) in caught.value.message
    assert "8, 32, 48" in caught.value.message


def test_initialisation_is_the_seeds_alone_and_as_in_the_original():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (init_encoder(SMALL, seed=s) for s in (7, 7, 8))

    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.pos_embed, other.pos_embed)
    assert not first.training
    for name, parameter in first.named_parameters():
        if name.endswith("bias") and not name.startswith("patch_embed"):
            assert (parameter == 0).all(), name
        elif "norm" in name:
            assert (parameter == 1).all(), name
        elif name.startswith("patch_embed"):
            assert parameter.abs().max() <= 1 / math.sqrt(4 * 16 * 16)
        else:
            assert float(parameter.detach().std()) == pytest.approx(0.02, rel=0.1), name


def test_geometry_that_does_not_tile_or_split_is_refused():
    with pytest.raises(DataError, match="whole number of patches"):
        EncoderGeometry((8, 32, 40), (4, 16, 16), 48, 2, 3)
    with pytest.raises(DataError, match="7 heads"):
        EncoderGeometry((8, 32, 48), (4, 16, 16), 48, 2, 7)


def test_pooling_mean_and_max_agree_with_loops_and_cls_is_refused():
    tokens_NE = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))

    for method, reduce in (("mean", lambda column: sum(column) / 5), ("max", max)):
        expected_E = torch.tensor([reduce(tokens_NE[:, i].tolist()) for i in range(4)])
        torch.testing.assert_close(pool_tokens(tokens_NE, method), expected_E)
        torch.testing.assert_close(pool_tokens(tokens_NE[None], method), expected_E[None])
    with pytest.raises(SpecError, match="no class token") as caught:
        pool_tokens(tokens_NE, "cls")
    assert caught.value.exit_code == 2
    with pytest.raises(SpecError, match="median"):
        pool_tokens(tokens_NE, "median")


@settings(max_examples=30, deadline=None)
@given(
    factors=st.tuples(*[st.integers(1, 3)] * 3),
    grid=st.tuples(*[st.integers(1, 3)] * 3),
    seed=st.integers(0, 99),
)
def test_token_grid_averages_the_windows_of_the_grid(
    factors: tuple[int, int, int], grid: tuple[int, int, int], seed: int
):
    fine = tuple(f * g for f, g in zip(factors, grid, strict=True))
    geometry = EncoderGeometry(fine, (1, 1, 1), 2, 1, 1)
    tokens_BNE = torch.randn(1, geometry.num_tokens, 2, generator=torch.Generator().manual_seed(seed))
    pooled_BTE = token_grid(tokens_BNE, geometry, grid)

    for t in range(math.prod(grid)):
        d, h, w = t // (grid[1] * grid[2]), t // grid[2] % grid[1], t % grid[2]
        window = [
            tokens_BNE[0, (i * fine[1] + j) * fine[2] + k]
            for i in range(d * factors[0], (d + 1) * factors[0])
            for j in range(h * factors[1], (h + 1) * factors[1])
            for k in range(w * factors[2], (w + 1) * factors[2])
        ]
        torch.testing.assert_close(pooled_BTE[0, t], torch.stack(window).mean(0))


def test_token_grid_refuses_other_tokens_and_finer_grids():
    with pytest.raises(SpecError, match="does not fit"):
        token_grid(torch.zeros(1, SMALL.num_tokens, 48), SMALL, (4, 6, 6))
    with pytest.raises(DataError, match="12"):
        token_grid(torch.zeros(1, 11, 48), SMALL, (1, 1, 1))
    full_BNE = torch.zeros(1, ORIGINAL_GEOMETRY.num_tokens, 2)
    assert token_grid(full_BNE, ORIGINAL_GEOMETRY).shape == (1, 144, 2)

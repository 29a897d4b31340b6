"""The numbers the encoder sees: held against MONAI and against the original fine-tuning, step by step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from octjob.data.dicom import RawVolume
from octjob.data.preprocess import (
    NoContrastError,
    preprocess,
    preprocess_digest,
    preprocess_volume,
    touched_depth,
)
from octjob.data.resize import resize
from octjob.data.taps import touched_frames

SHAPES = [(8, 30, 20), (61, 25, 40), (27, 12, 16), (3, 50, 9), (1, 16, 16), (5, 5, 5), (512, 14, 10)]
SIZE = (8, 12, 16)


def volume(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(0.6, 40.0, shape).clip(0, 255).astype(np.uint8)


def raw(stored: np.ndarray, slope: float = 1.0, intercept: float = 0.0) -> RawVolume:
    return RawVolume(stored, slope, intercept, None, "none", "1.2.840.10008.1.2.1", "1.2", "R")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [SIZE, (5, 5, 5), (16, 60, 40)])
def test_resize_is_trilinear_interpolation_of_the_whole_volume(
    shape: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    expected = interpolate(torch.from_numpy(x)[None, None], size=size, mode="trilinear", align_corners=False)
    np.testing.assert_allclose(resize(lambda i: x[i], shape, size), expected[0, 0].numpy(), atol=2e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_pretraining_is_zscore_monai_resized_monai_normalize_intensity(shape: tuple[int, int, int]) -> None:
    from monai.transforms import NormalizeIntensity, Resize

    x = volume(shape).astype(np.float32) * np.float32(1.7) - np.float32(3)
    first = (x - x.mean()) / x.std()
    expected = NormalizeIntensity()(Resize(SIZE, mode="trilinear")(first[None]))[0].numpy()
    got = preprocess(x, "pretraining", SIZE)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-5)
    held = preprocess_volume(raw(volume(shape), 1.7, -3.0), "pretraining", SIZE)
    np.testing.assert_allclose(held, got, atol=2e-6)


def two_z_scores(x: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    """The original's steps on all voxels, one by one, in torch and numpy."""

    def scored(y: np.ndarray) -> np.ndarray:
        mean, std = y.mean(dtype=np.float64), y.std(dtype=np.float64)
        return (y - np.float32(mean)) / np.float32(std)

    whole = torch.from_numpy(scored(x.astype(np.float32)))
    resized = interpolate(whole[None, None], size=size, mode="trilinear", align_corners=False)
    return scored(resized[0, 0].numpy())


@pytest.mark.parametrize("shape", [*SHAPES, (320, 62, 20), (128, 55, 32), (61, 31, 48), (61, 150, 120)])
@pytest.mark.parametrize("size", [SIZE, (64, 48, 48), (64, 24, 24)])
def test_one_z_score_after_the_resize_is_both_of_the_original(
    shape: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    x = volume(shape)
    got = preprocess(x, "pretraining", size)
    np.testing.assert_allclose(got, two_z_scores(x, size), atol=2e-6)


@pytest.mark.parametrize(("mean", "contrast"), [(60_000, 40), (-20_000, 3), (12, 30_000)])
def test_a_narrow_contrast_far_from_zero_is_as_exact(mean: int, contrast: int) -> None:
    random = np.random.default_rng(5)
    x = (mean + contrast * random.normal(size=(21, 30, 26)).clip(-1, 1)).astype("u2" if mean > 0 else "i2")
    expected = two_z_scores((x.astype(np.int64) - mean).astype(np.float32), SIZE)
    np.testing.assert_allclose(preprocess(x, "pretraining", SIZE), expected, atol=2e-6)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 40)] * 3),
    size=st.tuples(*[st.integers(1, 24)] * 3),
    seed=st.integers(0, 1000),
)
def test_any_shape_resizes_to_any_size_as_torch_does(
    shape: tuple[int, int, int], size: tuple[int, int, int], seed: int
) -> None:
    x = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    asked: list[int] = []

    def frame(index: int) -> np.ndarray:
        asked.append(index)
        return x[index]

    got = resize(frame, shape, size)
    whole = torch.from_numpy(x.astype(np.float32))[None, None]
    expected = interpolate(whole, size=size, mode="trilinear", align_corners=False)[0, 0].numpy()
    np.testing.assert_allclose(got, expected, atol=1e-4, rtol=1e-6)
    assert tuple(asked) == touched_frames(shape[0], size[0])  # each once, in order, and no other


@pytest.mark.parametrize(("num_frames", "touched"), [(61, 61), (128, 128), (256, 128), (320, 64), (512, 128)])
def test_the_b_scans_that_64_of_them_are_made_of(num_frames: int, touched: int) -> None:
    assert len(touched_frames(num_frames, 64)) == touched


def test_b_scans_that_are_not_touched_change_nothing_and_need_not_be_held() -> None:
    x = volume((320, 20, 18))
    frames = touched_frames(320, 64)
    spoilt = np.full_like(x, 255)
    spoilt[list(frames)] = x[list(frames)]
    size = (64, 12, 16)
    whole = preprocess(x, "pretraining", size)
    np.testing.assert_array_equal(preprocess(spoilt, "pretraining", size), whole)
    held = replace(raw(x[list(frames)]), frames=frames, num_frames=320)
    np.testing.assert_array_equal(preprocess_volume(held, "pretraining", size), whole)
    assert (touched_depth("pretraining", size), touched_depth("seed_finetune", size)) == (64, None)
    for profile, other in (("pretraining", (65, 12, 16)), ("seed_finetune", size)):
        with pytest.raises(ValueError, match="B-scan"):
            preprocess_volume(held, profile, other)


@pytest.mark.parametrize("slope", [1e37, -1e37, np.inf])
def test_a_rescale_that_leaves_float32_is_an_error(slope: float) -> None:
    with pytest.raises(NoContrastError, match="not finite"):
        preprocess_volume(raw(volume((8, 12, 10)), slope), "pretraining", SIZE)


def test_a_rescale_that_rounds_all_contrast_away_is_an_error() -> None:
    with pytest.raises(NoContrastError, match="same value"):
        preprocess_volume(raw(volume((8, 12, 10)), 1e-9, 1000.0), "pretraining", SIZE)


def test_a_pattern_that_the_resize_averages_away_is_an_error_at_any_scale() -> None:
    stripes = np.arange(16)[None, :, None] % 2 * np.ones((4, 16, 8))
    for scale in (1e-20, 0.3, 1e20):
        with pytest.raises(NoContrastError, match="same value"):
            preprocess(stripes * scale, "pretraining", (4, 8, 8))
    for scale in (1e-20, 0.3, 1e20):
        assert preprocess(stripes * scale, "pretraining", (4, 15, 8)).std() == pytest.approx(1)


def test_one_faint_voxel_is_contrast() -> None:
    x = np.full((9, 40, 40), 200, np.uint8)
    x[4, 20, 20] = 201
    assert preprocess(x, "pretraining", (9, 40, 40)).max() > 100


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    scale=st.floats(0.01, 100.0),
    offset=st.floats(-1000.0, 1000.0),
)
def test_a_positive_rescale_of_the_input_changes_nothing(seed: int, scale: float, offset: float) -> None:
    x = volume((7, 9, 11), seed).astype(np.float64)
    plain = preprocess(x, "pretraining", (4, 6, 8))
    rounding = np.finfo(np.float32).eps * (abs(offset) + 255 * scale) / (scale * x.std())
    moved = preprocess(x * scale + offset, "pretraining", (4, 6, 8))
    np.testing.assert_allclose(moved, plain, atol=4 * rounding + 1e-6)


def test_the_encoder_sees_mean_0_and_std_1() -> None:
    y = preprocess(volume((61, 25, 40)), "pretraining", SIZE)
    assert abs(float(y.mean(dtype=np.float64))) < 1e-6
    assert abs(float(y.std(dtype=np.float64)) - 1) < 1e-6


def seed_finetune_reference(x: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    """The original's steps, one by one, in torch."""
    v = torch.from_numpy(x.astype(np.float32))
    if v.shape[0] > v.shape[-1]:
        v = v.permute(2, 0, 1)
    sample = v[::4, ::4, ::4].flatten() if v.numel() > 1e6 else v
    v = torch.clamp(v, 0, torch.quantile(sample, 0.99))
    v = torch.pow((v - v.min()) / (v.max() - v.min()), 0.8)
    return interpolate(v[None, None], size=size, mode="trilinear", align_corners=False)[0, 0].numpy()


@pytest.mark.parametrize("shape", [(8, 30, 20), (40, 12, 16), (64, 160, 128)])
def test_seed_finetune_repeats_the_original_steps_on_stored_values(shape: tuple[int, int, int]) -> None:
    x = volume(shape)
    got = preprocess(x, "seed_finetune", SIZE)
    np.testing.assert_allclose(got, seed_finetune_reference(x, SIZE), atol=1e-5)
    assert 0 <= got.min() <= got.max() <= 1
    ignored_rescale = preprocess_volume(raw(x, slope=-2.0, intercept=500.0), "seed_finetune", SIZE)
    np.testing.assert_array_equal(ignored_rescale, got)


def test_seed_finetune_clips_negative_values_at_0() -> None:
    x = volume((8, 30, 20)).astype(np.int16) - 40
    np.testing.assert_allclose(
        preprocess(x, "seed_finetune", SIZE), seed_finetune_reference(x, SIZE), atol=1e-5
    )


@pytest.mark.parametrize("profile", ["pretraining", "seed_finetune"])
def test_a_volume_without_contrast_is_an_error_not_zeros_or_nan(profile: str) -> None:
    with pytest.raises(NoContrastError, match="same value"):
        preprocess(np.full((4, 8, 8), 37, np.uint8), profile, SIZE)  # type: ignore[arg-type]


def test_contrast_that_the_resize_loses_is_an_error() -> None:
    x = np.zeros((9, 9, 9), np.uint8)
    x[0, 0, 0] = 255  # between the samples of a 9 -> 3 resize
    with pytest.raises(NoContrastError):
        preprocess(x, "pretraining", (3, 3, 3))


def test_rescaled_values_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(NoContrastError, match="not finite"):
        preprocess(np.array([[[1.0, np.nan], [2.0, 3.0]]]), "pretraining", SIZE)


def test_the_digest_tells_profiles_and_sizes_apart_and_is_the_same_on_every_machine() -> None:
    # Cached volumes and features of earlier runs are found by these: a change here must be meant.
    assert preprocess_digest("pretraining", (64, 384, 384)) == "cac611e8ace653fe"
    digests = {
        preprocess_digest("pretraining", SIZE),
        preprocess_digest("seed_finetune", SIZE),
        preprocess_digest("pretraining", (8, 12, 17)),
    }
    assert len(digests) == 3

"""Volumes as bytes: what comes back is what was rounded, and anything else is noticed."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from octjob.data.preprocess import preprocess_digest
from octjob.data.volume_format import VolumeFormat
from octjob.spec.experiment import VolumeDtype
from octjob.storage.sealed import seal, unseal

SIZE = (3, 4, 5)
# Unit roundoffs: half the distance between neighbours, relative to the smaller.
U_FLOAT16, U_BF16 = 2.0**-11, 2.0**-8
SMALLEST_NORMAL = 2.0**-14


def scores(seed: int = 0, size: tuple[int, int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_was_encoded_comes_back_rounded(dtype: VolumeDtype) -> None:
    format_ = VolumeFormat("pretraining", SIZE, dtype)
    x_DHW = scores()
    data = format_.encode(x_DHW)
    assert len(data) == format_.num_bytes
    np.testing.assert_array_equal(format_.decode(data), format_.rounded(x_DHW))
    np.testing.assert_array_equal(format_.rounded(x_DHW), x_DHW.astype(dtype).astype("f4"))
    assert format_.encode(format_.rounded(x_DHW)) == data, "whoever makes it, the bytes are the same"


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_behind_the_digest_is_a_file_that_numpy_reads(dtype: VolumeDtype) -> None:
    format_ = VolumeFormat("pretraining", SIZE, dtype)
    body = unseal(format_.encode(scores()))
    assert body is not None
    found = np.load(io.BytesIO(body), allow_pickle=False)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, scores().astype(dtype))


def test_float32_keeps_the_address_of_before_and_float16_has_its_own() -> None:
    digests = [VolumeFormat("pretraining", SIZE, dtype).digest for dtype in ("float32", "float16")]
    assert digests[0] == preprocess_digest("pretraining", SIZE)
    assert len({*digests, VolumeFormat("seed_finetune", SIZE, "float16").digest}) == 3


@pytest.mark.parametrize("other", [((3, 5, 4), "float16"), (SIZE, "float32"), ((6, 4, 5), "float16")])
def test_another_formats_bytes_are_refused(other: tuple[tuple[int, int, int], VolumeDtype]) -> None:
    size, dtype = other
    data = VolumeFormat("pretraining", size, dtype).encode(scores(size=size))
    with pytest.raises(ValueError, match="holds no float16 of 3 x 4 x 5"):
        VolumeFormat("pretraining", SIZE, "float16").decode(data)


@given(st.integers(0, 7), st.integers(0, 10_000))
def test_one_flipped_bit_anywhere_is_noticed(bit: int, position: int) -> None:
    format_ = VolumeFormat("pretraining", SIZE, "float16")
    data = bytearray(format_.encode(scores()))
    data[position % len(data)] ^= 1 << bit
    with pytest.raises(ValueError, match="SHA-256 is wrong"):
        format_.decode(bytes(data))
    with pytest.raises(ValueError, match="SHA-256 is wrong"):
        format_.decode(seal(b"x" * position)[: position + 31])


@given(st.floats(-3072, 3072, width=32))
def test_rounding_is_an_eighth_of_what_a_bf16_encoder_does_to_its_input(value: float) -> None:
    """3072 is the largest z-score there can be in a volume of 64 x 384 x 384."""
    x_DHW = np.full(SIZE, value, np.float32)
    error = abs(float(VolumeFormat("pretraining", SIZE, "float16").rounded(x_DHW)[0, 0, 0]) - value)
    assert error <= max(abs(value), SMALLEST_NORMAL) * U_FLOAT16
    seen = torch.tensor(np.float32(value)).to(torch.float16).to(torch.bfloat16)
    assert abs(float(seen) - value) <= max(abs(value), SMALLEST_NORMAL) * (U_BF16 + U_FLOAT16 * (1 + U_BF16))


def test_no_z_score_overflows() -> None:
    """The most extreme volume: all voxels alike but one."""
    x_DHW = np.zeros((64, 96, 96), np.float64)
    x_DHW[0, 0, 0] = 1
    x_DHW = (x_DHW - x_DHW.mean()) / x_DHW.std()
    assert x_DHW.max() == pytest.approx(np.sqrt(x_DHW.size - 1))
    # The largest float16 is reached by no volume of fewer than its square in voxels, 8 GiB of float16.
    assert np.sqrt(65_504**2) == float(np.finfo(np.float16).max)

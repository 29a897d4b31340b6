"""The flash kernel, forward and backward, is attention for the token counts that it takes, and others are refused."""

from __future__ import annotations

import json

import pytest

from octjob.errors import SpecError
from octjob.models.choice import check_tokens
from tests.tpu.conftest import run_module


@pytest.mark.parametrize("tokens", [512, 2048])
def test_the_flash_kernel_is_attention(tokens: int) -> None:
    differences = json.loads(run_module("tests.tpu.interpret", str(tokens)))
    assert differences.keys() == {"result", "q", "k", "v"}
    assert max(differences.values()) < 1e-5


@pytest.mark.parametrize("tokens", [256, 1000, 1536])
def test_what_it_would_get_wrong_is_refused(tokens: int) -> None:
    with pytest.raises(SpecError, match=f"this encoder has {tokens}"):
        check_tokens(tokens)


def test_the_flash_kernels_multiply_float32_as_such() -> None:
    found = json.loads(run_module("tests.tpu.kernels").splitlines()[-1])
    assert found == {"torch.float32": [True] * 3, "torch.bfloat16": [False] * 3}

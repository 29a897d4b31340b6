"""Each token's share of a logit is exact, and attention is what the attentive head really mixes by."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from octjob.errors import SpecError
from octjob.models.heads import AttentiveHead, build_head
from octjob.models.pooling import pool_tokens
from octjob.models.relevance import contrast, contributions


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["mean", "max"]), st.booleans())
def test_the_parts_sum_to_the_logit(seed: int, method: str, ties: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokens_TE = torch.randn(12, 6, generator=generator, dtype=torch.float64)
    if ties:
        tokens_TE = tokens_TE.round()
    weight_E, shift_E = (torch.randn(6, generator=generator, dtype=torch.float64) for _ in range(2))
    scale_E = torch.rand(6, generator=generator, dtype=torch.float64) + 0.1
    parts_T = contributions(tokens_TE, weight_E, method, shift_E, scale_E)
    logit = weight_E @ ((pool_tokens(tokens_TE, method) - shift_E) / scale_E)
    assert parts_T.shape == (12,)
    torch.testing.assert_close(parts_T.sum(), logit, rtol=1e-12, atol=1e-12)


def test_a_token_that_alone_has_a_feature_has_all_of_it() -> None:
    tokens_TE = torch.zeros(4, 2)
    tokens_TE[2] = torch.tensor([3.0, 0.0])
    zero, one = torch.zeros(2), torch.ones(2)
    for method, expected in (("mean", 0.75), ("max", 3.0)):
        parts_T = contributions(tokens_TE, torch.tensor([1.0, 0.0]), method, zero, one)
        assert parts_T.tolist() == [0, 0, expected, 0]
    with pytest.raises(SpecError, match="attentive"):
        contributions(tokens_TE, one, "attentive", zero, one)


def test_what_all_classes_have_in_common_is_no_part_of_a_contrast() -> None:
    weight_KE = torch.randn(3, 5)
    torch.testing.assert_close(contrast(weight_KE, 1), contrast(weight_KE + torch.randn(5), 1))


def test_attention_is_what_the_head_mixes_by() -> None:
    head = build_head("attentive", 8, 3, seed=0, num_heads=1)
    assert isinstance(head, AttentiveHead)
    head.eval()
    tokens_BTE = torch.randn(2, 7, 8)
    attention_BT = head.attention(tokens_BTE)
    torch.testing.assert_close(attention_BT.sum(dim=1), torch.ones(2))
    value_BTE = head.to_kv(head.norm_tokens(tokens_BTE))[..., 8:]
    x_BE = (head.query + head.proj((attention_BT[..., None] * value_BTE).sum(dim=1, keepdim=True))).squeeze(1)
    torch.testing.assert_close(head.fc(head.norm(x_BE)), head(tokens_BTE))

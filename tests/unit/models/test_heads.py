from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from octjob.errors import SpecError
from octjob.models.heads import AttentiveHead, LinearHead, build_head

HEADS: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("linear", {}, (6, 32)),
    ("mlp", {"hidden": 16}, (6, 32)),
    ("attentive", {"num_heads": 4}, (6, 10, 32)),
    ("attentive", {"num_heads": 4, "hidden": 16}, (6, 10, 32)),
]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Tiny tensors on busy cores: more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _input(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("kind", "options", "shape"), HEADS)
def test_logits_have_one_row_per_sample_and_depend_on_that_sample_alone(kind, options, shape):
    head = build_head(kind, 32, 4, seed=0, **options).eval()
    x = _input(shape)
    logits_BK = head(x)

    assert logits_BK.shape == (6, 4)
    torch.testing.assert_close(head(x[2:3]), logits_BK[2:3], atol=1e-6, rtol=1e-5)
    assert not torch.allclose(logits_BK[0], logits_BK[1])


@pytest.mark.parametrize(("kind", "options", "shape"), HEADS)
def test_same_seed_same_head_and_the_global_state_is_left_alone(kind, options, shape):
    before = torch.random.get_rng_state()
    first, again, other = (build_head(kind, 32, 4, seed=s, **options).eval() for s in (3, 3, 4))

    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first(_input(shape)), again(_input(shape)))
    assert not torch.equal(first(_input(shape)), other(_input(shape)))


@pytest.mark.parametrize(("kind", "options", "shape"), HEADS)
def test_every_parameter_is_used_and_the_head_can_overfit(kind, options, shape):
    head = build_head(kind, 32, 4, seed=0, **options)
    x, labels_B = _input(shape), torch.tensor([0, 1, 2, 3, 0, 1])
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2, weight_decay=0)
    start = {name: parameter.detach().clone() for name, parameter in head.named_parameters()}
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(x), labels_B).backward()
        optimizer.step()

    assert head(x).argmax(1).tolist() == labels_B.tolist()
    unmoved = [name for name, parameter in head.named_parameters() if torch.equal(parameter, start[name])]
    assert unmoved == []


def test_attentive_head_ignores_the_order_of_tokens_but_not_their_content():
    head = build_head("attentive", 32, 4, num_heads=4, seed=0).eval()
    tokens_BTE = _input((2, 10, 32))
    shuffled_BTE = tokens_BTE[:, torch.randperm(10, generator=torch.Generator().manual_seed(1))]
    changed_BTE = tokens_BTE.clone()
    changed_BTE[:, 3] += 1 + torch.arange(32)

    torch.testing.assert_close(head(shuffled_BTE), head(tokens_BTE), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(head(changed_BTE), head(tokens_BTE), atol=1e-4)


def test_attention_agrees_with_torchs_own_multihead_attention():
    head = build_head("attentive", 32, 4, num_heads=4, seed=0).eval()
    assert isinstance(head, AttentiveHead)
    reference = nn.MultiheadAttention(32, 4, batch_first=True)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.1 * _input(tuple(parameter.shape), seed=9))
        reference.in_proj_weight.copy_(torch.cat([head.to_q.weight, head.to_kv.weight]))
        reference.in_proj_bias.copy_(torch.cat([head.to_q.bias, head.to_kv.bias]))
        reference.out_proj.load_state_dict(head.proj.state_dict())
    tokens_BTE = _input((2, 10, 32))
    normed_BTE = head.norm_tokens(tokens_BTE)
    query_B1E = head.query.expand(2, 1, 32)
    mixed_B1E, _ = reference(query_B1E, normed_BTE, normed_BTE)

    expected_BK = head.fc(head.norm((query_B1E + mixed_B1E).squeeze(1)))
    torch.testing.assert_close(head(tokens_BTE), expected_BK, atol=1e-5, rtol=1e-5)


def test_dropout_acts_in_training_only():
    head = build_head("linear", 32, 4, dropout=0.5, seed=0)
    x = _input((6, 32))

    assert not torch.equal(head(x), head(x))
    head.eval()
    assert torch.equal(head(x), head(x))


def test_linear_head_at_full_size_has_the_original_parameter_count():
    head = build_head("linear", 768, 4, seed=0)

    assert isinstance(head, LinearHead)
    assert sum(p.numel() for p in head.parameters()) == 3076


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("linear", {"hidden": 8}, "hidden 8"),
        ("mlp", {}, "hidden 0"),
        ("mlp", {"hidden": 8, "num_heads": 2}, "no effect"),
        ("attentive", {"num_heads": 5}, "5 attention heads"),
        ("linear", {"dropout": 1.0}, "dropout 1.0"),
        ("forest", {}, "forest"),
    ],
)
def test_heads_that_make_no_sense_are_refused(kind, options, message):
    with pytest.raises(SpecError, match=message):
        build_head(kind, 32, 4, seed=0, **options)

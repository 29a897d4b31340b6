"""Ways to attend and to rematerialise: other arithmetic, the same numbers and gradients."""

from __future__ import annotations

import copy
import subprocess
import sys
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from octjob.errors import SpecError
from octjob.models.arrange import Arrangement, arrange
from octjob.models.attention import query_blocks, sdpa
from octjob.models.choice import choose_attention
from octjob.models.encoder import Encoder3D, init_encoder
from octjob.models.needs import main_work
from octjob.models.recompute import Recompute
from octjob.models.shape import ORIGINAL_GEOMETRY, EncoderGeometry
from octjob.spec.experiment import Experiment

SMALL = EncoderGeometry((8, 32, 32), (4, 8, 8), embed_dim=48, depth=2, num_heads=3)
OFF_BLOCK = EncoderGeometry((64, 384, 368), (4, 16, 16), embed_dim=768, depth=12, num_heads=12)

ODD_BLOCKS = EncoderGeometry((64, 384, 320), (4, 16, 16), embed_dim=768, depth=12, num_heads=12)
assert (ODD_BLOCKS.num_tokens % 512, ODD_BLOCKS.num_tokens % 1024) == (0, 512)


def finetuning(**train: object) -> Experiment:
    return Experiment.model_validate({"model": {"freeze_encoder": False}, "train": train})


@pytest.mark.parametrize("size", [1, 5, 16, 17, 100])
def test_attention_over_query_blocks_is_sdpa(size: int) -> None:
    q, k, v = torch.randn(3, 2, 4, 17, 8, dtype=torch.float64).requires_grad_().unbind(0)
    expected, ours = sdpa(q, k, v), query_blocks(Recompute(), size)(q, k, v)
    torch.testing.assert_close(ours, expected)
    weight = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad((ours * weight).sum(), (q, k, v)),
        torch.autograd.grad((expected * weight).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def gradients(encoder: Encoder3D, x_BCDHW: Tensor, bf16: bool = False) -> dict[str, Tensor]:
    encoder.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        tokens_BNE = encoder(x_BCDHW)
    tokens_BNE.float().pow(3).mean().backward()
    return {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("attention", ["sdpa", "blocks"])
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("trains", ["all", "last block", "nothing"])
def test_rematerialised_gradients_are_those_without(attention: str, bf16: bool, trains: str) -> None:
    x_BCDHW = torch.randn(2, 1, *SMALL.volume_size)
    plain = init_encoder(SMALL, 0)
    if trains != "all":
        plain.requires_grad_(False)
    if trains == "last block":
        plain.blocks[-1].mlp.requires_grad_(True)
    arrange(plain, finetuning(), "torch")
    remat = copy.deepcopy(plain)
    config = finetuning(remat=True).model_dump(mode="json")
    config["model"]["attention"] = attention
    assert arrange(remat, Experiment.model_validate(config), "torch") == Arrangement(attention, True)
    if trains == "nothing":
        torch.testing.assert_close(plain(x_BCDHW), remat(x_BCDHW))
        return
    ours, expected = gradients(remat, x_BCDHW, bf16), gradients(plain, x_BCDHW, bf16)
    assert ours.keys() == expected.keys()
    for name in ours:
        if attention == "sdpa":  # recomputed by the same operations: not one bit differs
            assert torch.equal(ours[name], expected[name]), name
        else:
            scale = float(expected[name].abs().max())
            torch.testing.assert_close(
                ours[name], expected[name], rtol=0, atol=scale * (5e-2 if bf16 else 1e-5)
            )


def test_a_rematerialised_block_keeps_its_input_only() -> None:
    """The hidden layer, four times as wide, is gone after the forward pass and there again in the backward pass."""
    seen: list[weakref.ref[Tensor]] = []
    linear = nn.Linear(4, 400)

    def run(x_BE: Tensor) -> Tensor:
        hidden = F.gelu(linear(x_BE))
        seen.append(weakref.ref(hidden))
        return hidden.sum()

    kept = run(torch.randn(2, 4))
    out = Recompute()(run, torch.randn(2, 4, requires_grad=True), parameters=tuple(linear.parameters()))
    assert kept.grad_fn is not None
    assert seen[1]() is None
    out.backward()
    assert len(seen) == 3
    assert linear.weight.grad is not None


def test_the_barrier_sees_inputs_and_gradient_before_the_second_computation() -> None:
    events: list[str] = []

    def run(x: Tensor) -> Tensor:
        events.append("run")
        return x * 2

    x = torch.ones(3, requires_grad=True)
    Recompute(lambda tensors: events.append(f"barrier {len(tensors)}"))(run, x).sum().backward()
    assert events == ["run", "barrier 2", "run"]
    assert x.grad is not None


CHOICES: list[tuple[str, str, EncoderGeometry, str]] = [
    ("auto", "torch", ORIGINAL_GEOMETRY, "sdpa"),
    ("auto", "xla", ORIGINAL_GEOMETRY, "blocks"),
    ("auto", "tpu", ORIGINAL_GEOMETRY, "flash"),
    ("auto", "tpu", OFF_BLOCK, "blocks"),
    ("auto", "tpu", SMALL, "sdpa"),
    ("auto", "xla", SMALL, "sdpa"),
    ("auto", "tpu", ODD_BLOCKS, "blocks"),
    ("blocks", "torch", SMALL, "blocks"),
    ("sdpa", "tpu", ORIGINAL_GEOMETRY, "sdpa"),
    ("flash", "tpu", ORIGINAL_GEOMETRY, "flash"),
]


@pytest.mark.parametrize(("wanted", "backend", "geometry", "chosen"), CHOICES)
def test_choice(wanted, backend, geometry, chosen) -> None:
    assert choose_attention(wanted, backend, geometry) == chosen


@pytest.mark.parametrize(
    ("backend", "geometry", "message"),
    [
        ("torch", ORIGINAL_GEOMETRY, "kernel for TPUs"),
        ("tpu", OFF_BLOCK, "multiple of 1024, this encoder has 8832"),
    ],
)
def test_flash_where_it_would_fail_or_lie(backend, geometry, message) -> None:
    with pytest.raises(SpecError, match=message):
        choose_attention("flash", backend, geometry)


def imports_after(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint('torch._dynamo' in sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def test_rematerialisation_does_not_import_torchs_compiler() -> None:
    code = (
        "import torch\nfrom octjob.models.recompute import Recompute\n"
        "Recompute()(torch.sin, torch.ones(2, requires_grad=True)).sum().backward()"
    )
    assert imports_after(code) == "False"


def test_what_is_chosen_for_a_devices_memory_is_said() -> None:
    settings = {"data": {"batch_size": 64}, **finetuning(remat=False).model_dump(include={"model", "train"})}
    experiment = Experiment.model_validate(settings)
    encoder = init_encoder(SMALL, 0)
    memory = main_work(experiment, SMALL, "torch", 2, None).peak
    assert arrange(encoder, experiment, "torch", shards=2, memory=2 * memory) == Arrangement("sdpa", False, 1)
    chosen = arrange(encoder, experiment, "torch", shards=2, memory=memory)
    assert chosen.microbatches > 1

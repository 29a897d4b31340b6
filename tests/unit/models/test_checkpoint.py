from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from doubles.vjepa3d import VJEPA3D, make_original_checkpoint, rename_state

from octjob.errors import AccessError, DataError
from octjob.models.checkpoint import LoadedEncoder, read_checkpoint
from octjob.models.encoder import init_encoder
from octjob.models.fingerprint import weights_digest
from octjob.models.shape import EncoderGeometry

URI = "gs://bucket/checkpoints/single_domain_01/best_checkpoint.pt"
NUM_KEYS = 5 + 2 * 12
CONTEXT = "context_encoder."
Payload = dict[str, Any]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Tiny tensors on busy cores: more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def original() -> tuple[VJEPA3D, Payload]:
    return make_original_checkpoint()


@pytest.fixture
def payload(original: tuple[VJEPA3D, Payload]) -> Payload:
    """A copy to spoil."""
    state = {key: tensor.clone() for key, tensor in original[1]["model_state_dict"].items()}
    return {**original[1], "model_state_dict": state}


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., LoadedEncoder]:
    def save_and_read(payload: Any, encoder: Any = "auto", **options: Any) -> LoadedEncoder:
        path = tmp_path / "checkpoint.pt"
        torch.save(payload, path)
        return read_checkpoint(path, encoder=encoder, uri=URI, **options)

    return save_and_read


@pytest.fixture
def refusal(read: Callable[..., LoadedEncoder]) -> Callable[..., str]:
    """The message of the DataError that reading must raise."""

    def read_and_catch(payload: Any, encoder: Any = "auto", **options: Any) -> str:
        with pytest.raises(DataError) as caught:
            read(payload, encoder, **options)
        assert caught.value.exit_code == 3
        assert caught.value.hint
        assert URI in caught.value.message
        return caught.value.message

    return read_and_catch


def _volume() -> torch.Tensor:
    return torch.randn(2, 1, 16, 64, 64, generator=torch.Generator().manual_seed(0))


def _encoder_part(payload: Payload, prefix: str) -> dict[str, torch.Tensor]:
    state = payload["model_state_dict"]
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}


# The file of the original pretraining


def test_original_file_loads_whole_and_computes_what_the_original_computes(original, tmp_path):
    model, payload = original
    path = tmp_path / "best_checkpoint.pt"
    torch.save(payload, path)
    loaded = read_checkpoint(path, encoder="auto", uri=URI)
    os.truncate(path, 0)  # nothing may refer to the file any more

    with torch.inference_mode():
        torch.testing.assert_close(
            loaded.encoder(_volume()), model.context_encoder(_volume()), atol=1e-5, rtol=1e-5
        )
    assert not loaded.encoder.training
    assert {p.dtype for p in loaded.encoder.parameters()} == {torch.float32}


def test_report_says_what_was_loaded_and_from_where(original, tmp_path):
    path = tmp_path / "best_checkpoint.pt"
    torch.save({**original[1], "loss": torch.tensor(0.0)}, path)
    report = read_checkpoint(path, encoder="auto", uri=URI).report

    assert report.uri == URI
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert report.size == path.stat().st_size
    assert (report.format, report.encoder_taken) == ("torch-zip", "context")
    assert (report.coverage_keys, report.coverage) == (f"{NUM_KEYS}/{NUM_KEYS}", 1.0)
    assert report.num_parameters == sum(p.numel() for p in original[0].context_encoder.parameters())
    assert report.geometry == EncoderGeometry((16, 64, 64), (4, 16, 16), 128, 2, 2, 4.0, 1)
    assert report.num_heads_source == "embed_dim // 64"
    assert (report.epoch, report.step, report.loss) == (0, 8, 0.0)
    assert report.prefixes_stripped == ["model_state_dict", "context_encoder"]
    assert report.ignored_parts == [
        "model_state_dict.predictor (9 tensors)",
        f"model_state_dict.target_encoder.encoder ({NUM_KEYS} tensors)",
        "optimizer_state_dict",
        "scheduler_state_dict",
    ]
    assert any("epoch 0" in note for note in report.notes)
    assert any("all-zero mask" in note for note in report.notes)
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["fingerprint"]["verdict"] == "trained"


def test_tensors_saved_from_a_tpu_are_read_on_the_cpu(payload, read):
    class XlaTensor:
        """Pickles as torch pickles a tensor that lives on an XLA device."""

        def __init__(self, tensor: torch.Tensor) -> None:
            self.tensor = tensor

        def __reduce__(self) -> Any:
            rebuild = torch._utils._rebuild_device_tensor_from_cpu_tensor
            return rebuild, (self.tensor, self.tensor.dtype, "xla:0", False)

    before = read(payload).report.weights_digest
    payload["model_state_dict"] = {k: XlaTensor(v) for k, v in payload["model_state_dict"].items()}

    assert read(payload).report.weights_digest == before


# Which encoder


def test_target_is_taken_when_asked_for_and_recognised_as_untrained(original, read):
    loaded = read(original[1], "target")

    with torch.inference_mode():
        expected = original[0].target_encoder(_volume())
        torch.testing.assert_close(loaded.encoder(_volume()), expected, atol=1e-5, rtol=1e-5)
    mark = loaded.report.fingerprint
    assert loaded.report.encoder_taken == "target"
    assert (mark.untrained, mark.verdict, mark.distance_to_target) == (True, "untrained", None)
    assert (
        mark.max_abs_linear_bias == mark.max_abs_layernorm_bias == mark.max_abs_layernorm_weight_minus_1 == 0
    )
    assert any("never trained" in note for note in loaded.report.notes)


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        ({"trained": False}, "untrained"),
        ({"num_steps": 3, "lr": 1e-5}, "barely trained"),
        ({"num_steps": 8, "lr": 5e-3}, "trained"),
    ],
)
def test_distance_to_its_own_initialisation_gives_the_verdict(options, verdict, read):
    model, payload = make_original_checkpoint(**options)
    report = read(payload).report
    mark = report.fingerprint
    flat = [
        torch.cat([p.detach().double().flatten() for p in module.parameters()])
        for module in (model.context_encoder, model.target_encoder)
    ]

    assert mark.verdict == verdict
    assert mark.untrained == (verdict == "untrained")
    assert any("initialisation" in note for note in report.notes)
    assert not any("itself trained" in note for note in report.notes)
    assert mark.distance_to_target == pytest.approx(float((flat[0] - flat[1]).norm() / flat[1].norm()))


def test_trained_target_is_no_initialisation_to_measure_against(payload, read):
    payload["model_state_dict"]["target_encoder.encoder.norm.bias"] += 0.1
    report = read(payload).report

    assert report.fingerprint.verdict == "unknown"
    assert report.fingerprint.distance_to_target is not None
    assert any("itself trained" in note for note in report.notes)
    assert not any("never updated" in note for note in read(payload, "target").report.notes)


def test_official_layout_takes_the_ema_target_first(payload, read):
    official = {
        part: {f"module.backbone.{key}": tensor for key, tensor in _encoder_part(payload, prefix).items()}
        for part, prefix in (("encoder", CONTEXT), ("target_encoder", "target_encoder.encoder."))
    }
    official["predictor"] = {"module.backbone.norm.weight": torch.ones(3)}
    official = {**official, "epoch": 3, "config": {"image_size": [16, 64, 64]}}
    auto, context, target = (read(official, choice) for choice in ("auto", "context", "target"))

    assert auto.report.encoder_taken == "target"
    assert auto.report.prefixes_stripped == ["target_encoder", "module", "backbone"]
    assert auto.report.weights_digest == target.report.weights_digest
    assert context.report.weights_digest == weights_digest(_encoder_part(payload, CONTEXT))
    assert auto.report.epoch == 3


def test_single_encoder_is_taken_by_auto_but_is_neither_context_nor_target(payload, read, refusal):
    bare = _encoder_part(payload, CONTEXT)
    options = {"volume_size": (16, 64, 64)}

    report = read(bare, **options).report
    assert (report.encoder_taken, report.fingerprint.verdict) == ("unlabelled", "unknown")
    assert "no target encoder" in refusal(bare, "target", **options)
    assert "no context encoder" in refusal(bare, "context", **options)


# Names and prefixes


@pytest.mark.parametrize(
    "rename",
    [
        lambda key: f"module.{key}",
        lambda key: f"_orig_mod.{key}",
        lambda key: f"module._orig_mod.{key}",
        lambda key: key.replace(CONTEXT, f"{CONTEXT}backbone.module."),
        lambda key: key.replace("blocks.1.", "blocks.1._orig_mod."),
    ],
)
def test_wrapper_prefixes_change_nothing(rename, payload, read):
    plain, wrapped = read(payload).report, read(rename_state(payload, rename)).report

    assert wrapped.encoder_taken == "context"
    assert wrapped.coverage_keys == f"{NUM_KEYS}/{NUM_KEYS}"
    assert wrapped.weights_digest == plain.weights_digest
    assert wrapped.fingerprint == plain.fingerprint
    assert wrapped.sha256 != plain.sha256


@pytest.mark.parametrize("container", ["state_dict", "model"])
def test_state_dict_is_found_under_other_names(container, payload, read):
    expected = read(payload).report.weights_digest
    payload[container] = payload.pop("model_state_dict")

    assert read(payload).report.weights_digest == expected


def test_renamed_key_is_named_with_the_nearest_one_in_the_file(payload, refusal):
    old, new = "blocks.0.attn.qkv.weight", "blocks.0.attn.qvk.weight"
    message = refusal(rename_state(payload, lambda key: key.replace(CONTEXT + old, CONTEXT + new)))

    assert f"1 of {NUM_KEYS} keys missing: {old} (nearest in the file: {new})" in message
    assert f"1 unexpected: {new}" in message
    assert "model_state_dict.context_encoder." in message


def test_long_lists_are_cut_with_the_count(payload, refusal):
    message = refusal(rename_state(payload, lambda key: key.replace("norm1", "ln1").replace("fc1", "lin1")))

    assert f"8 of {NUM_KEYS} keys missing" in message
    assert "(8 in all)" in message


def test_lost_last_block_is_noticed_by_the_other_encoder(payload, refusal):
    state = payload["model_state_dict"]
    payload["model_state_dict"] = {
        k: v for k, v in state.items() if not k.startswith("context_encoder.blocks.1.")
    }

    assert "differ in 12 names" in refusal(payload)


def test_keys_under_two_prefixes_are_refused(payload, refusal):
    message = refusal(
        rename_state(payload, lambda key: f"module.{key}" if key == "context_encoder.norm.bias" else key)
    )

    assert "2 different prefixes" in message
    assert "module.context_encoder." in message


def test_zero_match_names_the_prefixes_seen(payload, refusal):
    message = refusal(rename_state(payload, lambda key: f"student.{key}"))

    assert "0 of" in message
    assert "model_state_dict.student.*" in message


def test_rotary_weights_without_positions_are_another_architecture(payload, read):
    del payload["model_state_dict"]["context_encoder.pos_embed"]

    with pytest.raises(DataError, match="pos_embed") as caught:
        read(payload)
    assert "another architecture" in caught.value.hint


# Shapes, values and config


def test_wrong_shape_is_named_with_both_shapes(payload, refusal):
    payload["model_state_dict"]["context_encoder.blocks.1.mlp.fc2.weight"] = torch.zeros(128, 500)
    message = refusal(payload)

    assert "blocks.1.mlp.fc2.weight is (128, 500), expected (128, 512)" in message


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(bad, payload, refusal):
    payload["model_state_dict"]["context_encoder.blocks.1.attn.proj.weight"][3, 4] = bad

    assert "blocks.1.attn.proj.weight (1 of 16384 values)" in refusal(payload)


def test_integer_weights_are_refused(payload, refusal):
    payload["model_state_dict"]["context_encoder.norm.weight"] = torch.ones(128, dtype=torch.int8)

    assert "torch.int8" in refusal(payload)


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ({"image_size": [16, 64, 128]}, ["image_size (16, 64, 128)", "64 tokens"]),
        ({"image_size": None, "img_size": [16, 128, 64]}, ["img_size (16, 128, 64)", "64 tokens"]),
        ({"img_size": [16, 32, 128]}, ["image_size (16, 64, 64)", "img_size (16, 32, 128)"]),
        ({"patch_size": [4, 8, 8]}, ["patch_size (4, 8, 8)", "(4, 16, 16)"]),
        ({"depth": 12}, ["depth 12", "2"]),
        ({"embed_dim": 768}, ["embed_dim 768", "128"]),
        ({"num_heads": 3}, ["config gives 3"]),
        ({"image_size": 64}, ["image_size is 64"]),
        ({"image_size": None}, ["64 tokens", "img_size"]),
    ],
)
def test_config_that_contradicts_the_tensors_is_refused(config, parts, refusal):
    message = refusal(make_original_checkpoint(trained=False, config=config)[1])

    for part in parts:
        assert part in message


@pytest.mark.parametrize("key", ["image_size", "img_size"])
def test_either_spelling_of_the_volume_size_decides_the_grid(key, read):
    size = {"image_size": None, key: [8, 64, 128]}
    _, payload = make_original_checkpoint(trained=False, config=size)

    assert read(payload).report.geometry.volume_size == (8, 64, 128)


def test_volume_size_given_overrules_a_wrong_config_and_says_so(read):
    _, payload = make_original_checkpoint(trained=False, config={"image_size": [16, 96, 96]})
    report = read(payload, volume_size=(16, 64, 64)).report

    assert report.geometry.volume_size == (16, 64, 64)
    assert any("overrules config image_size (16, 96, 96)" in note for note in report.notes)


def test_heads_come_from_the_config_or_the_argument_and_change_the_encoders_digest(original, payload, read):
    derived = read(payload).report
    given = read(payload, num_heads=4).report
    _, other = make_original_checkpoint(num_heads=4, config={"num_heads": 4})
    stored = read(other).report

    assert (given.geometry.num_heads, given.num_heads_source) == (4, "argument")
    assert (stored.geometry.num_heads, stored.num_heads_source) == (4, "config")
    assert given.weights_digest == derived.weights_digest
    assert given.encoder_digest != derived.encoder_digest


def test_original_size_is_assumed_when_the_tokens_fit_it(read):
    encoder = init_encoder(EncoderGeometry((64, 384, 384), (4, 16, 16), 64, 1, 1), seed=0)
    report = read(encoder.state_dict()).report

    assert report.geometry == encoder.geometry
    assert any("fit the original" in note for note in report.notes)


def test_config_interpolations_are_not_resolved(monkeypatch, refusal):
    monkeypatch.setenv("OCTJOB_TEST_SECRET", "hunter2")
    config = {"image_size": ["${oc.env:OCTJOB_TEST_SECRET}", 64, 64]}

    assert "hunter2" not in refusal(make_original_checkpoint(trained=False, config=config)[1])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda t: t.to("meta"), "meta device"),
        (lambda t: t.to_sparse(), "sparse_coo"),
        (lambda t: torch.nested.nested_tensor([t, t[:3]]), "nested"),
        (lambda t: t[:1].expand(128), r"has shape \(128,\) but 1 values"),
    ],
)
@pytest.mark.parametrize("prefix", [CONTEXT, "target_encoder.encoder."])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_tensors_that_hold_no_values_of_their_own_are_refused(make, says, prefix, payload, refusal):
    name = f"{prefix}norm.bias"
    payload["model_state_dict"][name] = make(payload["model_state_dict"][name])

    assert re.search(says, refusal(payload))


def test_parameters_that_share_memory_are_refused(payload, refusal):
    state = payload["model_state_dict"]
    state[f"{CONTEXT}norm.bias"] = state[f"{CONTEXT}norm.weight"]

    assert "norm.bias and norm.weight share memory" in refusal(payload)


def test_a_target_that_diverged_is_nothing_to_measure_against(payload, read):
    payload["model_state_dict"]["target_encoder.encoder.norm.bias"][3] = float("nan")
    report = read(payload).report

    assert (report.fingerprint.distance_to_target, report.fingerprint.verdict) == (None, "unknown")


@pytest.mark.parametrize("odd", [torch.zeros(1, device="meta"), torch.ones(1).to_sparse(), 10**400])
def test_numbers_beside_the_weights_that_are_none_are_left_out(odd, payload, read):
    assert read({**payload, "epoch": odd, "loss": odd}).report.epoch is None


def _unfolding(width: int, depth: int) -> Payload:
    inner: Payload = {}
    for _ in range(depth):
        inner = {f"k{i}": inner for i in range(width)}
    return inner


def test_dicts_that_unfold_without_end_are_refused(payload, refusal):
    assert "more than 200000 entries" in refusal({**payload, "extra": _unfolding(1000, 4)})
    assert "config has more than 20000 entries" in refusal({**payload, "config": _unfolding(20, 8)})
    config: Payload = {}
    config["self"] = config
    assert "config has more than 20 levels" in refusal({**payload, "config": config})


# Files that are not what they seem


@pytest.mark.parametrize("member", ["data/0", "data/40", "data.pkl", "byteorder"])
def test_one_flipped_bit_is_found_and_its_member_named(member, payload, tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save(payload, path)
    with zipfile.ZipFile(path) as archive:
        content = archive.read(f"checkpoint/{member}")
    data = bytearray(path.read_bytes())
    data[data.index(content) + len(content) // 2] ^= 4
    path.write_bytes(data)

    with pytest.raises(DataError, match=f"{member}' of the zip archive is damaged: Bad CRC-32") as caught:
        read_checkpoint(path, encoder="auto", uri=URI)
    assert URI in caught.value.message


def test_a_file_saved_without_checksums_is_read(payload, read):
    expected = read(payload).report.weights_digest
    torch.serialization.set_crc32_options(False)
    try:
        assert read(payload).report.weights_digest == expected
    finally:
        torch.serialization.set_crc32_options(True)


def test_compressed_members_are_refused_before_they_swell(payload, tmp_path):
    path = tmp_path / "checkpoint.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("checkpoint/data.pkl", b"N" * 2**20)

    with pytest.raises(DataError, match=r"data.pkl' of the zip archive is compressed"):
        read_checkpoint(path, encoder="auto", uri=URI)


@pytest.mark.parametrize("name", ["bytearray", "list"])
def test_a_pickle_that_makes_up_its_size_is_refused(name, tmp_path):
    path = tmp_path / "checkpoint.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "checkpoint/data.pkl", b"\x80\x02cbuiltins\n%s\nJ\xff\xff\xff\x7f\x85R." % name.encode()
        )
        archive.writestr("checkpoint/version", "3")

    with pytest.raises(DataError, match=r"makes a bytearray|the pickle calls a type"):
        read_checkpoint(path, encoder="auto", uri=URI)


class Malicious:
    """Unpickling this in the ordinary way creates the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_malicious_pickle_runs(zipped, payload, tmp_path):
    trap, path = tmp_path / "trap", tmp_path / "checkpoint.pt"
    torch.save({**payload, "extra": Malicious(trap)}, path, _use_new_zipfile_serialization=zipped)

    with pytest.raises(DataError, match=r"posix\.mkdir") as caught:
        read_checkpoint(path, encoder="auto", uri=URI)

    assert caught.value.exit_code == 3
    assert not trap.exists()
    torch.load(path, weights_only=False)  # the trap does work
    assert trap.exists()


def test_unknown_class_in_the_pickle_is_named(payload, refusal):
    payload["args"] = zipfile.ZipInfo("x")

    assert "zipfile.ZipInfo" in refusal(payload)


def test_legacy_torch_files_are_read(payload, read, tmp_path):
    path = tmp_path / "legacy.pt"
    torch.save(payload, path, _use_new_zipfile_serialization=False)
    report = read_checkpoint(path, encoder="auto", uri=URI).report

    assert report.format == "torch-legacy"
    assert report.weights_digest == read(payload).report.weights_digest


def test_safetensors_give_the_same_digest_and_keep_their_metadata(payload, read, tmp_path):
    path = tmp_path / "cached-without-suffix"
    tensors = {f"encoder.{key}": tensor for key, tensor in _encoder_part(payload, CONTEXT).items()}
    config = json.dumps({"image_size": [16, 64, 64], "num_heads": 2})
    safetensors.torch.save_file(tensors, path, metadata={"config": config, "epoch": "7"})
    report = read_checkpoint(path, encoder="auto", uri=URI).report

    assert (report.format, report.epoch, report.num_heads_source) == ("safetensors", 7, "config")
    assert report.weights_digest == read(payload).report.weights_digest


@pytest.mark.parametrize("kind", ["torch-zip", "torch-legacy", "safetensors"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
def test_truncated_files_are_refused(kind, kept, payload, tmp_path):
    path = tmp_path / "checkpoint"
    if kind == "safetensors":
        safetensors.torch.save_file(_encoder_part(payload, CONTEXT), path)
    else:
        torch.save(payload, path, _use_new_zipfile_serialization=kind == "torch-zip")
    os.truncate(path, int(kept * path.stat().st_size))

    with pytest.raises(DataError) as caught:
        read_checkpoint(path, encoder="auto", uri=URI)
    assert "download" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "HTML"),
        (b"\n<?xml version='1.0'?><Error>AccessDenied</Error>", "HTML or XML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS"),
        (b"GIF89a not a checkpoint at all", "not a torch or safetensors"),
    ],
)
def test_files_that_are_no_checkpoint_are_named_for_what_they_are(content, message, tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)

    with pytest.raises(DataError, match=message):
        read_checkpoint(path, encoder="auto", uri=URI)


def test_zip_that_is_no_torch_file_and_payloads_without_tensors_are_refused(refusal, tmp_path):
    path = tmp_path / "archive.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")

    with pytest.raises(DataError, match="unreadable torch checkpoint"):
        read_checkpoint(path, encoder="auto", uri=URI)
    assert "holds a Tensor" in refusal(torch.zeros(3))
    assert "top-level keys: epoch" in refusal({"epoch": 1})


def test_missing_file_is_an_access_error(tmp_path):
    with pytest.raises(AccessError) as caught:
        read_checkpoint(tmp_path / "absent.pt", encoder="auto", uri=URI)
    assert caught.value.exit_code == 4


# ----------------------------------------------------------------------------------------------------------------
# Whom it saw


@pytest.mark.parametrize("place", ["beside the weights", "in the config"])
def test_whom_a_checkpoint_saw_is_read_where_it_says_so(payload: Payload, read, place: str) -> None:
    said = {"pretraining_participants": ["1001", 1002]}
    given = (
        {**payload, **said}
        if place == "beside the weights"
        else {**payload, "config": {**payload["config"], **said}}
    )
    assert read(given).pretrained_on == ("1001", "1002")
    assert read({**payload, "pretraining_participants": []}).pretrained_on == ()


def test_what_is_no_list_of_ids_says_nothing(payload: Payload, read) -> None:
    assert read(payload).pretrained_on is None
    for stored in ("1001", {"1001": 1}, [["1001"]], [True], ["1"] * 20_001):
        assert read({**payload, "pretraining_participants": stored}).pretrained_on is None

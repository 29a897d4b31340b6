"""Encoders of others: the tokens are their library's own, and what is wrong with one is said once and by name."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from doubles.backbones import TIMM, TIMM_MODEL, save_timm, save_vjepa2
from doubles.packages import package
from safetensors.torch import load_file, save_file

from octjob.errors import AccessError, DataError, OctjobError, SpecError
from octjob.features.encoders import read_encoder
from octjob.models.backbones import Normalisation, TokenGeometry
from octjob.models.checkpoint import LoadedEncoder
from octjob.models.pooling import pool, pooling_for

GREY = torch.randn(2, 1, 8, 16, 16, generator=torch.Generator().manual_seed(1))
FROZEN = """
from octjob.models.backbones import Backbone, TokenGeometry

def load(path, *, factor=1.0):
    def encode(x_BCDHW):
        return factor * x_BCDHW.mean((-1, -2)).transpose(1, 2).float()
    return Backbone(encode, TokenGeometry((4, 8, 8), (4, 1, 1), 1))
"""


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def vjepa2(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("vjepa2")
    return folder, save_vjepa2(folder)


@pytest.fixture(scope="module")
def timm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    path = tmp_path_factory.mktemp("timm") / "weights.pth"
    return path, save_timm(path)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages, as PYTHONPATH names one."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    for name in ("ours", "theirs"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return folder


def refusal(kind: type[OctjobError], path: Path | str, backbone: str, **options: Any) -> OctjobError:
    with pytest.raises(kind) as caught:
        read_encoder(str(path), backbone=backbone, options=options)
    return caught.value


def from_zero_to_one(x_BCDHW: torch.Tensor) -> torch.Tensor:
    low, high = x_BCDHW.amin((1, 2, 3, 4), keepdim=True), x_BCDHW.amax((1, 2, 3, 4), keepdim=True)
    return (x_BCDHW - low) / (high - low)


# What a volume is to a backbone


def test_a_volume_is_normalised_by_its_own_range_whatever_its_profile_scaled_it_by() -> None:
    normalise = Normalisation(mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))
    x_BCDHW = normalise(GREY)
    assert x_BCDHW.shape == (2, 3, 8, 16, 16)
    for channel, (mean, std) in enumerate(zip(normalise.mean, normalise.std, strict=True)):
        torch.testing.assert_close(x_BCDHW[:, channel], (from_zero_to_one(GREY)[:, 0] - mean) / std)
    torch.testing.assert_close(normalise(3.0 * GREY + 7.0), x_BCDHW, atol=1e-4, rtol=0)
    assert torch.isfinite(normalise(torch.zeros(1, 1, 2, 2, 2))).all()


def test_a_normalisation_that_is_none_is_refused() -> None:
    for mean, std in (((), ()), ((0.5,), (0.1, 0.1)), ((0.5,), (0.0,))):
        with pytest.raises(SpecError, match="normalisation"):
            Normalisation(mean, std)


@pytest.mark.parametrize(
    "wrong", [((4, 8, 8), (5, 1, 1), 3), ((4, 8, 0), (1, 1, 1), 3), ((4, 8, 8), (1, 1, 1), 0)]
)
def test_a_geometry_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(DataError, match="token geometry"):
        TokenGeometry(*wrong)


# V-JEPA 2


def test_vjepa2_tokens_are_those_of_transformers(vjepa2: tuple[Path, Any]) -> None:
    folder, model = vjepa2
    encoder = read_encoder(str(folder), backbone="vjepa2").encoder
    mean, std = (torch.tensor(one).view(3, 1, 1, 1) for one in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    frames_BDCHW = ((from_zero_to_one(GREY) - mean) / std).transpose(1, 2)
    with torch.no_grad():
        expected_BNE = model(frames_BDCHW, skip_predictor=True).last_hidden_state
        torch.testing.assert_close(encoder(GREY), expected_BNE, atol=1e-5, rtol=1e-5)
    assert encoder.geometry == TokenGeometry((8, 16, 16), (4, 2, 2), 24)


def test_vjepa2_follows_the_preprocessor_that_lies_beside_it(
    vjepa2: tuple[Path, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(vjepa2[0], folder)
    said = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (folder / "video_preprocessor_config.json").write_text(json.dumps(said))
    loaded, plain = (read_encoder(str(one), backbone="vjepa2") for one in (folder, vjepa2[0]))
    assert loaded.encoder.normalise == Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert any("ImageNet's were taken" in note for note in plain.report.notes)
    assert not any("ImageNet" in note for note in loaded.report.notes)
    assert loaded.report.weights_digest == plain.report.weights_digest
    assert loaded.report.encoder_digest != plain.report.encoder_digest


def test_vjepa2_reads_shards_classifiers_and_other_numbers_of_frames(
    vjepa2: tuple[Path, Any], tmp_path: Path
) -> None:
    plain = read_encoder(str(vjepa2[0]), backbone="vjepa2")
    vjepa2[1].save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    sharded = read_encoder(str(tmp_path / "shards"), backbone="vjepa2")
    shutil.copytree(vjepa2[0], tmp_path / "classifier")
    tensors = load_file(vjepa2[0] / "model.safetensors")
    tensors = {f"vjepa2.{key}": x for key, x in tensors.items()} | {"classifier.bias": torch.zeros(2)}
    save_file(tensors, tmp_path / "classifier/model.safetensors")
    wrapped = read_encoder(str(tmp_path / "classifier"), backbone="vjepa2", options={"frames": 4})
    assert sharded.report.weights_digest == wrapped.report.weights_digest == plain.report.weights_digest
    assert wrapped.report.ignored_parts == ["classifier (1 tensors)", "predictor (23 tensors)"]
    assert wrapped.encoder.geometry == TokenGeometry((4, 16, 16), (2, 2, 2), 24)
    assert wrapped.encoder(GREY[:, :, :4]).shape == (2, 8, 24)


def test_vjepa2_says_what_is_missing_left_over_or_of_another_model(
    vjepa2: tuple[Path, Any], tmp_path: Path
) -> None:
    tensors = load_file(vjepa2[0] / "model.safetensors")
    shutil.copytree(vjepa2[0], tmp_path / "m")
    weights, config = tmp_path / "m/model.safetensors", tmp_path / "m/config.json"
    layer = "encoder.layer.1.norm1.weight"
    save_file({key: x for key, x in tensors.items() if key != layer}, weights)
    assert (
        "1 of 36 parameters are missing (layer.1.norm1.weight)"
        in refusal(DataError, weights.parent, "vjepa2").message
    )
    save_file(tensors | {"encoder.layer.2.norm1.weight": torch.ones(24)}, weights)
    assert "1 are left over (layer.2.norm1.weight)" in refusal(DataError, weights.parent, "vjepa2").message
    save_file(tensors | {layer: torch.ones(25)}, weights)
    assert (
        "layer.1.norm1.weight is (25,), expected (24,)"
        in refusal(DataError, weights.parent, "vjepa2").message
    )
    save_file(tensors | {layer: torch.full((24,), torch.nan)}, weights)
    assert "1 parameters with NaN" in refusal(DataError, weights.parent, "vjepa2").message
    assert "expected a multiple of 2" in refusal(SpecError, vjepa2[0], "vjepa2", frames=3).message
    config.write_text(json.dumps({"model_type": "vit"}))
    assert "model_type is 'vit', not 'vjepa2'" in refusal(DataError, config.parent, "vjepa2").message
    assert "no folder with a config.json" in refusal(DataError, weights, "vjepa2").message
    assert "no checkpoint file or folder" in refusal(AccessError, tmp_path / "gone", "vjepa2").message


# timm


def test_timm_tokens_are_those_of_timm_a_bscan_each(timm: tuple[Path, Any]) -> None:
    path, model = timm
    encoder = read_encoder(str(path), backbone="timm", options=TIMM).encoder
    x_BCDHW = torch.randn(2, 1, 4, 32, 32, generator=torch.Generator().manual_seed(2))
    picture_BCDHW = ((from_zero_to_one(x_BCDHW) - 0.5) / 0.5).expand(2, 3, 4, 32, 32)
    with torch.no_grad():
        tokens_BNE = encoder(x_BCDHW)
        for number in range(4):
            torch.testing.assert_close(
                tokens_BNE[:, number], model(picture_BCDHW[:, :, number]), atol=1e-5, rtol=1e-5
            )
    geometry = encoder.geometry
    assert geometry == TokenGeometry((4, 32, 32), (4, 1, 1), 64)
    # Attention goes over all B-scans, unaveraged.
    torch.testing.assert_close(pool(tokens_BNE, pooling_for("attentive", geometry), geometry), tokens_BNE)
    assert pooling_for("attentive", TokenGeometry((64, 8, 8), (64, 1, 1), 8)) == "grid-64x1x1"
    assert pooling_for("attentive", TokenGeometry((64, 256, 256), (32, 16, 16), 8)) == "grid-4x6x6"


def test_timm_reads_what_pretraining_scripts_leave(timm: tuple[Path, Any], tmp_path: Path) -> None:
    """A masked autoencoder's file: weights under `model`, decoder and mask token, a command line beside them."""
    state = torch.load(timm[0], weights_only=True)
    encoder = {key: x for key, x in state.items() if not key.startswith("head")}
    decoder = {"decoder_embed.weight": torch.zeros(2, 2), "mask_token": torch.zeros(1, 1, 2)}
    path = tmp_path / "mae.pth"
    torch.save({"model": encoder | decoder, "args": argparse.Namespace(lr=1e-3), "epoch": 3}, path)
    loaded, plain = (read_encoder(str(one), backbone="timm", options=TIMM) for one in (path, timm[0]))
    assert loaded.report.weights_digest == plain.report.weights_digest
    assert loaded.report.ignored_parts == ["decoder_embed (1 tensors)", "mask_token (1 tensors)"]
    assert plain.report.ignored_parts == ["head (2 tensors)"]


def test_timm_reads_its_own_folders(timm: tuple[Path, Any], tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    folder.mkdir()
    save_file(torch.load(timm[0], weights_only=True), folder / "model.safetensors")
    cfg = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_size": [3, 32, 32]}
    (folder / "config.json").write_text(json.dumps({"architecture": TIMM_MODEL, "pretrained_cfg": cfg}))
    loaded = read_encoder(str(folder), backbone="timm", options={"image_size": 32, "bscans": 2})
    assert loaded.encoder.normalise == Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    (folder / "other.safetensors").write_bytes(b"")
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    assert "a folder of one file of weights was expected" in refusal(DataError, folder, "timm").message


def test_timm_notes_what_it_resamples_and_says_what_does_not_fit(
    timm: tuple[Path, Any], tmp_path: Path
) -> None:
    path = timm[0]
    larger = read_encoder(str(path), backbone="timm", options={**TIMM, "image_size": 48})
    assert larger.report.notes == ["timm resampled pos_embed from (1, 5, 64) to (1, 10, 64)."]
    state = torch.load(path, weights_only=True)
    torch.save(state | {"dino_head.w": torch.zeros(2)}, tmp_path / "dino.pth")
    assert (
        "1 are left over (dino_head.w)" in refusal(DataError, tmp_path / "dino.pth", "timm", **TIMM).message
    )
    named = read_encoder(
        str(tmp_path / "dino.pth"), backbone="timm", options={**TIMM, "ignore": ["dino_head."]}
    )
    assert "dino_head (1 tensors)" in named.report.ignored_parts
    wrong = refusal(DataError, path, "timm", **TIMM, arguments={"mlp_ratio": 2})
    assert "of the wrong shape" in wrong.message
    assert refusal(SpecError, path, "timm").message.startswith("options.model: backbone timm needs the name")
    unknown = refusal(SpecError, path, "timm", model="vit_tiny_patch17")
    assert "has no model vit_tiny_patch17" in unknown.message
    assert "vit_tiny_patch16_224" in unknown.hint
    assert refusal(SpecError, path, "timm", modell="x").message == (
        "options.modell: backbone timm takes no such option"
    )


# The report, and what the cache knows an encoder by


def test_untrained_weights_are_told_and_others_are_unknown(timm: tuple[Path, Any], tmp_path: Path) -> None:
    import timm as library

    fresh = tmp_path / "fresh.pth"
    torch.save(library.create_model(TIMM_MODEL, img_size=32).state_dict(), fresh)
    marks = [
        read_encoder(str(one), backbone="timm", options=TIMM).report.fingerprint for one in (fresh, timm[0])
    ]
    assert [mark.verdict for mark in marks] == ["untrained", "unknown"]
    assert marks[0].untrained
    assert marks[0].max_abs_linear_bias == 0 < (marks[1].max_abs_linear_bias or 0)


def test_all_that_changes_a_feature_changes_its_address(
    timm: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest(path: Path = timm[0], **changes: Any) -> str:
        return read_encoder(str(path), backbone="timm", options={**TIMM, **changes}).report.encoder_digest

    other = tmp_path / "other.pth"
    state = torch.load(timm[0], weights_only=True)
    torch.save(state | {"norm.bias": state["norm.bias"] + 1e-3}, other)
    pooled = digest(global_pool="avg", arguments={"fc_norm": False})
    found = [digest(), digest(other), digest(mean=[0.1] * 3), digest(bscans=5), pooled]
    monkeypatch.setattr("importlib.metadata.version", lambda name: "9.9")
    found.append(digest())
    assert len(set(found)) == len(found)
    monkeypatch.undo()
    assert digest() == found[0]


def test_an_edit_of_a_plugin_changes_the_address_of_its_features(site: Path, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"weights")
    package(site, "ours", FROZEN, "ours = ours:load")
    before = read_encoder(str(tmp_path / "w"), backbone="ours").report
    assert before.backbone is not None
    assert before.backbone.distribution == "ours 1.0"
    assert before.backbone.libraries == {"ours": "1.0"}
    (site / "ours.py").write_text(FROZEN + "\n# edited\n")
    after = read_encoder(str(tmp_path / "w"), backbone="ours").report
    assert before.encoder_digest != after.encoder_digest


# Packages of others


def test_a_backbone_that_is_no_module_encodes_and_cannot_be_tuned(site: Path, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"weights")
    package(site, "ours", FROZEN, "ours = ours:load")
    loaded: LoadedEncoder = read_encoder(str(tmp_path / "w"), backbone="ours", options={"factor": 2.0})
    x_BCDHW = torch.randn(3, 1, 4, 8, 8)
    torch.testing.assert_close(loaded.encoder(x_BCDHW)[..., 0], 2 * x_BCDHW.mean((-1, -2))[:, 0])
    report = loaded.report
    assert report.num_parameters == 0
    assert report.backbone is not None
    assert not report.backbone.trainable
    assert report.backbone.normalisation is None
    assert report.fingerprint.verdict == "unknown"
    assert report.fingerprint.max_abs_linear_bias is None
    assert report.weights_digest == report.sha256
    with pytest.raises(DataError, match="it takes"):
        loaded.encoder(torch.zeros(1, 1, 5, 8, 8))
    json.dumps(report.to_dict())


@pytest.mark.parametrize(
    ("module", "entry", "message"),
    [
        (
            "import nothing_of_the_kind",
            "ours:load",
            "backbone ours of ours 1.0: ours:load cannot be imported: ModuleNotFoundError: No module named"
            " 'nothing_of_the_kind'",
        ),
        ("1 / 0", "ours:load", "cannot be imported: ZeroDivisionError: division by zero"),
        ("", "ours:load", "cannot be imported: AttributeError: module 'ours' has no attribute 'load'"),
        ("load = 3", "ours:load", "backbone ours of ours 1.0: ours:load is no function"),
        (
            "def load(path): return 3",
            "ours:load",
            "ours:load returned a int, not an octjob.models.backbones.Backbone",
        ),
    ],
)
def test_a_package_that_is_broken_is_named(
    site: Path, tmp_path: Path, module: str, entry: str, message: str
) -> None:
    (tmp_path / "w").write_bytes(b"weights")
    package(site, "ours", module, f"ours = {entry}")
    assert message in refusal(SpecError, tmp_path / "w", "ours").message


def test_a_file_that_a_package_cannot_load_is_named_with_it(site: Path, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"weights")
    package(site, "ours", "def load(path, *, size): raise ValueError('no such\\nthing')", "ours = ours:load")
    error = refusal(DataError, tmp_path / "w", "ours", size=3)
    assert error.message == (
        f"{tmp_path}/w: backbone ours of ours 1.0 cannot load it: ValueError: no such thing"
    )
    assert refusal(SpecError, tmp_path / "w", "ours").message == "options.size: backbone ours needs it"


def test_tokens_of_another_shape_than_promised_are_refused(site: Path, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"weights")
    package(site, "ours", FROZEN.replace("(4, 1, 1), 1", "(4, 1, 1), 2"), "ours = ours:load")
    loaded = read_encoder(str(tmp_path / "w"), backbone="ours")
    with pytest.raises(DataError, match=r"made tokens of shape \(1, 4, 1\), but its geometry promises"):
        loaded.encoder(torch.zeros(1, 1, 4, 8, 8))


def test_two_packages_of_one_name_are_both_named(site: Path, tmp_path: Path) -> None:
    package(site, "ours", FROZEN, "mine = ours:load")
    package(site, "theirs", FROZEN, "mine = theirs:load")
    message = refusal(SpecError, tmp_path, "mine").message
    assert message.startswith("backbone mine is registered by ")
    assert "ours 1.0" in message
    assert "theirs 1.0" in message


@pytest.mark.parametrize(("backbone", "package_name"), [("timm", "timm"), ("vjepa2", "transformers")])
def test_without_the_extra_the_line_that_installs_it_is_said(
    backbone: str, package_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("octjob.extras.is_installed", lambda name: name != package_name)
    (tmp_path / "w").write_bytes(b"weights")
    error = refusal(SpecError, tmp_path / "w", backbone)
    assert error.message == f"backbone {backbone} needs {package_name}, which is not installed"
    assert error.hint == "pip install 'octjob[backbones]'"


def test_without_a_network_the_hub_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SpecError, match="what the hub has is read by a backbone, and none is named"):
        read_encoder("hf://some-org/some-name")
    error = refusal(AccessError, "hf://some-org/some-name", "vjepa2")
    assert error.message.startswith("hf://some-org/some-name: not to be had from the hub: ")
    assert "hf download some-org/some-name --local-dir FOLDER" in error.hint

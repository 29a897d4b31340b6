"""`octjob checkpoint`: look into pretrained weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from octjob.models.report import LoadReport


@click.group()
def checkpoint() -> None:
    """Look into pretrained weights.

    \b
    Example:
      octjob checkpoint inspect gs://bucket/vjepa2/best_checkpoint.pt
    """


@checkpoint.command()
@click.argument("uri")
@click.option(
    "--encoder", type=click.Choice(["auto", "context", "target"]), default="auto", show_default=True
)
@click.option(
    "--num-heads", type=click.IntRange(1), help="Attention heads, where the file does not say them."
)
@click.option(
    "--volume-size", type=int, nargs=3, metavar="D H W", help="Voxels, where the file does not say them."
)
@click.option("--backbone", help="The registered encoder of others that reads it.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="What the backbone is told.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def inspect(
    uri: str,
    encoder: Literal["auto", "context", "target"],
    num_heads: int | None,
    volume_size: tuple[int, int, int] | None,
    backbone: str | None,
    options: tuple[str, ...],
    output: str,
) -> None:
    """Load a checkpoint as a run would and report what is in it.

    Coverage, geometry, digests, the fingerprint of untrained weights, and how far the encoder has moved from its
    own initialisation. Exits 3 where the file cannot be loaded completely.

    \b
    Example:
      octjob checkpoint inspect gs://bucket/vjepa2/best_checkpoint.pt
      octjob checkpoint inspect best_checkpoint.pt --encoder target -o json
      octjob checkpoint inspect retfound.pth --backbone timm --option model=vit_large_patch16_224.mae
    """
    from octjob.cli.bars import bar
    from octjob.extras import require_trainer

    require_trainer()
    from octjob.features.encoders import check_arguments, read_encoder

    told = _told(options)
    check_arguments(backbone, told, encoder=encoder, volume_size=volume_size, num_heads=num_heads)
    with bar("downloading") as tick:
        report = read_encoder(
            uri,
            encoder=encoder,
            volume_size=volume_size,
            num_heads=num_heads,
            backbone=backbone,
            options=told,
            tick=tick,
        ).report
    if output == "json":
        click.echo(json.dumps(report.to_dict(), indent=1))
        return
    _print(report)


def _told(options: tuple[str, ...]) -> dict[str, object]:
    """Each KEY=VALUE, the value as YAML has it."""
    import yaml

    from octjob.errors import SpecError

    told: dict[str, object] = {}
    for option in options:
        key, equals, value = option.partition("=")
        try:
            told[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not key or not equals:
            raise SpecError(f"--option {option}: not KEY=VALUE", "Write --option model=vit_base_patch16_224.")
    return told


def _print(report: LoadReport) -> None:
    mark = report.fingerprint
    rows = {
        "file": f"{report.uri} ({report.size / 2**20:.1f} MiB, {report.format})",
        "sha256": report.sha256,
        "encoder": f"{report.encoder_taken}, {report.coverage_keys} parameters ({report.coverage:.0%} of elements)",
        "parameters": f"{report.num_parameters:,}",
        **_shape(report),
        "weights": report.weights_digest,
        "verdict": mark.verdict,
        "max |bias|": _number(mark.max_abs_linear_bias),
        "max |LN - 1|": _number(mark.max_abs_layernorm_weight_minus_1),
        "moved": "unknown"
        if mark.distance_to_target is None
        else f"{mark.distance_to_target:.2%} from target",
        "ignored": ", ".join(report.ignored_parts) or "nothing",
    }
    for name, value in rows.items():
        click.echo(f"{name:13}{value}")
    for note in report.notes:
        click.echo(f"note: {note}")


def _number(value: float | None) -> str:
    return "none there" if value is None else f"{value:.3g}"


def _shape(report: LoadReport) -> dict[str, str]:
    """Geometry, network and training of octjob's own encoder; of a backbone, what stands in their place."""
    from octjob.models.shape import TokenGeometry

    geometry = report.geometry
    if not isinstance(geometry, TokenGeometry):
        return {
            "geometry": f"volume {geometry.volume_size}, patch {geometry.patch_size}, {geometry.num_tokens} tokens",
            "network": f"width {geometry.embed_dim}, depth {geometry.depth}, {geometry.num_heads} heads"
            f" (heads from {report.num_heads_source})",
            "training": f"epoch {report.epoch}, step {report.step}, loss {report.loss}",
        }
    facts = report.backbone
    assert facts is not None, "a backbone's report says which"
    libraries = ", ".join(f"{name} {version}" for name, version in facts.libraries.items())
    given = facts.normalisation
    return {
        "geometry": f"volume {geometry.volume_size}, tokens {geometry.grid}, width {geometry.embed_dim}",
        "by": f"{facts.distribution}{f' ({libraries})' if libraries else ''}",
        "normalised": "by its profile alone"
        if given is None
        else f"mean {given['mean']}, std {given['std']}",
        "fine-tuning": "possible" if facts.trainable else "no: frozen only",
    }

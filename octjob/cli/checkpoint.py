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
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def inspect(
    uri: str,
    encoder: Literal["auto", "context", "target"],
    num_heads: int | None,
    volume_size: tuple[int, int, int] | None,
    output: str,
) -> None:
    """Load a checkpoint as a run would and report what is in it.

    Coverage, geometry, digests, the fingerprint of untrained weights, and how far the encoder has moved from its
    own initialisation. Exits 3 where the file cannot be loaded completely.

    \b
    Example:
      octjob checkpoint inspect gs://bucket/vjepa2/best_checkpoint.pt
      octjob checkpoint inspect best_checkpoint.pt --encoder target -o json
    """
    from octjob.cli.bars import bar
    from octjob.extras import require_trainer

    require_trainer()
    from octjob.models.checkpoint import read_checkpoint
    from octjob.storage.copy import local_copy
    from octjob.storage.temporary import temporary_folder

    with temporary_folder() as workdir, bar("downloading") as tick:
        path = local_copy(uri, workdir, tick)
        loaded = read_checkpoint(path, encoder=encoder, uri=uri, volume_size=volume_size, num_heads=num_heads)
    report = loaded.report
    if output == "json":
        click.echo(json.dumps(report.to_dict(), indent=1))
        return
    _print(report)


def _print(report: LoadReport) -> None:
    geometry, mark = report.geometry, report.fingerprint
    rows = {
        "file": f"{report.uri} ({report.size / 2**20:.1f} MiB, {report.format})",
        "sha256": report.sha256,
        "encoder": f"{report.encoder_taken}, {report.coverage_keys} parameters ({report.coverage:.0%} of elements)",
        "parameters": f"{report.num_parameters:,}",
        "geometry": f"volume {geometry.volume_size}, patch {geometry.patch_size}, {geometry.num_tokens} tokens",
        "network": f"width {geometry.embed_dim}, depth {geometry.depth}, {geometry.num_heads} heads"
        f" (heads from {report.num_heads_source})",
        "training": f"epoch {report.epoch}, step {report.step}, loss {report.loss}",
        "weights": report.weights_digest,
        "verdict": mark.verdict,
        "max |bias|": f"{mark.max_abs_linear_bias:.3g}",
        "max |LN - 1|": f"{mark.max_abs_layernorm_weight_minus_1:.3g}",
        "moved": "unknown"
        if mark.distance_to_target is None
        else f"{mark.distance_to_target:.2%} from target",
        "ignored": ", ".join(report.ignored_parts) or "nothing",
    }
    for name, value in rows.items():
        click.echo(f"{name:13}{value}")
    for note in report.notes:
        click.echo(f"note: {note}")

"""From a URI to an encoder: octjob's own from its file, others by their backbone."""

from __future__ import annotations

from collections.abc import Mapping

from octjob.errors import DataError, SpecError
from octjob.models.backbones.reading import read_backbone
from octjob.models.checkpoint import LoadedEncoder, read_checkpoint
from octjob.models.shape import Triple
from octjob.models.statedict import Choice
from octjob.models.untrained import untrained
from octjob.spec.backbone import require_backbone
from octjob.spec.run import Run
from octjob.storage.copy import local_copy, local_tree
from octjob.storage.temporary import temporary_folder
from octjob.tick import Tick


def read_encoder(
    uri: str,
    *,
    encoder: Choice = "auto",
    volume_size: Triple | None = None,
    num_heads: int | None = None,
    other_encoder: bool = False,
    backbone: str | None = None,
    options: Mapping[str, object] | None = None,
    tick: Tick | None = None,
) -> LoadedEncoder:
    """As `read_checkpoint`, or with `backbone` as `read_backbone`; `tick(done, total)` gets bytes."""
    require_backbone(uri, backbone)
    with temporary_folder() as workdir:
        if backbone is not None:
            return read_backbone(backbone, local_tree(uri, workdir, tick), uri=uri, options=options or {})
        path = local_copy(uri, workdir, tick)
        return read_checkpoint(
            path,
            encoder=encoder,
            uri=uri,
            volume_size=volume_size,
            num_heads=num_heads,
            other_encoder=other_encoder,
        )


def encoder_of(run: Run, tick: Tick | None = None) -> LoadedEncoder:
    """The encoder that a run takes: its checkpoint's, or what a control takes of that instead.

    Raises as `read_encoder`.
    """
    one = run.checkpoint
    loaded = read_encoder(
        one.uri,
        encoder=run.config.model.encoder,
        volume_size=one.volume_size,
        num_heads=one.num_heads,
        other_encoder=one.other_encoder,
        backbone=one.backbone,
        options=one.options,
        tick=tick,
    )
    return loaded if one.untrained_seed is None else untrained(loaded, one.untrained_seed)


def require_file(run: Run, loaded: LoadedEncoder) -> None:
    """Raise `DataError` for another file than the sweep asks for."""
    wanted, found = run.checkpoint.sha256, loaded.report.sha256
    if wanted is not None and found != wanted.lower():
        raise DataError(
            f"{run.checkpoint.uri}: sha256 is {found}, the sweep asks for {wanted}",
            "The file was replaced; correct the sweep's checkpoints, or restore the file.",
        )


def check_arguments(backbone: str | None, options: Mapping[str, object], **own: object) -> None:
    """Raise `SpecError` for options without a backbone, and for arguments of octjob's `own` encoder beside one."""
    if backbone is None and options:
        raise SpecError(
            f"option {next(iter(options))} has no effect without a backbone",
            "Name the backbone that it is for.",
        )
    given = [name for name, value in own.items() if value not in (None, "auto")]
    if backbone is not None and given:
        raise SpecError(
            f"{given[0]} has no effect beside backbone {backbone}, which says it itself",
            "Leave it out; what the backbone can be told goes into options.",
        )

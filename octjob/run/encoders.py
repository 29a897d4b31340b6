"""From a URI to an encoder: octjob's own from its file, others by their backbone."""

from __future__ import annotations

from collections.abc import Mapping

from octjob.errors import SpecError
from octjob.models.backbones.reading import read_backbone
from octjob.models.checkpoint import LoadedEncoder, read_checkpoint
from octjob.models.shape import Triple
from octjob.models.statedict import Choice
from octjob.spec.backbone import require_backbone
from octjob.storage.copy import local_copy, local_tree
from octjob.storage.temporary import temporary_folder
from octjob.tick import Tick


def read_encoder(
    uri: str,
    *,
    encoder: Choice = "auto",
    volume_size: Triple | None = None,
    num_heads: int | None = None,
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
        return read_checkpoint(path, encoder=encoder, uri=uri, volume_size=volume_size, num_heads=num_heads)


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

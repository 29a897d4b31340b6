"""What a run reads: its checkpoint, loaded and checked, and its cohort."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from octjob.data.cohort import Cohort, build_cohort
from octjob.data.manifest import MANIFEST_KEY
from octjob.data.volumes import VolumeReader
from octjob.errors import DataError
from octjob.models.checkpoint import LoadedEncoder, read_checkpoint
from octjob.spec.run import Run
from octjob.storage.copy import local_copy
from octjob.storage.open import open_store
from octjob.train.units import used_splits

log = logging.getLogger(__name__)

Tick = Callable[[int, int], None]


def load_encoder(run: Run, workdir: Path, tick: Tick) -> LoadedEncoder:
    """The run's encoder, checked against its config.

    Raises `DataError` where the file is not the one asked for, or does not fit `model.emb_dim` or
    `data.augment.resize`.
    """
    uri = run.checkpoint.uri
    loaded = read_checkpoint(
        local_copy(uri, workdir, tick),
        encoder=run.config.model.encoder,
        uri=uri,
        volume_size=run.checkpoint.volume_size,
        num_heads=run.checkpoint.num_heads,
    )
    report = loaded.report
    if run.checkpoint.sha256 is not None and report.sha256 != run.checkpoint.sha256.lower():
        raise DataError(
            f"{uri}: sha256 is {report.sha256}, the sweep asks for {run.checkpoint.sha256}",
            "The file was replaced; correct the sweep's checkpoints, or restore the file.",
        )
    _check_fit("model.emb_dim", run.config.model.emb_dim, report.geometry.embed_dim, uri)
    _check_fit("data.augment.resize", run.config.data.augment.resize, report.geometry.volume_size, uri)
    return loaded


def _check_fit(key: str, wanted: object, found: object, uri: str) -> None:
    if wanted is not None and wanted != found:
        raise DataError(
            f"{key} is {wanted}, but {uri} was pretrained with {found}",
            f"Set {key} to {found}, or leave it out to follow the checkpoint.",
        )


def load_cohort(run: Run) -> Cohort:
    """The volumes of the splits the run uses; the coverage speaks of all splits."""
    config = run.config
    store = open_store(str(config.data.source))
    participants_key = config.paths.labels_tsv.rpartition("/")[2]
    cohort = build_cohort(store, participants_key, MANIFEST_KEY, config, run.folds)
    log.info("participants found/expected by site and split:\n%s", cohort.coverage.table())
    splits = used_splits(config, run.folds)
    return Cohort(
        volumes=tuple(v for v in cohort.volumes if v.participant.split in splits),
        participants=tuple(p for p in cohort.participants if p.split in splits),
        coverage=cohort.coverage,
    )


def make_reader(run: Run, loaded: LoadedEncoder) -> VolumeReader:
    """Reads the cohort's volumes as this encoder saw them in pretraining, or as the profile says."""
    data = run.config.data
    cache = Path(data.cache_dir).expanduser() if data.cache_dir else None
    return VolumeReader(
        open_store(str(data.source)), data.profile, loaded.encoder.geometry.volume_size, cache
    )

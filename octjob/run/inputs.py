"""What a run reads: its checkpoint, loaded and checked, its cohort, and the cohort's volumes or features."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import torch

from octjob import env
from octjob.data.cohort import Cohort, check_cohort, require, require_classes
from octjob.data.coverage import Coverage
from octjob.data.kept import KeptVolumes
from octjob.data.layouts import cohort_of, listings_of, open_reader
from octjob.data.left_out import left_out
from octjob.data.quarantine import Quarantine
from octjob.data.stream import Breadth, load_volumes
from octjob.data.volumes import VolumeReader
from octjob.errors import DataError, SpecError
from octjob.features.encode import encode_views
from octjob.features.encoders import encoder_of, require_file
from octjob.features.encoding import Encoding
from octjob.features.made import Made, read_made
from octjob.features.memory import FeatureMemory
from octjob.features.work import Others, in_step
from octjob.models.arrange import Arrangement, arrange
from octjob.models.checkpoint import LoadedEncoder
from octjob.run.shared import Shared
from octjob.runtime.base import Runtime
from octjob.spec.experiment import OPEN_TEST_HINT, Experiment
from octjob.spec.run import Run
from octjob.spec.section import Size3
from octjob.storage.base import ObjectStore
from octjob.tick import Tick
from octjob.train.source import VolumeSource
from octjob.train.trainers import Inputs
from octjob.train.units import used_splits

log = logging.getLogger(__name__)


TEST = "test"


def load_encoder(run: Run, shared: Shared, tick: Tick) -> LoadedEncoder:
    """The run's encoder, checked against its config; read only where no earlier run of the process left it.

    Raises `DataError` where the file is not the one asked for, or does not fit `model.emb_dim` or
    `data.augment.resize`, `SpecError` where a backbone that stays frozen is to be fine-tuned.
    """
    uri = run.checkpoint.uri
    loaded = shared.encoder(run, lambda: encoder_of(run, tick))
    report = loaded.report
    require_file(run, loaded)
    _check_fit("model.emb_dim", run.config.model.emb_dim, report.geometry.embed_dim, uri)
    _check_fit("data.augment.resize", run.config.data.augment.resize, report.geometry.volume_size, uri)
    if run.config.mode == "finetune" and report.backbone is not None and not report.backbone.trainable:
        raise SpecError(
            f"run {run.run_id}: mode finetune, but backbone {report.backbone.name} of {report.backbone.distribution}"
            " can only be used frozen: it is no torch module with parameters",
            "Set model.freeze_encoder: true in its config.",
        )
    return loaded


def arrange_encoder(run: Run, loaded: LoadedEncoder, runtime: Runtime) -> Arrangement:
    """Give the encoder the attention and the rematerialisation of this runtime, and say in what parts it will train.

    Raises `SpecError` where `model.attention` asks for what it has not.
    """
    arrangement = arrange(
        loaded.encoder,
        run.config,
        runtime.backend,
        recompute=runtime.recompute(),
        flash=runtime.flash(),
        shards=runtime.num_shards,
        memory=runtime.memory,
    )
    log.info("attention: %s; blocks computed again: %s", arrangement.attention, arrangement.remat)
    if arrangement.microbatches > 1:
        log.info(
            "a batch of %d is taken in %d parts, chosen so that it fits; the step is that of the whole",
            run.config.data.batch_size,
            arrangement.microbatches,
        )
    return arrangement


def _check_fit(key: str, wanted: object, found: object, uri: str) -> None:
    if wanted is not None and wanted != found:
        raise DataError(
            f"{key} is {wanted}, but {uri} was pretrained with {found}",
            f"Set {key} to {found}, or leave it out to follow the checkpoint.",
        )


def load_cohort(run: Run, shared: Shared) -> Cohort:
    """The volumes of the splits the run uses, never those of test; the coverage speaks of all splits.

    Raises `SpecError` where the spec, of an early version, asks for the test split, and `DataError` as `left_out`.
    """
    splits = used_splits(run.config, run.is_pooled)
    if TEST in splits:
        raise SpecError(f"run {run.run_id}: no run scores the test split", OPEN_TEST_HINT)
    found = _find(run, shared)
    check_cohort(found, run.config, run.is_pooled)
    cohort = found.only(*splits)
    if run.leave_out is not None:
        # Now, before anything is encoded.
        left_out(
            cohort.volumes, run.leave_out, run.min_participants, run.config.classes.num_classes, run.folds
        )
    return cohort


def load_test_cohort(run: Run) -> tuple[Cohort, Coverage]:
    """The volumes of the test split alone, for the command that opens it, and the coverage of all splits.

    Raises as `check_test_cohort` does.
    """
    found = _find(run, Shared())
    cohort = found.only(TEST)
    cohort = replace(cohort, coverage=found.coverage.only(TEST))
    check_test_cohort(cohort, run.config)
    return cohort, found.coverage


def check_test_cohort(cohort: Cohort, experiment: Experiment) -> None:
    """Raise `DataError` if fewer of the test participants than `data.min_coverage` are there, or a class is empty."""
    require(cohort.coverage, experiment.data.min_coverage)
    require_classes(cohort, (TEST,), experiment.classes)


def _find(run: Run, shared: Shared) -> Cohort:
    found = shared.cohort(run, listings_of(run.config), lambda: cohort_of(run.config))
    log.info("participants found/expected by site and split:\n%s", found.coverage.table())
    return found


def make_reader(run: Run, loaded: LoadedEncoder, cache: ObjectStore) -> VolumeReader:
    """Reads the cohort's volumes as this encoder saw them in pretraining, or as the profile says.

    cache: the sweep's, which keeps them where `data.shared_cache` says so.
    """
    return make_reader_of_size(run, loaded.encoder.geometry.volume_size, cache)


def make_reader_of_size(run: Run, size: Size3, cache: ObjectStore) -> VolumeReader:
    """The same for volumes of `size` (D, H, W); it reads from the pod's mount of the cache where there is one."""
    mount = os.environ.get(env.CACHE_MOUNT)
    return open_reader(run.config.data, size, cache, Path(mount) if mount else None)


def read_inputs(
    run: Run,
    loaded: LoadedEncoder,
    cohort: Cohort,
    cache: ObjectStore,
    runtime: Runtime,
    quarantine: Quarantine,
    tick: Tick,
    augmented: Collection[str] = (),
    others: Others = tuple,
    memory: FeatureMemory | None = None,
    made: Made | None = None,
) -> tuple[Cohort, Inputs]:
    """Read or encode every volume once: the cohort without unreadable ones, and their features or what reads them.

    Features are (V, N, E) or (V, N, T, E) with view 0 the volume itself. Reading everything before training shows a
    corrupt volume now, and fills the memory and the volume cache.

    augmented: the UIDs of volumes that need their augmented views too. others, memory: see `encode_volumes`. Each
    process of the runtime reads or encodes its share; `tick(done, total)` is called by all alike. Unreadable volumes
    are put into `quarantine`; raises `DataError` for more than `data.max_corrupt`. made: the features are read, and
    nothing is encoded, see `read_made`.
    """
    reader = make_reader(run, loaded, cache)
    data = run.config.data
    if made is not None:
        read = Encoding(loaded, run.config, runtime, made_by=made.backend)
        x_VN = read_made(read, made, cache, reader, cohort.volumes, augmented, quarantine)
        return without_unreadable(cohort, quarantine, run.config), torch.from_numpy(x_VN)
    if run.config.mode == "probe":
        runtime.place(loaded.encoder)
        encoding = Encoding(loaded, run.config, runtime)
        x_VN = encode_views(
            encoding,
            cache,
            reader,
            cohort.volumes,
            augmented,
            quarantine,
            run.run_id,
            tick,
            others,
            memory,
        )
        reader.report()
        return without_unreadable(cohort, quarantine, run.config), torch.from_numpy(x_VN)
    own = cohort.volumes[runtime.index :: runtime.num_processes]
    kept, done = KeptVolumes.in_free_memory(), 0
    breadth = Breadth.of(data.connections, data.num_workers)
    for chunk in in_step(load_volumes(reader, own, breadth, quarantine), runtime, 1):
        for volume, x_DHW in chunk:
            kept.keep(volume.record.sop_instance_uid, x_DHW)
        done += len(chunk) * runtime.num_processes
        tick(min(done, len(cohort.volumes)), len(cohort.volumes))
    reader.report()
    quarantine.merge(runtime.collect(quarantine.entries))
    readable = without_unreadable(cohort, quarantine, run.config)
    return readable, VolumeSource(reader, readable.volumes, run.config, kept)


def without_unreadable(cohort: Cohort, quarantine: Quarantine, experiment: Experiment) -> Cohort:
    """The cohort without what is quarantined. Raises `DataError` for more than `data.max_corrupt`."""
    quarantine.check(len(cohort.volumes), experiment.data.max_corrupt)
    return cohort.without(quarantine.uids)

"""One entrance to both ways in which a data set says what it holds (`data.layout`)."""

from __future__ import annotations

from pathlib import Path

from octjob.data.cohort import Cohort, find_cohort
from octjob.data.manifest import MANIFEST_KEY
from octjob.data.sources import Sources
from octjob.data.table_cohort import find_table_cohort
from octjob.data.volumes import VolumeReader
from octjob.spec.experiment import Data, Experiment
from octjob.spec.section import Size3
from octjob.storage.base import ObjectStore
from octjob.storage.open import open_store


def open_source(data: Data) -> ObjectStore:
    """Where the volumes are read from."""
    return Sources(str(data.source)) if data.is_table else open_store(str(data.source))


def open_reader(data: Data, size: Size3, cache: ObjectStore, mount: Path | None = None) -> VolumeReader:
    """Reads volumes as `size` (D, H, W) by the profile. cache: the sweep's, which keeps them where
    `data.shared_cache` says so. mount: a directory that stands for it where volumes are read."""
    return VolumeReader(
        open_source(data),
        data.profile,
        size,
        Path(data.cache_dir).expanduser() if data.cache_dir else None,
        cache_limit=None if data.cache_limit_gib is None else int(data.cache_limit_gib * 2**30),
        dtype=data.volume_dtype,
        shared=cache if data.shared_cache else None,
        mount=mount,
    )


def listings_of(experiment: Experiment) -> tuple[str, ...]:
    """URIs of the tables that say who takes part with which volumes."""
    if experiment.data.is_table:
        return (str(experiment.data.table),)
    store = open_store(str(experiment.data.source))
    return store.uri(_participants(experiment)), store.uri(MANIFEST_KEY)


def cohort_of(experiment: Experiment) -> Cohort:
    """What is there, however little. Raises as `find_cohort` or `find_table_cohort` does."""
    if experiment.data.is_table:
        return find_table_cohort(experiment).cohort
    store = open_store(str(experiment.data.source))
    return find_cohort(store, _participants(experiment), MANIFEST_KEY, experiment)


def _participants(experiment: Experiment) -> str:
    return experiment.paths.labels_tsv.rpartition("/")[2]

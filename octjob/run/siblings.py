"""The runs of a sweep that one pass over the data serves."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

from octjob.errors import DataError
from octjob.records.layout import read_spec, read_sweep
from octjob.spec.encoding import encoding_of
from octjob.spec.experiment import Experiment
from octjob.spec.run import Run
from octjob.storage.base import ObjectNotFoundError, ObjectStore

log = logging.getLogger(__name__)

_NUM_READERS = 16


def siblings(store: ObjectStore, run: Run) -> tuple[Experiment, ...]:
    """The experiments of the other probes that the sweep has on the run's encoder and preprocessing.

    None for a run without a sweep, as one that was started by itself from its spec. What cannot be read is left out,
    with a warning: it costs another pass over the data later, and nothing else.
    """
    try:
        sweep = read_sweep(store)
    except ObjectNotFoundError:
        return ()
    except DataError as error:
        log.warning("%s; encoding only what this run needs", error.message)
        return ()
    ids = [
        entry.run_id
        for entry in sweep.runs
        if entry.checkpoint == run.checkpoint_name and entry.run_id != run.run_id
    ]
    with ThreadPoolExecutor(_NUM_READERS) as pool:
        others = list(pool.map(lambda run_id: _spec(store, run_id), ids))
    wanted = encoding_of(run)
    return tuple(
        other.config
        for other in others
        if other is not None and other.config.mode == "probe" and encoding_of(other) == wanted
    )


def _spec(store: ObjectStore, run_id: str) -> Run | None:
    try:
        return read_spec(store, run_id)
    except ObjectNotFoundError:
        # The sweep is written first, its specs after it.
        return None
    except DataError as error:
        log.warning("%s; not encoded for", error.message)
        return None

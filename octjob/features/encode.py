"""Put every volume through the encoder once, for all views and poolings that the runs of a sweep want of it.

Shapes: V views; N volumes; E embedding; T pooled tokens.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from octjob.data.cohort import Volume
from octjob.data.quarantine import Quarantine
from octjob.data.volumes import VolumeReader
from octjob.features.claims import Claims
from octjob.features.encoding import Encoding
from octjob.features.memory import FeatureMemory
from octjob.features.pace import Pace
from octjob.features.store import Features
from octjob.features.work import Others, Work
from octjob.models.pooling import row_of
from octjob.storage.base import ObjectStore
from octjob.tick import Tick

# While others hold what is missing: a look costs a request or two, and among many runs most of them wait.
_LEAST_WAIT_S, _MOST_WAIT_S = 0.1, 0.5


def encode_views(
    encoding: Encoding,
    cache: ObjectStore,
    reader: VolumeReader,
    volumes: Sequence[Volume],
    augmented: Collection[str],
    quarantine: Quarantine,
    owner: str,
    tick: Tick,
    others: Others = tuple,
    memory: FeatureMemory | None = None,
) -> npt.NDArray[np.float32]:
    """Features of every view of every volume not in `quarantine`, in the volumes' order: (V, N, E) or (V, N, T, E).

    The others that are not `augmented` repeat view 0 there, which nothing may read. The rest is as in
    `encode_volumes`.
    """
    found = encode_volumes(
        encoding, cache, reader, volumes, augmented, quarantine, owner, tick, others, memory
    )
    return stacked(encoding, found, volumes, quarantine)


def stacked(
    encoding: Encoding, found: Sequence[Features], volumes: Sequence[Volume], quarantine: Quarantine
) -> npt.NDArray[np.float32]:
    """Views of features by UID as one array, of every volume not in `quarantine`, as `encode_views` gives it."""
    row = row_of(encoding.experiment.model.pool_method)
    # Only now: a volume whose first view was cached may have become unreadable for the second.
    readable = [
        v.record.sop_instance_uid for v in volumes if v.record.sop_instance_uid not in quarantine.uids
    ]
    if not readable:  # no row to know E by; whoever counts the quarantine refuses such a run
        return np.empty((len(found), 0, 0), np.float32)
    identity = found[0]
    return np.stack([np.stack([view.get(uid, identity[uid])[row] for uid in readable]) for view in found])


def encode_volumes(
    encoding: Encoding,
    cache: ObjectStore,
    reader: VolumeReader,
    volumes: Sequence[Volume],
    augmented: Collection[str],
    quarantine: Quarantine,
    owner: str,
    tick: Tick,
    others: Others = tuple,
    memory: FeatureMemory | None = None,
) -> list[Features]:
    """What is kept for the run's pooling by SOP instance UID, view by view, made now or by another run.

    A volume that has to be encoded is read once for all views that are missing, those of `others` included.
    augmented: the UIDs of volumes that have augmented views. memory: is looked into first, and gets what is found.

    Runs that need the same features divide the volumes, round by round, by `Claims`. `owner` is the run's id: its own
    attempts do not wait for each other. Volumes that cannot be read are put into `quarantine` and are absent.
    `tick(done, total)` counts volumes; it is called after each step of the devices, by all processes of the runtime
    alike, and may raise to stop; what was encoded until then is kept.
    """
    work = Work(encoding, cache, reader, volumes, augmented, quarantine)
    work.recall(memory)
    work.read()
    pace, wait_s = Pace(encoding.runtime.num_shards), _LEAST_WAIT_S
    with Claims(cache, encoding.key.claims_prefix, owner) as claims:
        # What process 0 misses, so that all do the same.
        while missing := encoding.runtime.share(work.missing):
            work.serve(others)
            tick(len(work.by_uid) - len(missing), len(work.by_uid))
            if _round(work, claims, pace, missing, tick):
                wait_s = _LEAST_WAIT_S
            else:
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, _MOST_WAIT_S)
            work.read()
    work.level()
    work.remember(memory)
    return list(work.features.values())


def _round(work: Work, claims: Claims, pace: Pace, missing: Sequence[str], tick: Tick) -> bool:
    """Claim and encode some of what is missing; False where others hold all of it."""
    runtime = work.encoding.runtime
    claimed = runtime.share(lambda: claims.take(missing, pace.num_volumes(len(missing))))
    if not claimed:
        return False

    def progress(num_encoded: int) -> None:
        claims.renew()
        tick(len(work.by_uid) - len(missing) + num_encoded, len(work.by_uid))

    try:
        # Another run may have finished between our reading and our claim.
        work.read()
        orders = runtime.share(lambda: work.orders(_whole_steps(work.missing(claimed), runtime.num_shards)))
        began = time.monotonic()
        work.encode(orders, progress)
        pace.took(len(orders), time.monotonic() - began)
    finally:
        claims.release()
    return True


def _whole_steps(uids: Sequence[str], num_shards: int) -> Sequence[str]:
    """Without the last few, which would leave devices idle: the next round takes them, unless there are no others."""
    return uids[: len(uids) - len(uids) % num_shards] or uids

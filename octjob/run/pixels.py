"""The cohort's volumes without an encoder: read, preprocessed, downsampled. N volumes, F downsampled voxels."""

from __future__ import annotations

import numpy as np

from octjob.data.cohort import Cohort
from octjob.data.quarantine import Quarantine
from octjob.data.stream import Breadth, load_volumes
from octjob.features.work import in_step
from octjob.run.inputs import make_reader_of_size, without_unreadable
from octjob.run.session import Session
from octjob.train.pixel_pca import Float32, downsampled


def read_pixels(session: Session, cohort: Cohort, quarantine: Quarantine) -> tuple[Cohort, Float32]:
    """The cohort without unreadable volumes, which are put into `quarantine`, and what remains of each, (N, F).

    *Collective.* Each process of the runtime reads its share. Raises `DataError` for more unreadable ones than
    `data.max_corrupt`.
    """
    run, runtime = session.run, session.runtime
    size = run.checkpoint.volume_size
    assert size is not None, "the plan says the size of volumes that no encoder gets"
    reader = make_reader_of_size(run, size, session.cache)
    own = cohort.volumes[runtime.index :: runtime.num_processes]
    breadth = Breadth.of(run.config.data.connections, run.config.data.num_workers)
    made: dict[str, Float32] = {}
    done = 0
    for chunk in in_step(load_volumes(reader, own, breadth, quarantine), runtime, 1):
        for volume, x_DHW in chunk:
            made[volume.record.sop_instance_uid] = downsampled(x_DHW)
        done += len(chunk) * runtime.num_processes
        session.tick(min(done, len(cohort.volumes)), len(cohort.volumes))
    reader.report()
    quarantine.merge(runtime.collect(quarantine.entries))
    readable = without_unreadable(cohort, quarantine, run.config)
    everyone = {uid: x_F for part in runtime.collect(made) for uid, x_F in part.items()}
    return readable, np.stack([everyone[volume.record.sop_instance_uid] for volume in readable.volumes])

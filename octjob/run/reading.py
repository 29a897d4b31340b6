"""What an attempt reads of a run: its cohort, and the features or volumes of everyone in it."""

from __future__ import annotations

from functools import partial

from octjob.data.cohort import Cohort, check_cohort
from octjob.data.quarantine import Quarantine
from octjob.features.made import Made
from octjob.models.checkpoint import LoadedEncoder
from octjob.run.inputs import load_cohort, read_inputs
from octjob.run.session import Session
from octjob.run.shared import Shared
from octjob.run.siblings import siblings
from octjob.spec.run import Run
from octjob.train.trainers import Inputs


def read_run(
    session: Session,
    run: Run,
    loaded: LoadedEncoder,
    shared: Shared,
    quarantine: Quarantine,
    made: Made | None = None,
) -> tuple[Cohort, Inputs]:
    """The cohort without unreadable volumes, and what a trainer sees of it.

    made: the features that an encoding has made; nothing is encoded then.
    """
    cohort = session.runtime.share(lambda: load_cohort(run, shared))
    if run.config.mode == "probe":
        session.heartbeat.stage("encoding")
    # With folds every volume is trained on in some unit.
    evaluated = None if run.is_pooled else run.config.data.eval_split
    augmented = {v.record.sop_instance_uid for v in cohort.volumes if v.participant.split != evaluated}
    readable, inputs = read_inputs(
        run,
        loaded,
        cohort,
        session.cache,
        session.runtime,
        quarantine,
        session.tick,
        augmented,
        partial(siblings, session.store, run),
        shared.memory,
        made,
    )
    check_cohort(readable, run.config, run.is_pooled)
    return readable, inputs

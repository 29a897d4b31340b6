"""An encoding: the features of all runs that an encoder serves are made, and that is its result.

Runs that train elsewhere (`compute.probe`) wait for that result, which says where the features are.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any, cast

from octjob.data.quarantine import Quarantine, Quarantined
from octjob.errors import DataError
from octjob.features.encoding import Encoding
from octjob.features.made import Made
from octjob.models.choice import Backend
from octjob.records.layout import RESULT, read_progress, read_result, read_spec, run_key
from octjob.records.schema import Progress, Result
from octjob.records.status import STALLED_AFTER_S
from octjob.run.facts import data_facts
from octjob.run.inputs import arrange_encoder, load_encoder
from octjob.run.reading import read_run
from octjob.run.session import Session
from octjob.run.shared import Shared
from octjob.runtime.environment import environment
from octjob.spec.run import Run

# A look costs a request or two; the first features may be there already.
_LEAST_WAIT_S, _MOST_WAIT_S = 0.25, 15.0
_NAP_S = 0.25
# JobSet starts an attempt that failed again within seconds, on the slice that it has. One that was killed without a
# word, as on a Spot slice, may have to wait for another slice; cores that wait cost less than a run that gave up.
_SILENT_S = 7200.0
_UNDER_WAY = ("starting", "data", "encoding")


def make_features(session: Session, shared: Shared) -> Result:
    """Put the volumes of every run that the spec names through the encoder, as that run would."""
    encoding, heartbeat = session.run, session.heartbeat
    heartbeat.stage("data")
    everything_left_out = Quarantine()
    for run_id in encoding.encodes:
        run = session.runtime.share(partial(read_spec, session.store, run_id))
        loaded = load_encoder(run, shared, session.tick_alone)
        arrange_encoder(run, loaded, session.runtime)
        session.require_same("checkpoint weights", loaded.report.weights_digest)
        # Of each its own: how many may be left out is a share of its volumes.
        quarantine = Quarantine()
        cohort, _ = read_run(session, run, loaded, shared, quarantine)
        everything_left_out.merge([quarantine.entries])
    key = Encoding(loaded, run.config, session.runtime).key
    progress = heartbeat.progress
    return Result(
        run_id=encoding.run_id,
        sweep=encoding.sweep,
        checkpoint=encoding.checkpoint_name,
        config=encoding.config_name,
        mode="probe",
        evaluation={},
        train={},
        data=data_facts(cohort, everything_left_out, run.config.classes.num_classes)
        | {"features": {"backend": key.backend, "prefix": key.prefix}},
        checkpoint_report=loaded.report.to_dict(),
        training={},
        environment=environment(session.runtime),
        notes=(),
        started_at=progress.started_at,
        finished_at=time.time(),
        duration_s=heartbeat.elapsed_s,
        attempts=progress.attempt,
    )


def wait_for_features(session: Session, encoding: str) -> Made:
    """What the encoding says once all features are there; until then wait, and let nobody encode here.

    Raises:
        DataError: it failed in a way that starting again does not mend, or is silent for too long.
        Interrupted: a signal came.
    """
    session.heartbeat.stage("waiting")
    wait_s = _LEAST_WAIT_S
    silence = _Silence()
    while (result := read_result(session.store, encoding)) is None:
        progress = read_progress(session.store, encoding)
        if progress is not None and (why := silence.why(progress)):
            raise _failed(session.run, encoding, why)
        session.tick_alone(0, 0)
        until = time.monotonic() + wait_s
        while (left := until - time.monotonic()) > 0 and not session.stop.requested:
            time.sleep(min(left, _NAP_S))
        wait_s = min(1.5 * wait_s, _MOST_WAIT_S)
    return _made(session, result)


class _Silence:
    """For how long a heartbeat has been the same, by this machine's clock."""

    def __init__(self) -> None:
        self._last: Progress | None = None
        self._since = time.monotonic()

    def why(self, progress: Progress) -> str:
        """Why nothing more will come of this attempt or the next, empty where something may.

        One that was interrupted, or whose spec is just stored, waits for its slice, however long.
        """
        if progress != self._last:
            self._last, self._since = progress, time.monotonic()
        silent_s = time.monotonic() - self._since
        failure = progress.failure
        if progress.stage == "failed" and failure is not None:
            final = failure.exit_code in _NEVER_AGAIN or silent_s > STALLED_AFTER_S
            return f"failed (exit {failure.exit_code}): {failure.message}" if final else ""
        if progress.stage in _UNDER_WAY and silent_s > _SILENT_S:
            return f"has said nothing for {silent_s / 60:.0f} minutes"
        return ""


# Of these a JobSet starts no further attempt: the spec, the data or an access is wrong.
_NEVER_AGAIN = (2, 3, 4)


def _failed(run: Run, encoding: str, why: str) -> DataError:
    return DataError(
        f"run {run.run_id}: its features are made by {encoding}, which {why}",
        f"`octjob logs {run.sweep}/{encoding}` shows it; once mended, `octjob retry {run.sweep}` starts both again.",
    )


def _made(session: Session, result: Result) -> Made:
    features: dict[str, Any] = result.data["features"]
    uri = session.store.uri(run_key(result.run_id, RESULT))
    return Made(
        encoding=result.run_id,
        backend=cast("Backend", features["backend"]),
        prefix=features["prefix"],
        left_out=tuple(Quarantined(**one) for one in result.data["quarantine"]["volumes"]),
        mended_by=f"delete {uri} and submit the sweep again.",
    )

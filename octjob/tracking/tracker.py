"""Experiment tracking behind one small protocol. A fault of the tracker never stops a run and is said once."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from typing import Any, Protocol

from octjob.spec.run import Run
from octjob.storage.temporary import temporary_folder

log = logging.getLogger(__name__)


class Tracker(Protocol):
    """What a run reports."""

    def log(self, record: dict[str, Any]) -> None:
        """One epoch's metrics."""
        ...

    def finish(self, summary: dict[str, Any], *, failed: bool = False) -> None:
        """The final metrics, and the end."""
        ...


class NoTracker:
    """`log.wandb: false`."""

    def log(self, record: dict[str, Any]) -> None:
        """Nothing."""

    def finish(self, summary: dict[str, Any], *, failed: bool = False) -> None:
        """Nothing."""


class WandbTracker:
    """A W&B run named after ours, grouped by sweep, continued under the same id after a restart."""

    def __init__(self, run: Run) -> None:
        self._run: Any = None
        self._works = True
        self._work = contextlib.ExitStack()
        self._try(lambda: self._start(run))

    def _start(self, run: Run) -> None:
        import wandb

        settings = run.config.log
        directory = os.environ.get("WANDB_DIR") or self._work_folder()
        self._run = wandb.init(
            project=settings.wandb_project,
            entity=settings.wandb_entity,
            name=f"{run.checkpoint_name}.{run.config_name}",
            group=run.sweep,
            id=run.run_id.replace(".", "-"),
            resume="allow",
            dir=directory,
            config=run.model_dump(mode="json"),
            tags=[run.checkpoint_name, run.config_name],
            # Whatever an earlier run of this process left open: our lines are not for that one.
            reinit="finish_previous",
        )
        self._run.define_metric("epoch")
        self._run.define_metric("*", step_metric="epoch")

    def log(self, record: dict[str, Any]) -> None:
        """One epoch's metrics, against the epoch."""
        if self._works:
            self._try(lambda: self._run.log(record))

    def finish(self, summary: dict[str, Any], *, failed: bool = False) -> None:
        """Write the summary and close the run, be it broken: the next run of this process opens its own."""
        if self._works:
            self._try(lambda: self._run.summary.update(summary))
        if self._run is not None:
            self._try(lambda: self._run.finish(exit_code=1 if failed else 0))
        self._work.close()

    def _work_folder(self) -> str:
        """Until the run is finished: by then W&B has sent everything, unless it is offline."""
        if os.environ.get("WANDB_MODE") == "offline":
            log.warning("W&B is offline and its files are removed after the run; set WANDB_DIR to keep them")
        return str(self._work.enter_context(temporary_folder()))

    def _try(self, action: Callable[[], None]) -> None:
        # W&B raises its own errors, urllib's, grpc's and plain ones; none of them may cost a run its result.
        try:
            action()
        except Exception as error:  # noqa: BLE001
            if self._works:
                log.warning(
                    "W&B does not work (%s: %s); the run goes on without it", type(error).__name__, error
                )
            self._works = False


def open_tracker(run: Run) -> Tracker:
    """The configured tracker."""
    return WandbTracker(run) if run.config.log.wandb else NoTracker()

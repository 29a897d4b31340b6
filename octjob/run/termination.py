"""The container's last words: a short JSON that Kubernetes keeps in the pod's status.

`kubectl describe pod` shows it. The kubelet reads at most 4096 bytes; what we write is valid JSON within them.

    {"run": "…/runs/<run id>", "state": "failed", "exit_code": 3, "message": "…", "hint": "…", "host": 0,
     "restart": 1, "attempt": 2, "stage": "training", "epoch": 7, "num_epochs": 50, "metrics":
     {"balanced_accuracy": 0.61}, "collapsed": false}

Keys without a value are left out; `state` is succeeded, failed or interrupted. `metrics` are the result's; of an
unfinished run the best so far. Of several runs in one process the message is that of the first that failed, else of
the last, and counts them: "runs": {"succeeded": 2, "failed": 1, "not_begun": 1}.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from octjob import env
from octjob.catalog import RANKING
from octjob.errors import Interrupted, OctjobError
from octjob.records.schema import Progress, Result, is_constant
from octjob.redact import Redactor
from octjob.run.hosts import Host

log = logging.getLogger(__name__)

MAX_BYTES = 4096
_MAX_RUN_CHARS = 512


@dataclass
class LastWords:
    """What is known of a run while it goes on."""

    run_uri: str
    host: Host = field(default_factory=Host)
    progress: Progress | None = None
    result: Result | None = None

    def listen(self, progress: Progress) -> None:
        """Hears every heartbeat."""
        self.progress = progress

    def to_dict(self, error: BaseException | None) -> dict[str, Any]:
        """The message; `error` is what the run ended with."""
        document = {
            "run": self.run_uri[-_MAX_RUN_CHARS:],
            **_outcome(error),
            "host": self.host.index,
            "restart": self.host.restart,
        }
        if self.progress is not None:
            document |= _progress_facts(self.progress)
        if error is None and self.result is not None:
            document |= _result_facts(self.result)
        return {key: value for key, value in document.items() if value not in (None, "", {})}


class Tally:
    """What has become so far of the runs that a process carries out in turn."""

    def __init__(self, num_runs: int) -> None:
        self.num_runs = num_runs
        self._states: Counter[str] = Counter()
        self._failed: dict[str, Any] | None = None

    def add(self, document: dict[str, Any]) -> dict[str, Any]:
        """The message after another run has ended with `document`; a single run's is its own."""
        self._states[document["state"]] += 1
        if self.num_runs == 1:
            return document
        if document["state"] == "failed" and self._failed is None:
            self._failed = document
        counts = {**self._states, "not_begun": self.num_runs - self._states.total()}
        return {**(self._failed or document), "runs": {state: n for state, n in counts.items() if n}}


@contextmanager
def last_words(run_uri: str, environ: Mapping[str, str], tally: Tally | None = None) -> Iterator[LastWords]:
    """Write the message when the block ends, however it ends, where the environment names a file for it.

    tally: where the run is one of several; it counts them.
    """
    words = LastWords(run_uri)
    tally = tally or Tally(1)
    redact = Redactor(environ)
    path = environ.get(env.TERMINATION_MESSAGE)
    try:
        yield words
    except BaseException as error:
        _write(path, tally.add(words.to_dict(error)), redact)
        raise
    else:
        _write(path, tally.add(words.to_dict(None)), redact)


def encode_message(document: dict[str, Any], max_bytes: int = MAX_BYTES) -> bytes:
    """The document as JSON of at most `max_bytes` bytes; hint and message are shortened where they must be."""
    data = _dump(document)
    for key in ("hint", "message"):
        while len(data) > max_bytes and document.get(key):
            text = document[key].removesuffix("…")
            document = {**document, key: text[: len(text) * 3 // 4] + "…" if len(text) > 1 else ""}
            data = _dump(document)
    return data


def _dump(document: dict[str, Any]) -> bytes:
    # A lone surrogate (from an undecodable file name) has no UTF-8.
    return json.dumps(document, ensure_ascii=False).encode(errors="replace")


def _write(path: str | None, document: dict[str, Any], redact: Redactor) -> None:
    if not path:
        return
    safe = {key: redact(value) if isinstance(value, str) else value for key, value in document.items()}
    try:
        # Not by renaming: the kubelet mounted this very file.
        Path(path).write_bytes(encode_message(safe))
    except OSError as error:
        log.warning(
            "%s=%s: cannot be written (%s)", env.TERMINATION_MESSAGE, path, os.strerror(error.errno or 0)
        )


def _outcome(error: BaseException | None) -> dict[str, Any]:
    if error is None:
        return {"state": "succeeded", "exit_code": 0}
    if isinstance(error, KeyboardInterrupt):
        return {"state": "interrupted", "exit_code": Interrupted.exit_code}
    if isinstance(error, OctjobError):
        state = "interrupted" if isinstance(error, Interrupted) else "failed"
        return {
            "state": state,
            "exit_code": error.exit_code,
            "message": error.message,
            "hint": error.hint,
        }
    return {
        "state": "failed",
        "exit_code": OctjobError.exit_code,
        "message": f"{type(error).__name__}: {error}",
    }


def _progress_facts(progress: Progress) -> dict[str, Any]:
    best = progress.best_metric
    metrics = {} if best is None else {progress.metric_name or "best": best}
    return {
        "attempt": progress.attempt,
        "stage": progress.stage,
        "epoch": progress.epoch,
        "num_epochs": progress.num_epochs,
        "metrics": metrics,
    }


def _result_facts(result: Result) -> dict[str, Any]:
    values = result.evaluation.get("metrics", {})
    return {
        "attempt": result.attempts,
        # Whoever came when it was done has heard no heartbeat.
        "stage": "finished",
        "metrics": {name: values[name] for name in RANKING if values.get(name) is not None},
        "collapsed": is_constant(result),
    }

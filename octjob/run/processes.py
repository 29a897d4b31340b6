"""The processes of one host, one for each of its GPUs: started and ended together, one speaks for all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from octjob import env
from octjob.errors import Interrupted
from octjob.signals import stop_signals

# A process whose peer is gone learns why within seconds, or waits within a GPU's program for what never comes.
WORD_S = 10.0
KILL_S = 45.0
_NAP_S = 0.1
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def start_processes(arguments: Sequence[str], environ: Mapping[str, str], num_processes: int) -> int:
    """Start `octjob ARGUMENTS` once for each GPU, wait for all, and return the host's exit code.

    Stop signals go on to each. Once one has failed the others are stopped: without it nothing collective can end.
    The code, and the container's last words, are those of the process that failed first, one that was merely stopped
    or had lost another coming after one that failed by itself.
    """
    with tempfile.TemporaryDirectory(prefix="octjob-") as folder:
        words = [Path(folder) / str(i) for i in range(num_processes)]
        children = [
            subprocess.Popen(
                [sys.executable, "-m", "octjob", *arguments],
                env=process_environment(environ, i, num_processes, words[i]),
            )
            for i in range(num_processes)
        ]
        with _passing_signals_on(children):
            ended = _wait(children)
        speaker = _speaker(ended)
        _pass_words_on(words[speaker], environ.get(env.TERMINATION_MESSAGE))
    return dict(ended)[speaker]


def process_environment(
    environ: Mapping[str, str], local_index: int, num_processes: int, words: Path
) -> dict[str, str]:
    """What the process `local_index` of a host gets: the host's environment, one GPU, a file for its words."""
    visible = environ.get(_VISIBLE)
    gpus = visible.split(",") if visible else [str(i) for i in range(num_processes)]
    return {
        **environ,
        env.LOCAL_INDEX: str(local_index),
        # None where there are too few: then the process says that it sees no GPU.
        _VISIBLE: gpus[local_index] if local_index < len(gpus) else "",
        **({env.TERMINATION_MESSAGE: str(words)} if environ.get(env.TERMINATION_MESSAGE) else {}),
    }


def take_share_of_cores(local_index: int, num_processes: int) -> None:
    """Keep this process to its part of the host's processors, where there are enough for one each.

    Each would otherwise decode volumes and compute with as many threads as the host has.
    """
    cores = sorted(os.sched_getaffinity(0))
    if (share := len(cores) // num_processes) > 0:
        os.sched_setaffinity(0, cores[local_index * share : (local_index + 1) * share])


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> list[tuple[int, int]]:
    """(local index, exit code) in the order in which they ended."""
    ended: list[tuple[int, int]] = []
    left = dict(enumerate(children))
    failed_at: float | None = None
    asked = False
    while left:
        for index in [i for i, child in left.items() if child.poll() is not None]:
            code = left.pop(index).returncode
            # As a shell, and a kubelet, give the end by a signal.
            ended.append((index, code if code >= 0 else 128 - code))
            if code and failed_at is None:
                failed_at = time.monotonic()
        if failed_at is not None and left:
            since = time.monotonic() - failed_at
            if since > WORD_S and not asked:
                asked = True
                _send(left.values(), signal.SIGTERM)
            if since > WORD_S + KILL_S:
                _send(left.values(), signal.SIGKILL)
        time.sleep(_NAP_S)
    return ended


def _speaker(ended: Sequence[tuple[int, int]]) -> int:
    failed = [(index, code) for index, code in ended if code]
    own = [index for index, code in failed if code != Interrupted.exit_code]
    return next(iter([*own, *(index for index, _ in failed), 0]))


def _pass_words_on(words: Path, to: str | None) -> None:
    # A process that was killed has left none; then the kubelet takes the end of the log.
    if to and words.is_file():
        Path(to).write_bytes(words.read_bytes())


def _send(children: Any, number: signal.Signals) -> None:
    for child in children:
        child.send_signal(number)


@contextmanager
def _passing_signals_on(children: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    def pass_on(number: int, frame: FrameType | None) -> None:
        _send(children, signal.Signals(number))

    before = {number: signal.signal(number, pass_on) for number in stop_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

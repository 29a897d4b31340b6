"""Progress bars on a terminal's standard error; nothing at all where it is piped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from octjob.records.schema import Progress
    from octjob.tick import Tick


def _ignore(*_: object) -> None:
    return None


@contextmanager
def bar(text: str) -> Iterator[Tick]:
    """A bar for work of known size: call the result with (done, total)."""
    if not sys.stderr.isatty():
        yield _ignore
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total or None)


@contextmanager
def training_bar() -> Iterator[Callable[[Progress], None]]:
    """A bar that follows a run's heartbeat."""
    if not sys.stderr.isatty():
        yield _ignore
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("starting", total=None)

        def show(progress: Progress) -> None:
            epoch = f" epoch {progress.epoch}/{progress.num_epochs}" if progress.epoch is not None else ""
            bars.update(
                task,
                description=f"{progress.stage}{epoch}",
                completed=progress.done,
                total=progress.total or None,
            )

        yield show

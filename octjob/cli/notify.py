"""What `octjob collect --notify` tells, and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from octjob.errors import AccessError, SpecError

if TYPE_CHECKING:
    from octjob.notify import Notifier
    from octjob.records.status import RunStatus
    from octjob.records.wait import Standings
    from octjob.targets.place import Place


class Told:
    """The runs of a sweep as they end, told to its receivers."""

    def __init__(self, place: Place, notifier: Notifier) -> None:
        self._place = place
        self._notifier = notifier
        self._sweep = ""
        self._runs: list[RunStatus] = []

    def standings(self) -> Standings:
        """A look for one who waits, which tells what has ended."""
        from octjob.notify import run_events
        from octjob.records.layout import read_sweep

        self._runs = [one for one in self._place.statuses() if not one.encoding]
        self._sweep = self._sweep or read_sweep(self._place.store).name
        self._notifier.tell(run_events(self._sweep, self._place.output, self._runs))
        return self._place.standings_of(self._runs)

    def finish(self, headline: str, *, waited: bool) -> list[AccessError]:
        """After the leaderboard is stored: the sweep's end too, where it has ended; what could not be sent.

        waited: the runs were waited for, so that one without a JobSet is not just being submitted.
        """
        from octjob.notify import run_events, sweep_event

        seen = self._place.standings_of(self._runs) if waited else self.standings()
        if not seen.open and (waited or not seen.gone):
            sweep, output = self._sweep, self._place.output
            ended = sweep_event(sweep, output, self._runs, headline=headline)
            self._notifier.tell([*run_events(sweep, output, self._runs), ended])
        return self._notifier.finish()


@contextmanager
def telling(place: Place, urls: Sequence[str], *, publish: bool) -> Iterator[Told | None]:
    """Tells the receivers at `urls`; None where there are none.

    Raises `SpecError` for what is no URL, and where nothing may be written to the store.
    """
    if not urls:
        yield None
        return
    from octjob import env
    from octjob.notify import Notifier, parse_receiver

    receivers = [parse_receiver(url) for url in urls]
    if not publish:
        raise SpecError(
            "--notify remembers in the store what it has told, and --no-publish writes nothing there",
            f"Leave one of them out; {env.NOTIFY_URL} counts as --notify.",
        )
    with Notifier(place.store, receivers, lambda line: click.echo(line, err=True)) as notifier:
        yield Told(place, notifier)

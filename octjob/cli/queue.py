"""`octjob queue`: who holds the chips that a sweep's runs wait for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from octjob.cli.cluster import cluster_options
from octjob.cli.complete import complete_target

if TYPE_CHECKING:
    from octjob.targets.kubernetes.observation.holders import Holder, Queue

# Raised where a key of `-o json` goes away or means something else (docs/output.md).
QUEUE_SCHEMA = "octjob.queue/1"
_FORMATS = ("table", "wide", "json")
_MAIN = ("NAMESPACE", "NAME", "CHIPS", "HELD", "LIMIT IN")
_WIDE = (*_MAIN, "PRIORITY", "CLUSTERQUEUE", "SINCE", "LIMIT AT", "JOB")
_NUM_NAMED = 5


@click.command()
@click.argument("target", shell_complete=complete_target)
@click.option(
    "-o", "--output", type=click.Choice(_FORMATS), default="table", show_default=True, help="What to print."
)
@cluster_options
def queue(target: str, output: str, context: str | None, namespace: str | None) -> None:
    """Show who holds the chips that waiting runs of TARGET wait for.

    TARGET is as for `octjob status`. For each Kueue queue in which runs of it wait: what holds the chips in its
    ClusterQueue and cohort, whose namespace that is, since when, and when its time limit ends. A limit is the latest
    time: what ends before gives its chips back before. What may not be seen is said.

    \b
    Example:
      octjob queue phase3
      octjob queue sweeps/phase3.yaml -o wide
    """
    from datetime import UTC, datetime

    from octjob.targets.kubernetes.observation.holders import look
    from octjob.targets.place import open_cluster_place

    place = open_cluster_place(target, context, namespace, from_store=True)
    selection = place.selection
    queues = look(place.cluster, selection, datetime.now(UTC))
    if output == "json":
        click.echo(queue_json(selection.sweep, queues), nl=False)
        return
    if not queues:
        click.echo(f"No run of {selection.sweep} waits in a queue.")
    click.echo("\n".join(queue_text(one, wide=output == "wide") for one in queues), nl=False)


def queue_json(sweep: str, queues: Sequence[Queue]) -> str:
    """`{"schema": QUEUE_SCHEMA, "sweep": name, "queues": [...]}`."""
    from dataclasses import asdict

    document = {"schema": QUEUE_SCHEMA, "sweep": sweep, "queues": [asdict(one) for one in queues]}
    return json.dumps(document, indent=1) + "\n"


def queue_text(queue: Queue, *, wide: bool = False) -> str:
    """Who waits, and a table of the holders."""
    from octjob.textgrid import grid

    named = ", ".join(queue.waiting[:_NUM_NAMED]) + (", ..." if len(queue.waiting) > _NUM_NAMED else "")
    where = f"LocalQueue {queue.queue} -> ClusterQueue {queue.cluster_queue or '?'}"
    where += f" of cohort {queue.cohort}" if queue.cohort else ""
    lines = [f"{where}: {len(queue.waiting)} waiting for {', '.join(queue.resources) or 'quota'}: {named}"]
    if queue.holders:
        rows = [_cells(one, wide) for one in queue.holders]
        lines += ["", *grid(list(_WIDE if wide else _MAIN), rows)]
    else:
        lines.append("Nobody was seen to hold any.")
    if queue.note:
        lines += ["", f"Not all seen: {queue.note}."]
    return "\n".join(lines) + "\n"


def _cells(one: Holder, wide: bool) -> list[str]:
    from octjob.cli.status_table import duration

    name = f"{one.sweep}/{one.run}" if one.run else f"{one.kind.lower()}/{one.name}"
    limit = "no limit" if one.ends_in_s is None else duration(one.ends_in_s) if one.ends_in_s > 0 else "over"
    cells = [one.namespace, name, str(one.chips), duration(one.held_s), limit]
    if wide:
        cells += [str(one.priority), one.cluster_queue, one.since, one.ends_at or "-", one.name]
    return cells

"""`octjob schema`: JSON Schemas for editors."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument(
    "what",
    type=click.Choice(
        ["sweep", "config", "status", "plan", "explain", "leaderboard", "doctor", "event", "queue"]
    ),
)
def schema(what: str) -> None:
    """Print the JSON Schema of sweep files or experiment configs, or of what `-o json` prints.

    Point an editor at the first two for completion and checks as you type; programs can check the output of status,
    plan, explain, collect (leaderboard), doctor and queue, and what --notify posts (event), with the others.

    \b
    Example:
      octjob schema sweep > sweep.schema.json
    """
    from octjob.cli.output import (
        doctor_schema,
        event_schema,
        explain_schema,
        leaderboard_schema,
        plan_schema,
        queue_schema,
        status_schema,
    )
    from octjob.spec.schema import config_schema, sweep_schema

    schemas = {
        "sweep": sweep_schema,
        "config": config_schema,
        "status": status_schema,
        "plan": plan_schema,
        "explain": explain_schema,
        "leaderboard": leaderboard_schema,
        "doctor": doctor_schema,
        "event": event_schema,
        "queue": queue_schema,
    }
    click.echo(json.dumps(schemas[what](), indent=1))

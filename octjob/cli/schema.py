"""`octjob schema`: JSON Schemas for editors."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("what", type=click.Choice(["sweep", "config"]))
def schema(what: str) -> None:
    """Print the JSON Schema of sweep files or experiment configs.

    Point an editor at it for completion and checks as you type.

    \b
    Example:
      octjob schema sweep > sweep.schema.json
    """
    from octjob.spec.schema import config_schema, sweep_schema

    click.echo(json.dumps(sweep_schema() if what == "sweep" else config_schema(), indent=1))

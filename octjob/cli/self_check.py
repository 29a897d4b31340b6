"""`octjob self-check`: what this installation has, and whether it works."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from octjob import __version__

if TYPE_CHECKING:
    from octjob.run.selfcheck import Finding


@click.command("self-check")
@click.option("--quick", is_flag=True, help="Writable places and the clock only.")
@click.option("--licences", is_flag=True, help="Print the licence of everything installed, and nothing else.")
def self_check(quick: bool, licences: bool) -> None:
    """Check this installation: imports, decoders, writable places, clock.

    Needs no network. Exits 1 where something does not work.

    \b
    Example:
      octjob self-check
      docker run --rm --network none --read-only octjob self-check
    """
    from octjob.errors import OctjobError
    from octjob.extras import require_trainer
    from octjob.run import selfcheck

    if licences:
        _print_licences(selfcheck.licences())
        return
    faults = _print("host", selfcheck.check_host())
    if not quick:
        require_trainer()
        click.echo(f"octjob {__version__}, Python {platform.python_version()}, {platform.platform()}")
        faults += _print("packages", selfcheck.check_packages())
        faults += _print("backbones", selfcheck.check_backbones())
        faults += _print("transfer syntaxes", selfcheck.check_decoders())
        click.echo("licences: `octjob self-check --licences`")
    if faults:
        raise OctjobError(f"{len(faults)} checks failed: {', '.join(faults)}", "The lines marked ! say why.")


def _print(heading: str, findings: Iterable[Finding]) -> list[str]:
    """Print each as it is found; returns the names of those that failed."""
    click.echo(heading)
    faults = []
    for one in findings:
        click.echo(
            f"{'!' if one.fault else ' '} {one.what}: {one.detail}{f' ({one.fault})' if one.fault else ''}"
        )
        if one.fault:
            faults.append(one.what)
    return faults


def _print_licences(found: dict[str, list[str]]) -> None:
    for licence, names in found.items():
        click.echo(f"{licence}: {', '.join(names)}")

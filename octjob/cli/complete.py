"""What the shell is offered for an argument. Neither store nor cluster is asked: a Tab must not wait for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem


def complete_target(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Files, among which are sweep files; names of sweeps and runs are the user's to type."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]

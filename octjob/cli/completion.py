"""`octjob completion`: complete commands, options and files with Tab."""

from __future__ import annotations

import click

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print what makes SHELL complete octjob's commands, options and files.

    \b
    Example:
      octjob completion bash > ~/.local/share/bash-completion/completions/octjob
      octjob completion zsh > ~/.zfunc/_octjob
      octjob completion fish > ~/.config/fish/completions/octjob.fish
    """
    from click.shell_completion import get_completion_class

    from octjob import env
    from octjob.cli import cli

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "octjob", env.COMPLETE).source())

"""`octjob completion`: complete commands, options, files and what is on a cluster with Tab."""

from __future__ import annotations

import click

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print what makes SHELL complete octjob's commands, options, files and names.

    Names are those of the kubeconfig's contexts, and of the sweeps, runs and namespaces on the cluster where it
    answers within two seconds.

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

"""The command line: parse, call, print. Commands are imported when they are used."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Any

import click

from octjob import __version__
from octjob.errors import AccessError, Interrupted, OctjobError, SpecError

# Command, module and one line of help: enough for `octjob --help` without importing any of them.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("octjob.cli.demo:demo", "Run the whole story on synthetic data, on this machine."),
    "plan": (
        "octjob.cli.plan:plan",
        "Show the runs of a sweep, what is finished, and which keys do nothing.",
    ),
    "explain": (
        "octjob.cli.explain:explain",
        "Estimate what each chip must hold and compute, and what would make it fit.",
    ),
    "render": ("octjob.cli.render:render", "Write a sweep's Kubernetes documents as files."),
    "prepare": (
        "octjob.cli.prepare:prepare",
        "Read, decode and preprocess the volumes of a sweep into its shared cache.",
    ),
    "submit": ("octjob.cli.submit:submit", "Carry out a sweep's unfinished runs."),
    "status": ("octjob.cli.status:status", "Show where a sweep's runs stand."),
    "queue": ("octjob.cli.queue:queue", "Show who holds the chips that waiting runs wait for."),
    "logs": ("octjob.cli.logs:logs", "Show what a run says, or what its attempts said."),
    "collect": ("octjob.cli.collect:collect", "Join a sweep's results into the leaderboard."),
    "doctor": (
        "octjob.cli.doctor:doctor",
        "Name the first cause of what is wrong with a sweep or a run.",
    ),
    "report": (
        "octjob.cli.reports:report",
        "Draw a sweep's leaderboard as one page, or as a table for a paper.",
    ),
    "card": ("octjob.cli.card:card", "Write a model card of one finished run."),
    "open-test": (
        "octjob.cli.open_test:open_test",
        "Score one finished run on the test split, on the record.",
    ),
    "cancel": ("octjob.cli.control:cancel", "Stop runs on a cluster; their results and saved states stay."),
    "pause": ("octjob.cli.control:pause", "Stop runs for now and give their chips back."),
    "resume": ("octjob.cli.control:resume", "Let paused runs go on."),
    "retry": ("octjob.cli.control:retry", "Run failed runs again from their last saved state."),
    "train": ("octjob.cli.train:train", "Carry out or continue one run, or several in turn."),
    "checkpoint": ("octjob.cli.checkpoint:checkpoint", "Look into pretrained weights."),
    "data": ("octjob.cli.data:data", "Index, check or synthesize a data set."),
    "self-check": ("octjob.cli.self_check:self_check", "Check this installation, usually an image."),
    "schema": ("octjob.cli.schema:schema", "Print the JSON Schema of sweeps, configs or `-o json`."),
    "completion": (
        "octjob.cli.completion:completion",
        "Print a script that makes the shell complete octjob.",
    ),
}


class _LazyGroup(click.Group):
    """A group whose commands are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="octjob")
def cli() -> None:
    """Which pretrained checkpoint is best, and under which fine-tuning configuration? Honestly.

    A sweep (YAML) names checkpoints and configurations; octjob runs every pair and joins the results into one
    leaderboard with intervals, in which a model that always predicts one class is called collapsed.

    \b
    Example:
      octjob plan --matrix sweeps/phase3.yaml
      octjob submit --matrix sweeps/phase3.yaml --target local
      octjob collect sweeps/phase3.yaml
    """


def main(args: list[str] | None = None) -> None:
    """The console script: every `OctjobError` becomes one line, a hint and its exit code."""
    code = run(args)
    sys.exit(code or _flushed())


def run(args: list[str] | None = None) -> int:
    """Like `main`, returning the exit code."""
    try:
        value: Any = cli.main(args, prog_name="octjob", standalone_mode=False)
        return value if isinstance(value, int) else 0
    except OctjobError as error:
        return report(error)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return SpecError.exit_code
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        hint = f"`{context.command_path} --help` shows how it is used." if context else ""
        _say("error", error.format_message(), hint)
        return SpecError.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return Interrupted.exit_code
    except BrokenPipeError:
        # The reader of our output (`| head`) went away; that is its right.
        sys.stderr.close()
        return 0
    except OSError as error:
        return _no_room(error)


def report(error: Exception) -> int:
    """Print what a command, or one run of several, ended with; returns its exit code. A bug gets its traceback."""
    from octjob.storage.base import NO_ROOM

    if isinstance(error, OctjobError):
        _say("interrupted" if isinstance(error, Interrupted) else "error", error.message, error.hint)
        return error.exit_code
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return _no_room(error)
    traceback.print_exception(error)
    return OctjobError.exit_code


def _flushed() -> int:
    """0 where all that was printed has arrived, else an error's exit code: Python's own ends it without a word."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stderr.close()
    except OSError as error:
        return _no_room(error)
    return 0


def _no_room(error: OSError) -> int:
    """The one line for a disk that is full, wherever that was noticed; anything else of the system is a bug."""
    from octjob.storage.base import NO_ROOM

    if error.errno not in NO_ROOM:
        raise error
    if error.filename is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - or Python flushes it again at its end
    _say(
        "error", f"{error.filename or 'standard output'}: {error.strerror}", "Make room there, and try again."
    )
    return AccessError.exit_code


def _say(kind: str, message: str, hint: str) -> None:
    """One line and at most one hint, whatever line breaks a library's text brought along."""
    click.echo(f"{kind}: {' '.join(message.split())}", err=True)
    if hint:
        click.echo(f"hint: {' '.join(hint.split())}", err=True)

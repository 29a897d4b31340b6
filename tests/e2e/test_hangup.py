"""A closed terminal: the launcher lets its runs save, though it can write to nobody any more."""

from __future__ import annotations

import os
import pty
import select
import sys
from pathlib import Path

CONTROLLER = """
import signal, subprocess, sys
from pathlib import Path
import click
from octjob.targets.local import LocalTarget

RUN = "import signal, sys; signal.signal(15, lambda *a: sys.exit(75)); print('ready', flush=True); signal.pause()"
folder = Path(sys.argv[1])

class Target(LocalTarget):
    def _spawn(self, command, log):
        process = subprocess.Popen([sys.executable, "-c", RUN], stdout=subprocess.PIPE, start_new_session=True)
        process.stdout.readline()
        return process

class Run:
    run_id = "a"

target = Target(folder, 1, 0, {}, lambda items: click.echo(items[0].state, err=True))
try:
    (ended,) = target.carry_out([(Run(), "uri")])
    said = f"{ended.state} {ended.exit_code}"
except BaseException as error:
    said = repr(error)
(folder / "said.tmp").write_text(said)
(folder / "said.tmp").rename(folder / "said")
"""


def _hang_up(folder: Path) -> None:
    """Start the launcher on a terminal of its own, close that, and wait for the launcher."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", CONTROLLER, str(folder)])
    # Its first line says that the run has started.
    assert select.select([terminal], [], [], 30)[0]
    os.close(terminal)
    os.waitpid(pid, 0)


def test_a_closed_terminal_lets_every_run_save(tmp_path: Path) -> None:
    _hang_up(tmp_path)
    assert (tmp_path / "said").read_text() == "interrupted 75"

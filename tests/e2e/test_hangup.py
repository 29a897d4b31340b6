"""A closed terminal: the launcher lets its runs save, or goes on under nohup, though it can write to nobody."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
from pathlib import Path

CONTROLLER = '''
import signal, subprocess, sys
from pathlib import Path
import click
from octjob.targets.local import LocalTarget

RUN = """
import signal, sys, time
from pathlib import Path
signal.signal(15, lambda *a: sys.exit(75))
print('ready', flush=True)
while not Path(sys.argv[1]).exists():
    time.sleep(0.02)
"""
folder = Path(sys.argv[1])

class Target(LocalTarget):
    def _spawn(self, command, log):
        command = [sys.executable, "-c", RUN, str(folder / "finish")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        process.stdout.readline()
        return process

    looks = 0

    def _pass_on(self, running):
        super()._pass_on(running)
        # Three looks after the terminal was closed, the run may end by itself.
        self.looks += (folder / "closed").exists()
        if self.looks == 3:
            (folder / "finish").touch()

class Run:
    run_id = "a"

target = Target(folder, 1, 0, {}, lambda items: click.echo(items[0].state, err=True))
try:
    (ended,) = target.carry_out([[(Run(), "uri")]])
    said = f"{ended.state} {ended.exit_code}"
except BaseException as error:
    said = repr(error)
(folder / "said.tmp").write_text(said)
(folder / "said.tmp").rename(folder / "said")
'''


def _hang_up(folder: Path, *, nohup: bool = False) -> None:
    """Start the launcher on a terminal of its own, close that, and wait for the launcher."""
    pid, terminal = pty.fork()
    if pid == 0:
        if nohup:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.execv(sys.executable, [sys.executable, "-c", CONTROLLER, str(folder)])
    # Its first line says that the run has started.
    assert select.select([terminal], [], [], 30)[0]
    os.close(terminal)
    (folder / "closed").touch()
    os.waitpid(pid, 0)


def test_a_closed_terminal_lets_every_run_save(tmp_path: Path) -> None:
    _hang_up(tmp_path)
    assert (tmp_path / "said").read_text() == "Interrupted 75"


def test_under_nohup_the_runs_go_on_to_their_end(tmp_path: Path) -> None:
    _hang_up(tmp_path, nohup=True)
    assert (tmp_path / "said").read_text() == "Succeeded 0"

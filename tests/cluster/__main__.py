"""`python -m tests.cluster up|down|status`: one control plane that stays, for a person to play with."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from .access import CommandError
from .build import BuildError, build_all, tool
from .controlplane import ControlPlane, Options
from .kueue_certs import KueueCertsError
from .processes import ComponentError
from .tenancy import QUEUE, SLICES, make_namespace
from .tryout import write_tryout

NAMESPACE = "demo"


def default_folder() -> Path:
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "octjob" / "cluster"


def up(folder: Path, options: Options, base_port: int | None) -> None:
    """Start it, unless all of it runs; what is left of one that does not is removed first."""
    plane = ControlPlane.attach(folder)
    if plane is None or not plane.status() or not all(plane.status().values()):
        down(folder)
        build_all()
        _say("starting a control plane")
        plane = ControlPlane.create(folder, options, base_port)
        plane.start()
        make_namespace(plane, NAMESPACE)
        plane.kubectl("config", "set-context", "--current", "--namespace", NAMESPACE)
    sweep = write_tryout(folder / "tryout")
    _say(f"""
{options.pools} v4-32 slices (fake nodes), queue `{QUEUE}` in namespace `{NAMESPACE}`, and a small sweep. Use it with:

export KUBECONFIG={plane.kubeconfig}
export PATH={programs(folder)}:{Path(sys.executable).parent}:$PATH   # kubectl, helm, octjob

cd {sweep.parent}
octjob submit -f {sweep.name}
octjob status tryout --watch

docs/walkthrough.md goes on from here. `{_stop_command(folder)}` removes it all, the sweep and its results too.""")


def programs(folder: Path) -> Path:
    """A folder with the programs that a person needs."""
    links = folder / "bin"
    links.mkdir(exist_ok=True)
    for name in ("kubectl", "helm"):
        (links / name).unlink(missing_ok=True)
        (links / name).symlink_to(tool(name))
    return links


def _stop_command(folder: Path) -> str:
    return (
        "make cluster-down" if folder == default_folder() else f"python -m tests.cluster down --data {folder}"
    )


def down(folder: Path) -> None:
    """Stop it and remove every trace; harmless when there is none."""
    if plane := ControlPlane.attach(folder):
        plane.stop()
    shutil.rmtree(folder, ignore_errors=True)
    if folder == default_folder():
        with suppress(OSError):
            folder.parent.rmdir()  # Unless something else of octjob's lies there.


def status(folder: Path) -> int:
    """Print what runs; 1 when not all of it does."""
    plane = ControlPlane.attach(folder)
    found = plane.status() if plane else {}
    for name, running in found.items():
        _say(f"{name:20} {'running' if running else 'stopped'}")
    if not found:
        _say("no control plane; `make cluster` starts one")
    return 0 if found and all(found.values()) else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "status"])
    parser.add_argument("--data", type=Path, default=default_folder(), help="default: %(default)s")
    parser.add_argument("--pools", type=int, default=SLICES, help="v4-32 slices; default %(default)s")
    parser.add_argument("--run-pods", choices=["standin", "kwok", "none"], default="standin")
    parser.add_argument("--base-port", type=int, help="first of a row of ports; default: any free ones")
    parser.add_argument("--after-stdin", action="store_true", help="down: wait until standard input ends")
    chosen = parser.parse_args()
    if chosen.command == "down":
        if chosen.after_stdin:
            sys.stdin.read()
        down(chosen.data)
    elif chosen.command == "status":
        return status(chosen.data)
    else:
        up(chosen.data, Options(chosen.run_pods, chosen.pools), chosen.base_port)
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BuildError, ComponentError, KueueCertsError, CommandError) as error:
        sys.exit(f"error: {error}")

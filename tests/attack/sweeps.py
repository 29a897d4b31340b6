"""One tiny sweep for all attacks on its processes and disks: carried out in any number of folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doubles.octjobs import Ended, Octjobs
from doubles.tiny_sweep import submitted, sweep_file, uri_of

from octjob.records.layout import run_key
from octjob.spec.run import Run

SEED = 20261129


@dataclass(frozen=True)
class Sweeps:
    """The same sweep again and again, each in a folder of its own, with the results of an undisturbed one."""

    folder: Path
    octjob: Octjobs

    def at(self, name: str, **changes: Any) -> Path:
        """A sweep file, with output, caches and temporary files below `name`."""
        here = self.folder / name
        (here / "tmp").mkdir(parents=True)
        configs: dict[str, dict[str, Any]] = {
            "probe": {"train.epochs": 4, "data.augment.flip": True},
            "other": {"train.epochs": 3, "data.augment.flip": True},
            "finetune": {
                "train.epochs": 1,
                "model.freeze_encoder": False,
                "data.cache_dir": f"{here}/volumes",
            },
        }
        checkpoints = {n: {"uri": f"{self.folder}/{n}.pt", "num_heads": 2} for n in "ab"}
        made = sweep_file(
            self.folder,
            configs,
            **{"output": f"{here}/out", "cache": f"{here}/cache", "checkpoints": checkpoints, "baseline": "b"}
            | changes,
        )
        return made.rename(here / "sweep.yaml")

    def run(self, path: Path, *args: object, **strike: Any) -> Ended:
        """One command, its temporary files in the sweep's own folder."""
        env = {"TMPDIR": f"{path.parent}/tmp"} | strike.pop("env", {})
        ended = self.octjob(*args, env=env, **strike)
        assert ended.left == [], ended.said
        assert "Traceback" not in ended.said
        return ended

    def table(self, path: Path) -> bytes:
        """The CSV that `collect` stores."""
        assert self.run(path, "collect", path).exit == 0
        return (path.parent / "out/tiny/leaderboard/leaderboard.csv").read_bytes()

    def uri(self, run: Run) -> str:
        """What `octjob train --run` takes."""
        return uri_of(run)


def of_run(undisturbed: Path, run: Run, name: str) -> bytes:
    return (undisturbed.parent / "out/tiny" / run_key(run.run_id, name)).read_bytes()


def leftovers(folder: Path) -> list[Path]:
    """Temporary files and folders of ours, wherever they are."""
    return [*folder.rglob(".octjob-*"), *folder.rglob("octjob-work-*")]


def stored(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (path.parent / "out/tiny/leaderboard").iterdir()}


def submitted_run(sweeps: Sweeps, name: str, config: str, checkpoint: str = "a") -> tuple[Path, Run]:
    """A sweep file whose plan is stored, and its run of a configuration and checkpoint."""
    here = sweeps.folder / name / "sweep.yaml"
    path = here if here.exists() else sweeps.at(name)
    _, plan = submitted(path)
    (run,) = [run for run in plan.runs if (run.config_name, run.checkpoint_name) == (config, checkpoint)]
    return path, run

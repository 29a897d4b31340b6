"""A sweep's report as an artifact of Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack

from octjob.errors import AccessError, SpecError
from octjob.extras import is_installed
from octjob.spec.experiment import Log
from octjob.storage.temporary import temporary_folder


def require_wandb() -> None:
    """Raise `SpecError` where W&B is not installed: the launcher does without it."""
    if not is_installed("wandb"):
        raise SpecError("--wandb: wandb is not installed", "Install octjob[train], or leave --wandb out.")


def log_report(sweep: str, log: Log, name: str, content: bytes, facts: Mapping[str, str]) -> None:
    """Log `content` as file `name` of the artifact `<sweep>-report`, in the project that the runs' curves go to.

    facts: metadata of the artifact. W&B makes another version only of other bytes.

    Raises `AccessError` where W&B refuses or is not reached: unlike a run, whoever asks for this wants to know.
    """
    import wandb

    try:
        with ExitStack() as stack:
            folder = os.environ.get("WANDB_DIR") or str(stack.enter_context(temporary_folder()))
            run = stack.enter_context(
                wandb.init(
                    project=log.wandb_project,
                    entity=log.wandb_entity,
                    name=f"{sweep} report",
                    group=sweep,
                    job_type="report",
                    dir=folder,
                )
            )
            artifact = wandb.Artifact(f"{sweep}-report", type="report", metadata=dict(facts))
            with artifact.new_file(name, mode="wb") as file:
                file.write(content)
            run.log_artifact(artifact)
    except (wandb.Error, OSError) as error:
        raise AccessError(
            f"W&B does not take the report ({type(error).__name__}: {error})",
            "Check WANDB_API_KEY, and wandb_project and wandb_entity in the configs; the file itself was written.",
        ) from None

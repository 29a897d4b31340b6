"""Keys that the original pipeline's files carry and a config has not: what each did there, and what to do here.

`docs/migration.md` explains them; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from octjob.errors import SpecError
from octjob.spec.yaml import Document, KeyPath, dotted

_SCHEDULE = (
    "Of StepLR; here `step` is a tenth after 60 % and a hundredth after 85 % of the epochs. Delete it."
)

# Key, or section, to the hint.
HINTS: Mapping[str, str] = {
    "hydra": "Hydra's own settings and its list of checkpoints. Delete it and list them in a sweep's `checkpoints`.",
    "sweep": "It marked a Hydra multirun, and nothing read it. Delete it; a sweep lists checkpoints and configs.",
    "checkpoint_name": "It named the runs of a Hydra multirun. Delete it; a sweep's `checkpoints` have names.",
    "debug_mode": "It trained on dummy volumes. Delete it; `octjob data synthesize` makes a small data set.",
    "debug": "Limits and logging for a quick try. Delete it; `octjob data synthesize` makes a small data set.",
    "train.step_size": _SCHEDULE,
    "train.gamma": _SCHEDULE,
    "train.grad_accum_steps": "Write train.accumulate instead.",
    "train.label_smoothing": "The loss has no label smoothing here. Delete it.",
    "train.early_stopping.mode": "It follows from train.early_stopping.metric. Delete it.",
    "data.val_augment": "What is evaluated is never augmented. Delete it.",
    "data.augment.rotation_deg": "Write data.augment.rotation: true for up to 6 degrees in the B-scan plane.",
    "data.augment.intensity_jitter": "Write true for contrast ±5 % and brightness ±0.05 standard deviations.",
    "model.head.activation": "A hidden layer has GELU. Delete it.",
    "log.log_every_n_batches": "Every epoch is logged. Delete it.",
}

# Top-level keys of pretraining: the original's own files, and those of V-JEPA 2.
_OWN = """experiment_name gcs_root manifest_path list_strategy cache_local max_samples target_spacing image_size
patch_size mask_ratio global_batch_size per_core_batch_size base_lr ema_base max_steps ckpt_every_epochs
log_every_steps"""
_VJEPA2 = """mask optimization meta data_aug predictor loss folder app nodes tasks_per_node cpus_per_task
mem_per_gpu"""
PRETRAINING = frozenset(f"{_OWN} {_VJEPA2}".split())


def original_hint(path: KeyPath) -> str:
    """What to do about the key at `path` of an original file; empty where it is none of theirs."""
    for length in range(len(path), 0, -1):
        if (hint := HINTS.get(dotted(path[:length]))) is not None:
            return hint
    if path and path[0] in PRETRAINING:
        return "It belongs to pretraining. Delete it."
    return ""


def refuse_pretraining(data: Mapping[str, Any], document: Document) -> None:
    """Raise `SpecError` where `document` is the config of a pretraining, not of an evaluation."""
    found = [key for key in data if key in PRETRAINING]
    if len(found) < 2:
        return
    raise SpecError(
        f"{document.mark((found[0],))}: {found[0]}: this is a pretraining config"
        f" ({', '.join(found[:4])}), and octjob evaluates what was pretrained",
        "Name the checkpoint it made in a sweep's `checkpoints`; configs/cls_linear_probe.yaml shows a config.",
    )

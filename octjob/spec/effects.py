"""Which keys a config sets without any effect.

The original pipeline read a third of its config and ignored the rest in silence. Here a key without effect is
an error where it was written beside the key that disarms it (same file or same override), and a note in the
plan where it was inherited from `defaults`, or where the original files are known to carry it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from octjob.errors import SpecError
from octjob.spec.compute import Compute
from octjob.spec.encoding import needs_chips, reads_features
from octjob.spec.experiment import OPEN_TEST_HINT, Experiment
from octjob.spec.mounts import mount_notes
from octjob.spec.run import Run
from octjob.spec.yaml import Document, KeyPath


@dataclass(frozen=True)
class Rule:
    """`key`, or all below it, has no effect where `holds`; `cause` is the key that makes it so.

    always_note: never raise; original files carry the key, or it is harmless.
    """

    key: str
    cause: str
    holds: Callable[[Experiment], bool]
    why: str
    always_note: bool = False

    @property
    def path(self) -> KeyPath:
        """The key as a path."""
        return tuple(self.key.split("."))

    def covers(self, key: KeyPath) -> bool:
        """Whether it speaks of `key`."""
        return key[: len(self.path)] == self.path


def _lbfgs(config: Experiment) -> bool:
    return config.train.optimizer == "LBFGS"


def _probe(config: Experiment) -> bool:
    return config.mode == "probe"


def _finetune(config: Experiment) -> bool:
    return config.mode == "finetune"


def _one_view(config: Experiment) -> bool:
    return _probe(config) and config.data.augment.views == 1


_LBFGS_WHY = "L-BFGS runs to convergence in one go"
_LEGACY_WHY = "octjob has its own loader"
_STOPPING_WHY = "early stopping is off; train.early_stopping.enabled: true turns it on"

RULES: tuple[Rule, ...] = (
    Rule("train.lr_encoder", "model.freeze_encoder", _probe, "the encoder is frozen", always_note=True),
    *(
        Rule(f"train.{key}", "train.optimizer", _lbfgs, _LBFGS_WHY)
        for key in (
            "epochs",
            "lr_head",
            "weight_decay",
            "scheduler",
            "warmup_epochs",
            "grad_clip",
            "early_stopping",
        )
    ),
    *(
        Rule(key, "train.optimizer", _lbfgs, "L-BFGS uses all samples at once")
        for key in ("data.batch_size", "data.val_batch_size", "train.accumulate")
    ),
    *(
        Rule(
            f"train.early_stopping.{key}",
            "train.early_stopping.enabled",
            lambda c: not c.train.early_stopping.enabled and not _lbfgs(c),
            _STOPPING_WHY,
            always_note=True,
        )
        for key in ("patience", "min_delta", "metric", "holdout")
    ),
    Rule("model.head.dropout", "train.optimizer", _lbfgs, "logistic regression has no dropout"),
    Rule(
        "train.l2",
        "train.optimizer",
        lambda c: not _lbfgs(c),
        "only LBFGS has an l2 penalty; use weight_decay",
    ),
    Rule("train.focal_gamma", "train.loss", lambda c: c.train.loss != "focal", "the loss is cross_entropy"),
    Rule("train.remat", "model.freeze_encoder", _probe, "the encoder is frozen"),
    Rule("train.standardize", "model.freeze_encoder", _finetune, "features change while the encoder trains"),
    Rule("data.augment.views", "model.freeze_encoder", _finetune, "fine-tuning draws a new view every epoch"),
    Rule(
        "data.augment.views",
        "data.augment",
        lambda c: not c.data.augment.any,
        "no augmentation is on",
    ),
    *(
        Rule(f"data.augment.{key}", "data.augment.views", _one_view, "a probe with one view never augments")
        for key in ("flip", "intensity_jitter", "random_crop", "rotation")
    ),
    Rule(
        "data.cache_limit_gib",
        "data.cache_dir",
        lambda c: c.data.cache_dir is None,
        "no data.cache_dir holds volumes",
    ),
    Rule("project_name", "project_name", lambda c: True, "nothing reads it", always_note=True),
    *(
        Rule(
            f"data.{key}",
            "data.layout",
            lambda c: not c.data.is_table,
            "data.layout is aireadi; only layout table reads it",
        )
        for key in ("table", "columns", "axes")
    ),
    *(
        Rule(f"data.{key}", "data.layout", lambda c: c.data.is_table, why)
        for key, why in (
            ("regions", "a table (data.layout) says nothing of regions; leave rows out of it"),
            ("include_radial", "a table (data.layout) says nothing of radial scans; leave rows out of it"),
        )
    ),
    Rule(
        "paths.labels_tsv",
        "data.layout",
        lambda c: c.data.is_table,
        "data.table says who takes part",
        always_note=True,
    ),
    *(
        Rule(
            f"paths.{key}",
            "data.layout",
            lambda c: c.data.is_table and c.data.source is None,
            "the table's folder is where the volumes are",
            always_note=True,
        )
        for key in ("s3_bucket", "s3_prefix")
    ),
    *(
        Rule(
            f"paths.{key}",
            "data.source",
            lambda c: c.data.source is not None,
            "data.source says where the volumes are",
            always_note=True,
        )
        for key in ("s3_bucket", "s3_prefix")
    ),
    *(
        Rule(f"log.{key}", "log.wandb", lambda c: not c.log.wandb, "log.wandb is off", always_note=True)
        for key in ("wandb_project", "wandb_entity")
    ),
    Rule(
        "paths.checkpoint_path",
        "checkpoints",
        lambda c: True,
        "the sweep names the checkpoints",
        always_note=True,
    ),
    Rule("log.ckpt_dir", "output", lambda c: True, "results go to the sweep's output", always_note=True),
    Rule("s3.endpoint_env", "s3", lambda c: True, "B2 is read through its native API", always_note=True),
    *(
        Rule(f"data.{key}", "data", lambda c: True, _LEGACY_WHY, always_note=True)
        for key in ("use_distributed", "persistent_workers", "prefetch_factor")
    ),
)

# A sweep decides it, not the config.
_SEEDS_LISTED = Rule("seed", "seeds", lambda c: True, "the sweep lists `seeds`", always_note=True)


def check_effects(config: Experiment, document: Document) -> None:
    """Raise `SpecError` for the first key written without effect beside its cause, or a contradiction."""
    _check_contradictions(config, document)
    for rule in _holding(config, document):
        here = next(mark for key, mark in document.marks.items() if rule.covers(key))
        cause = document.mark(tuple(rule.cause.split(".")))
        if not rule.always_note and cause is not None and cause.file == here.file:
            raise SpecError(
                f"{here}: {rule.key}: has no effect here, {rule.why}",
                f"Remove it, or change {rule.cause}.",
            )


def unused_keys(config: Experiment, document: Document, *, seeds_listed: bool = False) -> tuple[str, ...]:
    """Keys that are set and have no effect, each with its reason, for the plan.

    seeds_listed: whether the sweep gives every run its seeds.
    """
    return tuple(f"{rule.key} unused: {rule.why}" for rule in _holding(config, document, seeds_listed))


def idle_reason(key: str, config: Experiment, *, seeds_listed: bool = False) -> str:
    """Why `key` has no effect under `config`; empty where it has one."""
    path = tuple(key.split("."))
    rules = _rules(seeds_listed)
    return next((rule.why for rule in rules if rule.covers(path) and rule.holds(config)), "")


def _rules(seeds_listed: bool) -> tuple[Rule, ...]:
    return (*RULES, _SEEDS_LISTED) if seeds_listed else RULES


def _holding(config: Experiment, document: Document, seeds_listed: bool = False) -> list[Rule]:
    rules = _rules(seeds_listed)
    return [rule for rule in rules if rule.holds(config) and any(map(rule.covers, document.marks))]


def _check_contradictions(config: Experiment, document: Document) -> None:
    def fail(key: str, message: str, hint: str) -> None:
        mark = document.mark(tuple(key.split(".")))
        raise SpecError(f"{mark}: {key}: {message}", hint)

    if config.data.eval_split == "test":
        fail("data.eval_split", "no run scores the test split", OPEN_TEST_HINT)
    if config.data.is_table and config.data.table is None:
        fail("data.layout", "table needs data.table", "Set data.table to the table's URI, e.g. volumes.csv.")
    if _lbfgs(config):
        if _finetune(config):
            fail("train.optimizer", "LBFGS cannot fine-tune", "Use AdamW or SGD, or freeze the encoder.")
        if config.model.head.hidden or config.model.pool_method == "attentive":
            fail(
                "train.optimizer",
                "LBFGS fits a linear head only",
                "Set model.head.hidden: 0 and pool mean or max.",
            )
        if config.train.loss == "focal":
            fail("train.loss", "LBFGS fits cross-entropy only", "Use AdamW or SGD for the focal loss.")
        if config.train.sampler == "weighted":
            fail("train.sampler", "LBFGS uses every sample once", "Use train.class_weights: auto.")
    if config.model.unfreeze_at_epoch >= config.train.epochs:
        fail(
            "model.unfreeze_at_epoch",
            f"never reached in {config.train.epochs} epochs",
            "Lower it, or use -1.",
        )
    if config.train.warmup_epochs >= config.train.epochs and not _lbfgs(config):
        fail("train.warmup_epochs", f"as long as all {config.train.epochs} epochs", "Lower it.")


def double_correction(config: Experiment) -> str:
    """A warning where class imbalance is corrected twice, else empty."""
    if config.train.sampler == "weighted" and config.train.class_weights != "none":
        return "double correction: a weighted sampler and class weights both counter the imbalance"
    return ""


def rounded_volumes(config: Experiment) -> str:
    """A note where volumes are rounded more coarsely than the encoder computes, else empty."""
    if config.data.volume_dtype == "float16" and config.train.precision == "fp32":
        return (
            "rounded volumes: data.shared_cache float16 keeps 11 bits of each voxel where train.precision fp32"
            " computes with 24; float32 keeps them all"
        )
    return ""


def compute_notes(compute: Compute, runs: Sequence[Run]) -> list[str]:
    """What keys of `compute` do not change, for the plan."""
    return [*probe_notes(compute, runs), *mount_notes(compute, runs)]


def probe_notes(compute: Compute, runs: Sequence[Run]) -> list[str]:
    """What `compute.probe` does not change, and what it moves to cores that may not be meant to go there."""
    if compute.probe is None:
        return []
    if compute.target == "local":
        return ["compute.probe: changes nothing with target local, which has no pods"]
    if all(needs_chips(run) for run in runs):
        return ["compute.probe: changes nothing: every run trains its encoder, and keeps its slice"]
    if any(run.config.log.images for run in runs if reads_features(run)):
        return [
            "log.images beside compute.probe: the encoder computes the maps of these few volumes on the cores of each"
            " run's pod"
        ]
    return []

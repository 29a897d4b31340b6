"""One experiment config: how one checkpoint is evaluated. The original schema, plus keys in its style.

Every key is read by something; a key that is not listed here is an error (`octjob.spec.load`), and a key that
the chosen mode cannot use is an error or a note in the plan (`octjob.spec.effects`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from octjob.catalog import PER_EPOCH, SampleUnit
from octjob.spec.names import CLASS, SHORT, check_name
from octjob.spec.section import (
    MAX_LENGTH,
    Connections,
    Count,
    Fraction,
    Names,
    NonNegative,
    Positive,
    Section,
    Seed,
    Size3,
    Workers,
    as_tuple,
)

CLASS_NAMES = (
    "healthy",
    "pre_diabetes_lifestyle_controlled",
    "oral_medication_and_or_non_insulin_injectable_medication_controlled",
    "insulin_dependent",
)

_SHORT_NAMES = dict(zip(CLASS_NAMES, ("healthy", "pre-diabetes", "oral/injectable", "insulin"), strict=True))

Mode = Literal["probe", "finetune"]
AttentionKey = Literal["auto", "sdpa", "blocks", "flash"]
VolumeDtype = Literal["float16", "float32"]
TableColumn = Literal["path", "label", "participant", "split", "eye", "device", "site", "age"]
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
if TYPE_CHECKING:
    WatchedMetric = str
else:  # What early stopping watches; mypy cannot follow a list.
    WatchedMetric = Literal[("loss", *PER_EPOCH)]

OPEN_TEST_HINT = (
    "Remove it; `octjob open-test SWEEP RUN` scores a finished run there, and records that it did."
)


class Paths(Section):
    """Where the original pipeline kept its inputs. A sweep's `checkpoints` replace `checkpoint_path`."""

    labels_tsv: str = "participants.tsv"
    checkpoint_path: str | None = None
    s3_bucket: str | None = None
    s3_prefix: str | None = None


class S3(Section):
    """Kept so that original files load; octjob reads B2 through its native API."""

    endpoint_env: str = "S3_ENDPOINT_URL"


class Augment(Section):
    """Training-time augmentation. All of it is right for z-scored volumes: nothing is clamped."""

    flip: bool = Field(False, description="Mirror the fast lateral axis (W) with probability 0.5.")
    intensity_jitter: bool = Field(
        False, description="Contrast ±5 % and brightness ±0.05 standard deviations."
    )
    random_crop: bool = Field(False, description="Crop 85-100 % of each axis at random and resize back.")
    rotation: bool = Field(False, description="Rotate by up to ±6 degrees in the B-scan plane (H, W).")
    resize: Size3 | None = Field(
        None, description="(D, H, W) in voxels; must be the checkpoint's own volume size."
    )
    views: Count = Field(
        2,
        le=100,
        description="Probe only: encoded views per training volume. The first is the volume itself; "
        "the others exist only where some augmentation is on.",
    )

    @property
    def any(self) -> bool:
        """Whether training sees anything but the volume itself."""
        return self.flip or self.intensity_jitter or self.random_crop or self.rotation


class Data(Section):
    """Which volumes are read, from where, and how they become tensors."""

    layout: Literal["aireadi", "table"] = Field(
        "aireadi",
        description="How the data set says what it holds: as AI-READI does, or in a table of your own.",
    )
    table: str | None = Field(
        None,
        description="layout table: URI of a .csv, .tsv or .parquet file, a row for each volume, with columns path, "
        "label, participant and split, and eye, device, site and age where there are such.",
    )
    columns: dict[TableColumn, Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        default_factory=dict,
        description="layout table: what the table calls these columns, where it calls them otherwise.",
    )
    axes: Literal["DHW", "DWH", "HDW", "HWD", "WDH", "WHD"] = Field(
        "DHW",
        description="layout table: the axes of NIfTI, NRRD and NPY volumes from the slowest to the fastest: D "
        "B-scans, H rows (depth), W columns. nibabel's index order is the other way round.",
    )
    source: str | None = Field(
        None,
        description="Root URI of the AI-READI data set (holds participants.tsv and retinal_oct/), default: the B2 "
        "bucket of `paths`. layout table: what its paths are relative to, default: the table's folder.",
    )
    num_workers: Workers | None = Field(
        None, description="Volumes decoded at the same time, a process each; null for one a core."
    )
    connections: Connections = Field(
        16, description="Connections to the source that volumes come over at the same time, each or in parts."
    )
    cache_dir: str | None = Field(
        None, description="Local directory for preprocessed volumes; null for none."
    )
    cache_limit_gib: Positive | None = Field(
        None,
        description="Most GiB of volumes in `cache_dir`; the least recently used go first. Default half of what is "
        "free there.",
    )
    shared_cache: VolumeDtype | None = Field(
        None,
        description="Keep preprocessed volumes in the sweep's `cache` too, for all runs, as numbers of this kind. "
        "float16 halves them, and rounds what every run with this setting sees. null for none.",
    )
    batch_size: Count = 8
    val_batch_size: Count = 8
    use_distributed: bool | None = None
    persistent_workers: bool | None = None
    prefetch_factor: Workers | None = None
    augment: Augment = Augment()
    profile: Literal["pretraining", "seed_finetune"] = Field(
        "pretraining",
        description="Preprocessing: what the checkpoint saw, or what the original fine-tuning did.",
    )
    sites: Names | None = Field(
        None, description="Clinical sites whose participants take part; null for all."
    )
    devices: Names | None = Field(None, description="Device folders to use; null for all.")
    regions: Names | None = Field(None, description="Anatomic regions; null for all.")
    laterality: Literal["both", "left", "right"] = "both"
    volumes: Literal["all", "one"] = Field("all", description="Eligible volumes per participant.")
    include_radial: bool = Field(
        False, description="Radial scans are not raster volumes; excluded by default."
    )
    eval_split: Literal["val", "test"] = Field(
        "val",
        description="Always val: `test`, which early versions took, is refused; `octjob open-test` scores it.",
    )
    min_coverage: Fraction = Field(
        0.95, description="Least share of expected participants that must be found."
    )
    max_corrupt: Fraction = Field(0.01, description="Largest share of volumes that may be unreadable.")
    unit: SampleUnit = Field("participant", description="What one scored sample is.")

    @field_validator("table")
    @classmethod
    def _known_table(cls, value: str | None) -> str | None:
        if value is not None and not value.lower().endswith(TABLE_SUFFIXES):
            raise ValueError(f"a table is a {', '.join(TABLE_SUFFIXES)} file, got {value!r}")
        return value

    @field_validator("columns")
    @classmethod
    def _each_column_once(cls, value: dict[str, str]) -> dict[str, str]:
        if len(set(value.values())) != len(value):
            raise ValueError("columns names the same column of the table twice")
        return value

    @property
    def is_table(self) -> bool:
        """Whether a table says what there is."""
        return self.layout == "table"

    @property
    def volume_dtype(self) -> VolumeDtype:
        """The kind of numbers that preprocessed volumes are rounded to, wherever they come from."""
        return self.shared_cache or "float32"


def short_class_names(names: Sequence[str]) -> tuple[str, ...]:
    """What tables write for classes whose short names nobody gave: AI-READI's have some, others are their own."""
    short = tuple(_SHORT_NAMES.get(name, name) for name in names)
    return short if len(set(short)) == len(short) else tuple(names)


class Classes(Section):
    """The study groups and their class indices."""

    mapping: dict[str, Annotated[int, Field(ge=0, le=MAX_LENGTH)]] = Field(
        default_factory=lambda: {name: i for i, name in enumerate(CLASS_NAMES)}, max_length=MAX_LENGTH
    )
    short_names: Names | None = Field(
        None,
        description="What tables, reports and cards call the classes, by index, in at most 24 characters each; "
        "default: short names for AI-READI's groups, else their own. It changes no result.",
    )

    @field_validator("mapping")
    @classmethod
    def _contiguous(cls, mapping: dict[str, int]) -> dict[str, int]:
        for name in mapping:
            check_name(name, CLASS)
        if (
            sorted(set(mapping.values())) != list(range(len(set(mapping.values()))))
            or len(set(mapping.values())) < 2
        ):
            raise ValueError(f"class indices must be 0..K-1 with K >= 2, got {sorted(set(mapping.values()))}")
        return mapping

    @model_validator(mode="after")
    def _one_short_name_each(self) -> Classes:
        if self.short_names is None:
            return self
        for name in self.short_names:
            check_name(name, SHORT)
        if len(self.short_names) != self.num_classes:
            raise ValueError(f"short_names has {len(self.short_names)} names for {self.num_classes} classes")
        if len(set(self.short_names)) != self.num_classes:
            raise ValueError(f"short_names must be distinct, got {', '.join(self.short_names)}")
        return self

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return len(set(self.mapping.values()))

    @property
    def names(self) -> tuple[str, ...]:
        """Class names by index (the first group mapped to it)."""
        by_index: dict[int, str] = {}
        for name, index in self.mapping.items():
            by_index.setdefault(index, name)
        return tuple(by_index[i] for i in range(self.num_classes))

    @property
    def short(self) -> tuple[str, ...]:
        """What is shown for the classes, by index."""
        return self.short_names or short_class_names(self.names)


class Head(Section):
    """The classifier on top of the pooled features."""

    hidden: int = Field(0, ge=0, le=65_536, description="Width of the hidden layer; 0 for a linear head.")
    dropout: Fraction = 0.0


class Model(Section):
    """The encoder's use and the head."""

    emb_dim: Count | None = Field(None, description="Must be the checkpoint's width where given.")
    freeze_encoder: bool = True
    unfreeze_at_epoch: int = Field(
        -1, ge=-1, le=100_000, description="First epoch (from 0) that trains the encoder; -1: never."
    )
    pool_method: Literal["mean", "max", "attentive"] = "mean"
    encoder: Literal["auto", "context", "target"] = Field(
        "auto", description="Which encoder of the checkpoint to take; auto follows the checkpoint's kind."
    )
    head: Head = Head()
    attention: AttentionKey = Field(
        "auto",
        description="How attention is computed, not what: auto takes what is best for device and memory. "
        "blocks: some queries at a time. flash: a kernel for TPUs.",
    )

    @field_validator("pool_method", mode="before")
    @classmethod
    def _no_cls_token(cls, value: Any) -> Any:
        if value == "cls":
            raise ValueError("this encoder has no class token; use mean, max or attentive")
        return value


class EarlyStopping(Section):
    """Stop when the metric has not improved; the best epoch's weights are then evaluated.

    The metric is computed on a share of the *training* participants held out for it, so that the evaluated
    split never chooses the weights it scores. Of the rarest class these may be two: only the log-loss sees every
    improvement there.
    """

    enabled: bool = False
    patience: Count = 10
    min_delta: NonNegative = 0.001
    metric: WatchedMetric = "loss"
    holdout: Annotated[float, Field(gt=0.0, le=0.5)] = 0.15


class Train(Section):
    """The optimisation."""

    epochs: Count = 50
    lr_head: Positive = 1e-3
    lr_encoder: Positive = 3e-5
    weight_decay: NonNegative = 1e-4
    accumulate: Count = Field(
        1,
        description="Batches whose gradients make one optimisation step: that of a batch so many times the size.",
    )
    optimizer: Literal["AdamW", "SGD", "LBFGS"] = Field(
        "AdamW", description="LBFGS: L2 logistic regression to convergence, probe with a linear head only."
    )
    l2: Literal["auto"] | Positive = Field(
        "auto",
        description="LBFGS only: penalty 1/C; auto chooses it by cross-validation inside the training set.",
    )
    scheduler: Literal["cosine", "step", "none"] = "cosine"
    warmup_epochs: int = Field(0, ge=0, le=100_000)
    class_weights: (
        Literal["auto", "none"]
        | Annotated[tuple[Positive, ...], Field(max_length=MAX_LENGTH), BeforeValidator(as_tuple)]
    ) = Field(
        "none",
        description="auto: scikit-learn's `balanced` on the training labels really used. Numbers are "
        "relative: scaled to mean 1 over the training samples.",
    )
    sampler: Literal["shuffle", "weighted"] = "shuffle"
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: NonNegative = 2.0
    precision: Literal["fp32", "bf16"] = "fp32"
    remat: Literal["auto"] | bool = Field(
        "auto",
        description="Whether a backward pass computes each block's forward again instead of keeping it: a third "
        "more time for a fraction of the memory. auto: where it would not fit otherwise.",
    )
    standardize: bool = Field(
        False, description="Probe only: scale each feature to mean 0, std 1, fitted on the training samples."
    )
    grad_clip: NonNegative = Field(0.0, description="Largest gradient norm; 0 for no clipping.")
    early_stopping: EarlyStopping = EarlyStopping()

    @field_validator("class_weights", mode="before")
    @classmethod
    def _null_is_none(cls, value: Any) -> Any:
        """Original files write null for no weights."""
        return "none" if value is None else value


class Log(Section):
    """Tracking. Results themselves always go to the sweep's output."""

    wandb: bool = False
    wandb_project: str = "octjob"
    wandb_entity: str | None = None
    ckpt_dir: str | None = None
    save_best: bool = True
    save_last: bool = True
    images: int = Field(
        0,
        ge=0,
        le=16,
        description="Held-out participants whose central B-scan is stored, with a map over its patches, for `octjob "
        "report --with-images`.",
    )


class Experiment(Section):
    """A whole experiment config."""

    project_name: str = "octjob"
    seed: Seed = 42
    paths: Paths = Paths()
    s3: S3 = S3()
    data: Data = Data()
    classes: Classes = Field(default_factory=Classes)
    model: Model = Model()
    train: Train = Train()
    log: Log = Log()

    @property
    def mode(self) -> Mode:
        """`probe` where the encoder is never trained, else `finetune`."""
        return "probe" if self.model.freeze_encoder and self.model.unfreeze_at_epoch < 0 else "finetune"

    @model_validator(mode="after")
    def _class_weight_count(self) -> Experiment:
        weights = self.train.class_weights
        if isinstance(weights, tuple) and len(weights) != self.classes.num_classes:
            raise ValueError(
                f"train.class_weights has {len(weights)} values for {self.classes.num_classes} classes"
            )
        return self

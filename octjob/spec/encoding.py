"""Which runs put the same volumes through the same encoder, so that one pass over the data serves them all.

An *encoding* is that pass alone, where `compute.probe` lets the runs train elsewhere: a spec like a run's that names
the runs it `encodes`. It is carried out like one, and ends when their features are there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from octjob.spec.experiment import Log
from octjob.spec.run import Run

# What stands for the configuration in an encoding's names.
ENCODING = "encoding"
# Of `data`, what has no part in which features a run reads.
_NOT_OF_FEATURES = {
    "batch_size",
    "val_batch_size",
    "num_workers",
    "connections",
    "cache_dir",
    "cache_limit_gib",
}


def encoding_of(run: Run) -> str:
    """Equal for runs that encode the same volumes in the same way: what one leaves in the cache, the others read.

    Pooling and augmentation may differ: one pass makes all poolings and views that are wanted. Who takes part
    (devices, sites, laterality) may differ: features are kept volume by volume. `model.emb_dim` and
    `data.augment.resize` are only checked against the checkpoint.
    """
    config = run.config
    return repr(
        (
            run.cache,
            run.checkpoint,
            config.model.encoder,
            config.data.source,
            config.data.profile,
            config.data.volume_dtype,
            config.train.precision,
        )
    )


def reads_features(run: Run) -> bool:
    """Whether a run trains on features of a frozen encoder."""
    return run.has_encoder and run.config.mode == "probe"


def needs_chips(run: Run) -> bool:
    """Whether a run computes with an encoder itself, features aside: it trains one, or is an encoding."""
    return bool(run.encodes) or (run.has_encoder and run.config.mode == "finetune")


def encodings(runs: Iterable[Run]) -> dict[str, Run]:
    """The encoding that each run trains on, by the run's id; several have the same. None for runs without features.

    An encoding's id follows from the features that are wanted of it: a changed learning rate leaves it, another
    pooling or another choice of participants makes a new one, which encodes only what is missing.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if reads_features(run):
            groups.setdefault(encoding_of(run), []).append(run)
    return {run.run_id: one for group in groups.values() for one in [_encoding(group)] for run in group}


def _encoding(group: list[Run]) -> Run:
    """The spec of what serves these runs: that of the first, but for its name, and nothing of it is logged."""
    wanted: dict[str, Run] = {}
    for run in group:
        wanted.setdefault(json.dumps(_features(run), sort_keys=True), run)
    first = group[0]
    digest = hashlib.sha256("\n".join([encoding_of(first), *sorted(wanted)]).encode()).hexdigest()[:8]
    return first.model_copy(
        update={
            "run_id": f"{first.checkpoint_name}.{ENCODING}-{digest}",
            "config_name": ENCODING,
            "config": first.config.model_copy(update={"log": Log()}),
            "control": None,
            "encodes": tuple(run.run_id for run in wanted.values()),
            "notes": (),
        }
    )


def _features(run: Run) -> dict[str, Any]:
    """What decides which features of its encoder a run reads: who takes part in what, views, pooling."""
    config = run.config
    data: dict[str, Any] = config.data.model_dump(mode="json", exclude=_NOT_OF_FEATURES)
    return {
        "data": data,
        "labels": config.paths.labels_tsv,
        "classes": config.classes.mapping,
        "pooling": config.model.pool_method,
        "is_pooled": run.is_pooled,
        "leave_out": run.leave_out,
    }

"""Which runs share a process: starting one costs seconds, a probe on features that are there costs hardly more."""

from __future__ import annotations

from collections.abc import Sequence

from octjob.spec.experiment import Augment
from octjob.spec.run import Run


def bundles(runs: Sequence[Run], size: int) -> list[tuple[Run, ...]]:
    """The runs in groups of at most `size`, each run in one: probes that read the same features of one encoder.

    Fine-tunings stay alone. Groups stand in the order of their first runs, runs within one as they came.
    """
    if size == 1:
        return [(run,) for run in runs]
    found: list[list[Run]] = []
    open_bundles: dict[str, list[Run]] = {}
    for run in runs:
        shared = features_of(run) if run.config.mode == "probe" else run.run_id
        bundle = open_bundles.get(shared)
        if bundle is None or len(bundle) == size:
            bundle = open_bundles[shared] = []
            found.append(bundle)
        bundle.append(run)
    return [tuple(bundle) for bundle in found]


def features_of(run: Run) -> str:
    """Equal for runs that encode the same volumes in the same way, so that the first fills the cache for all.

    Who takes part (devices, sites, laterality) may differ: features are kept volume by volume. `model.emb_dim` and
    `data.augment.resize` are only checked against the checkpoint.
    """
    config = run.config
    return repr(
        (
            run.cache,
            run.checkpoint,
            config.model.encoder,
            config.model.pool_method,
            config.data.source,
            config.data.profile,
            config.data.volume_dtype,
            _views(config.data.augment),
            config.train.precision,
        )
    )


def _views(augment: Augment) -> object:
    """Where there is one view, it is the volume itself, whatever is on."""
    if augment.views == 1 or not augment.any:
        return 1
    return augment.model_dump(exclude={"resize"})

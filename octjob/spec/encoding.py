"""Which runs put the same volumes through the same encoder, so that one pass over the data serves them all."""

from __future__ import annotations

from octjob.spec.run import Run


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

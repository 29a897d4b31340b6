"""A checkpoint's architecture with fresh weights: what pretraining must beat."""

from __future__ import annotations

import logging
from dataclasses import replace

from octjob.models.checkpoint import LoadedEncoder
from octjob.models.encoder import init_encoder
from octjob.models.fingerprint import fingerprint, weights_digest
from octjob.models.report import encoder_digest
from octjob.models.shape import EncoderGeometry
from octjob.models.sketch import sketch

log = logging.getLogger(__name__)


def untrained(loaded: LoadedEncoder, seed: int) -> LoadedEncoder:
    """The encoder's architecture as `init_encoder` draws it under `seed`, and a report that says so.

    Of the file the report keeps whose architecture it is; what it says of weights is said of the fresh ones, and what
    it says of a pretraining is left out.
    """
    report, geometry = loaded.report, loaded.report.geometry
    assert isinstance(geometry, EncoderGeometry), "a plan draws weights for octjob's own architecture alone"
    encoder = init_encoder(geometry, seed)
    weights = encoder.state_dict()
    digest = weights_digest(weights)
    note = (
        f"Freshly initialised with seed {seed}: the architecture is that of {report.uri}, and none of its weights are"
        " taken."
    )
    log.info("%s", note)
    fresh = replace(
        report,
        coverage_keys=f"0/{len(weights)}",
        coverage=0.0,
        epoch=None,
        step=None,
        loss=None,
        prefixes_stripped=[],
        ignored_parts=[],
        weights_digest=digest,
        encoder_digest=encoder_digest(digest, geometry),
        fingerprint=fingerprint(weights),
        notes=[note],
        sketch=sketch(weights),
        untrained_seed=seed,
    )
    return LoadedEncoder(encoder, fresh)

"""Examples of a run for the report: central B-scans of a few held-out volumes, with maps over their patches.

Shapes: D H W voxels; T tokens, E embedding; K classes.
"""

from __future__ import annotations

import base64
import copy
import hashlib
from dataclasses import replace
from itertools import chain, zip_longest

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import Tensor

from octjob.features.encoding import Encoding
from octjob.models.checkpoint import LoadedEncoder
from octjob.models.pooling import pooling_for
from octjob.models.shape import Triple
from octjob.records.examples import MAX_SIDE, Example, Examples
from octjob.records.layout import run_key
from octjob.run.inputs import make_reader
from octjob.run.relevance import HIDDEN, NO_WEIGHTS, HeadWeights
from octjob.run.session import Session
from octjob.storage.base import ObjectNotFoundError
from octjob.train.scoring import Scorer
from octjob.train.units import Unit

_PERCENTILES = (1.0, 99.0)


def make_examples(session: Session, loaded: LoadedEncoder, scorer: Scorer, unit: Unit) -> Examples:
    """`log.images` of the unit's held-out volumes, of its stored weights; called by all processes alike."""
    run, config = session.run, session.run.config
    weights = _weights(session, unit)
    head = None if weights is None else HeadWeights(config, weights)
    reason = NO_WEIGHTS if head is None else HIDDEN if head.kind == "none" else ""
    encoder = _scored_encoder(session, loaded, weights)
    encoding = Encoding(encoder, config, session.runtime)
    reader = make_reader(run, loaded, session.cache)
    logits = session.done[unit.name]["eval_logits"].double()
    made = []
    for row in chosen(scorer, unit, config.log.images):
        session.check_stop()
        x_DHW = reader.read(scorer.volumes[unit.eval_N[row]])
        example = _example(scorer, int(unit.eval_N[row]), logits[row], x_DHW)
        made.append(example if head is None or reason else _with_map(example, head, encoding, x_DHW))
    return Examples(unit=unit.name, examples=tuple(made), reason=reason)


def chosen(scorer: Scorer, unit: Unit, count: int) -> list[int]:
    """Rows of the unit's held-out volumes: a participant's first, class after class, by a hash of the id.

    So all runs of a sweep that score the same people show the same.
    """
    first: dict[str, int] = {}
    for row, position in enumerate(unit.eval_N.tolist()):
        first.setdefault(str(scorer.participant_N[position]), row)
    by_class: dict[int, list[int]] = {}
    for identity in sorted(first, key=lambda one: hashlib.sha256(one.encode()).digest()):
        row = first[identity]
        by_class.setdefault(int(scorer.label_N[unit.eval_N[row]]), []).append(row)
    in_turn = chain.from_iterable(zip_longest(*(by_class[label] for label in sorted(by_class))))
    return [row for row in in_turn if row is not None][:count]


def _weights(session: Session, unit: Unit) -> dict[str, Tensor] | None:
    """Those that were scored, else the last, as stored; None where the run keeps neither."""
    for which in ("best", "last"):
        try:
            data = session.store.get(
                run_key(session.run.run_id, f"checkpoint/{which}-{unit.name}.safetensors")
            )
        except ObjectNotFoundError:
            continue
        return safetensors.torch.load(data)
    return None


def _scored_encoder(
    session: Session, loaded: LoadedEncoder, weights: dict[str, Tensor] | None
) -> LoadedEncoder:
    """The fine-tuned encoder where there is one, on the devices."""
    own = {n.removeprefix("encoder."): x for n, x in (weights or {}).items() if n.startswith("encoder.")}
    if not own:
        return loaded
    encoder = copy.deepcopy(loaded.encoder)
    encoder.load_state_dict(own)
    return replace(loaded, encoder=session.runtime.place(encoder.eval()))


def _example(scorer: Scorer, position: int, logits_K: Tensor, x_DHW: npt.NDArray[np.float32]) -> Example:
    probability_K = torch.softmax(logits_K, dim=0)
    predicted = int(logits_K.argmax())
    pixels = picture(x_DHW[len(x_DHW) // 2])
    return Example(
        participant=str(scorer.participant_N[position]),
        eye=str(scorer.eye_N[position]),
        device=str(scorer.device_N[position]),
        label=int(scorer.label_N[position]),
        predicted=predicted,
        probability=round(float(probability_K[predicted]), 6),
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        pixels=base64.b64encode(pixels.tobytes()).decode(),
        kind="none",
    )


def picture(scan_HW: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """A B-scan as at most 192 x 192 bytes: means of equal blocks, from its 1st percentile to its 99th."""
    step = -(-max(scan_HW.shape) // MAX_SIDE)
    height, width = (max(1, length // step) for length in scan_HW.shape)
    cut = scan_HW[: height * step, : width * step].astype(np.float64)
    blocks = cut.reshape(height, -1, width, cut.shape[1] // width).mean(axis=(1, 3))
    low, high = np.percentile(blocks, _PERCENTILES)
    span = high - low if high > low else 1.0
    scaled: npt.NDArray[np.uint8] = np.round(np.clip((blocks - low) / span, 0, 1) * 255).astype(np.uint8)
    return scaled


def _with_map(
    example: Example, head: HeadWeights, encoding: Encoding, x_DHW: npt.NDArray[np.float32]
) -> Example:
    tokens_TE, grid = _tokens(head, encoding, x_DHW)
    relevance = head.map(torch.from_numpy(tokens_TE), example.predicted).reshape(grid)
    layer = (len(x_DHW) // 2) * grid[0] // len(x_DHW)
    whole, inside = float(relevance.abs().sum()), relevance[layer]
    most = float(inside.abs().max()) or 1.0
    return example.model_copy(
        update={
            "kind": head.kind,
            "map_rows": grid[1],
            "map_columns": grid[2],
            "relevance": tuple(round(float(value) / most, 3) for value in inside.flatten()),
            "share": round(float(inside.abs().sum()) / whole, 6) if whole else 0.0,
        }
    )


def _tokens(
    head: HeadWeights, encoding: Encoding, x_DHW: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], Triple]:
    """What the head sees before it pools, and how it lies in the volume: every token, or the grid of an attentive
    probe."""
    geometry = encoding.loaded.report.geometry
    pooling = "grid-" + "x".join(map(str, geometry.grid))
    if head.experiment.mode == "probe" and head.kind == "attention":
        pooling = pooling_for("attentive", geometry)
    (kept,) = encoding.encode([x_DHW], [pooling])
    d, h, w = (int(length) for length in pooling.removeprefix("grid-").split("x"))
    return kept[pooling], (d, h, w)

"""Leaderboards as `leaderboard.json` holds them, of made-up runs with curves, seeds, sites and devices."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from doubles.sweep_results import CLASSES, constant, entry, labels, outcome
from doubles.told import told
from octjob.evaluate import Predictions
from octjob.leaderboard.board import build_leaderboard
from octjob.leaderboard.export import to_json
from octjob.leaderboard.outcome import Outcome
from octjob.records.feature_map import ExplainedRecord, FeatureMap
from octjob.records.schema import RunEntry, SweepRecord

# As the original's data set names them.
LONG_CLASSES = (
    "healthy",
    "pre_diabetes_lifestyle_controlled",
    "oral_medication_and_or_non_insulin_injectable_medication_controlled",
    "insulin_dependent",
)
CHECKPOINTS = ("multi_domain", "single_domain_01", "untrained")
CONFIGS = ("logistic", "class_weights", "linear_probe", "finetune")
SKILL = {"multi_domain": 1.6, "single_domain_01": 0.7, "untrained": 0.3}


# As a run of the demo leaves it in its result, `data.flow`.
FLOW = {
    "schema": "octjob.flow/1",
    "listed": {"train": [150, 300, 612], "val": [66, 132, 270], "test": [66, 132, 268], "": [1, 1, 1]},
    "steps": [
        {"reason": "no row in the participants table", "lost": {"": [1, 1, 1]}},
        {"reason": "no OCT, by the participants table", "lost": {"train": [2, 0, 0]}},
        {
            "reason": "not a structural OCT volume",
            "lost": {"train": [0, 0, 304], "val": [0, 0, 134], "test": [0, 0, 132]},
        },
        {"reason": "laterality not selected", "lost": {"train": [0, 152, 155], "val": [0, 66, 70]}},
        {"reason": "cannot be read (quarantined)", "lost": {"train": [0, 1, 1], "val": [1, 1, 1]}},
    ],
    "used": {"train": [148, 147, 152], "val": [65, 65, 65]},
}


def predictions(skill: float, seed: int) -> Predictions:
    """Two seeds of 65 participants from three sites, scanned by two devices."""
    label_P, rng = labels(), np.random.default_rng(seed)
    people = [str(1000 + number) for number in range(len(label_P))]
    noise_PK = rng.normal(size=(len(label_P), len(CLASSES)))
    parts = [
        {
            "participant": people,
            "eye": ["OD"] * len(people),
            "device": [("Maestro2", "Cirrus")[number % 2] for number in range(len(people))],
            "split": ["val"] * len(people),
            "site": [("UW", "UAB", "UCSD")[number % 3] for number in range(len(people))],
            "fold": [0] * len(people),
            "seed": [one] * len(people),
            "label": label_P.tolist(),
            "logits": (
                noise_PK + 0.3 * rng.normal(size=noise_PK.shape) + skill * np.eye(len(CLASSES))[label_P]
            ).tolist(),
        }
        for one in (0, 1)
    ]
    return Predictions.from_columns({key: parts[0][key] + parts[1][key] for key in parts[0]})


def histories(run_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Twenty epochs of two seeds for what is trained in epochs."""
    found = {}
    for number, run_id in enumerate(run_ids):
        rng = np.random.default_rng(number)
        rise = 0.25 + 0.2 * (1 - np.exp(-np.arange(20) / 6))
        found[run_id] = [
            {
                "seed": seed,
                "epoch": epoch,
                "eval/balanced_accuracy": float(rise[epoch] + 0.02 * rng.normal()),
                "holdout/balanced_accuracy": float(rise[epoch] + 0.05 + 0.02 * rng.normal()),
            }
            for seed in (0, 1)
            for epoch in range(0 if ".logistic" in run_id else 20)
        ]
    return found


def document(
    checkpoints: Sequence[str] = CHECKPOINTS,
    configs: Sequence[str] = CONFIGS,
    class_names: Sequence[str] = LONG_CLASSES,
    sweep: str = "demo",
    collapsed: int = 2,
    records: bool = True,
) -> dict[str, Any]:
    """Every checkpoint under every configuration; the last `collapsed` runs of the last checkpoint are constant.

    records: whether the results hold what the report shows beyond metrics, or are of before there was that.
    """
    pairs = [(checkpoint, config) for checkpoint in checkpoints for config in configs]
    entries = [entry(*pair) for pair in pairs]
    outcomes = []
    for number, (one, (checkpoint, _)) in enumerate(zip(entries, pairs, strict=True)):
        is_constant = number >= len(pairs) - collapsed
        skill = SKILL.get(checkpoint, 0.8) * (1 - 0.1 * (number % len(configs)))
        made = outcome(one, constant(labels()) if is_constant else predictions(skill, number))
        outcomes.append(told(recorded(made)) if records else made)
    board = build_leaderboard(
        record(entries, class_names, sweep, checkpoints[-1]),
        outcomes,
        num_draws=500,
        read_histories=histories,
        read_map=feature_map,
    )
    made: dict[str, Any] = json.loads(to_json(board))
    return made


def groups(checkpoint: str) -> dict[str, Any]:
    """Of the 65 participants: thirds by age; whom the checkpoint saw, which the untrained one does not say."""
    people = [str(1000 + number) for number in range(65)]
    thirds = ("age 40 to 53", "age 54 to 64", "age 65 to 90")
    seen = {one: "seen in pretraining" if int(one) % 5 < 2 else "unseen in pretraining" for one in people}
    return {
        "schema": "octjob.groups/1",
        "age": {one: thirds[(int(one) // 5) % 3] for one in people},
        "pretraining": None if checkpoint == "untrained" else seen,
    }


def feature_map(run_id: str) -> FeatureMap:
    """Of 130 volumes: two devices stand apart, classes hardly, sites not at all."""
    rng, people = np.random.default_rng(len(run_id)), np.arange(130)
    label, device, site = people % 4, people // 4 % 2, people % 3
    x = np.clip(0.5 * (2 * device - 1) + 0.2 * rng.normal(size=130), -1, 1)
    y = np.clip(0.15 * label - 0.3 + 0.25 * rng.normal(size=130), -1, 1)
    order = np.argsort(x)
    return FeatureMap(
        features="mean over the tokens, standardised",
        num_volumes=130,
        num_features=768,
        axes=(0.31, 0.12),
        explained={
            kind: ExplainedRecord(share=share, expected=expected, num_groups=num_groups)
            for kind, share, expected, num_groups in (
                ("class", 0.061, 0.023, 4), ("device", 0.27, 0.0078, 2), ("site", 0.014, 0.016, 3),
            )
        },
        x=tuple(x[order].round(4).tolist()),
        y=tuple(y[order].round(4).tolist()),
        label=tuple(label[order].tolist()),
        device=tuple(device[order].tolist()),
        site=tuple(site[order].tolist()),
        devices=("Cirrus", "Maestro2"),
        sites=("UAB", "UCSD", "UW"),
    )  # fmt: skip


def checkpoint_report(checkpoint: str) -> dict[str, Any]:
    """Of an encoder a fifth of the way from one initialisation, but for the untrained, which is there."""
    start, move = np.random.default_rng(0), np.random.default_rng(len(checkpoint))
    untrained = checkpoint == "untrained"
    values = start.normal(size=256) + (0.0 if untrained else 0.2) * move.normal(size=256)
    return {
        "epoch": 0 if untrained else 40,
        "step": 0 if untrained else 9000,
        "encoder_taken": "context",
        "coverage_keys": "149/149",
        "num_parameters": 86_500_000,
        "fingerprint": {
            "verdict": "untrained" if untrained else "trained",
            "distance_to_target": 0.0 if untrained else 0.2,
        },
        "sketch": {
            "schema": "octjob.sketch/1",
            "layout": "one",
            "norm": 16.0,
            "values": base64.b64encode(values.astype("<f4").tobytes()).decode(),
        },
    }


def recorded(made: Outcome) -> Outcome:
    """The same run with a result that says all that the report shows."""
    assert made.scored is not None
    data = {
        "flow": FLOW,
        "groups": groups(made.entry.checkpoint),
        "feature_map": {"key": "feature_map.json", "reason": ""},
        "examples": {"key": "examples.json", "sha256": "0" * 64, "count": 3, "reason": ""},
    }
    report = {**made.scored.result.checkpoint_report, **checkpoint_report(made.entry.checkpoint)}
    result = made.scored.result.model_copy(update={"data": data, "checkpoint_report": report})
    return replace(made, scored=replace(made.scored, result=result))


def record(
    entries: Sequence[RunEntry], class_names: Sequence[str], name: str, baseline: str | None
) -> SweepRecord:
    """The sweep of these runs."""
    return SweepRecord(name=name, baseline=baseline, class_names=tuple(class_names), runs=tuple(entries))


def images(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """`examples.json` of the runs that the document names, by run id: layers under noise; the last has no map."""
    rng = np.random.default_rng(0)
    depth = np.linspace(0, 1, 96)[:, None]
    layers = 60 + 120 * (np.abs(depth - 0.5) < 0.15) + 60 * (np.abs(depth - 0.55) < 0.03)
    found = {}
    for one in document["examples"]:
        made = []
        for number in range(3):
            scan = np.clip(layers + 25 * rng.normal(size=(96, 96)), 0, 255).astype(np.uint8)
            relevance = [0.1, 0.2, -0.1, 1.0, 0.3, 0.0] if number == 0 else [0.1, 0.2, -1.0, 0.4, 0.3, 0.0]
            made.append(
                {
                    "participant": str(1000 + number),
                    "eye": "LR"[number % 2],
                    "device": "Maestro2",
                    "label": number,
                    "predicted": 1,
                    "probability": 0.61,
                    "rows": 96,
                    "columns": 96,
                    "pixels": base64.b64encode(scan.tobytes()).decode(),
                    "kind": "contribution" if number < 2 else "none",
                    "map_rows": 2 if number < 2 else 0,
                    "map_columns": 3 if number < 2 else 0,
                    "relevance": relevance if number < 2 else [],
                    "share": 0.12 if number < 2 else 0.0,
                }
            )
        unit = "seed0-repeat0-fold0"
        found[one["run_id"]] = {
            "schema": "octjob.examples/1", "unit": unit, "examples": made, "reason": "",
        }  # fmt: skip
    return found

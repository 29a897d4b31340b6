"""What must be read below the table: what the rows hide, and how little the numbers can show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from octjob.evaluate import IdenticalGroup
from octjob.leaderboard.outcome import Scored
from octjob.leaderboard.ranking import Ranking, best_of_chance, comparable_groups
from octjob.leaderboard.rows import Row
from octjob.records.schema import SweepRecord


def caveats(
    sweep: SweepRecord,
    rows: Sequence[Row],
    finished: Mapping[str, Scored],
    identical: Sequence[IdenticalGroup],
    metric: str,
    stands: Ranking,
) -> list[str]:
    """One line each: identical predictions, mixed-up weights, collapsed baselines, what so many can show."""
    lines = [*_identical(identical, finished), *_weights(finished), *_baseline(rows, sweep.baseline)]
    groups = comparable_groups({run_id: one.scores for run_id, one in finished.items()})
    if len(groups) > 1:
        sizes = ", ".join(f"{len(names)} runs on {_num_rows(finished[names[0]])}" for names in groups)
        lines.append(
            f"Not all runs scored the same participants ({sizes}): only the largest group is ranked."
        )
    lines += _detectable(rows, metric, stands)
    for names in groups:
        lines += _chance([finished[name] for name in names], sweep.shown_classes)
    return lines


def _identical(groups: Sequence[IdenticalGroup], finished: Mapping[str, Scored]) -> Iterator[str]:
    for group in groups:
        num_weights = len({finished[name].weights for name in group.names})
        if num_weights < 2:
            continue
        what = (
            "one and the same class for everyone" if group.constant else "the same class for each participant"
        )
        yield (
            f"Suspicious: {', '.join(group.names)} predict {what}, from {num_weights} different weights:"
            " the input, or what the checkpoints learned, is ignored."
        )


def _weights(finished: Mapping[str, Scored]) -> Iterator[str]:
    """Names that stand for several weights, weights that go by several names, weights that were never trained."""
    by_checkpoint: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    by_weights: dict[str, set[str]] = defaultdict(set)
    notes: dict[str, str] = {}
    for run_id, one in finished.items():
        by_checkpoint[one.result.checkpoint][one.weights].append(run_id)
        by_weights[one.weights].add(one.result.checkpoint)
        if one.weights_verdict in ("untrained", "barely trained"):
            notes.setdefault(one.result.checkpoint, _untrained(one))
    for checkpoint, loaded in sorted(by_checkpoint.items()):
        if len(loaded) > 1:
            parts = "; ".join(f"{weights[:12]}: {', '.join(runs)}" for weights, runs in loaded.items())
            yield f"Checkpoint {checkpoint}: its runs loaded different weights ({parts})."
    for weights, checkpoints in sorted(by_weights.items()):
        if len(checkpoints) > 1:
            yield f"Checkpoints {', '.join(sorted(checkpoints))} are the same weights ({weights[:12]})."
    yield from (notes[checkpoint] for checkpoint in sorted(notes))


def _untrained(one: Scored) -> str:
    said = " ".join(str(note) for note in one.result.checkpoint_report.get("notes", ()))
    return f"Checkpoint {one.result.checkpoint} is {one.weights_verdict}. {said}".strip()


def _baseline(rows: Sequence[Row], baseline: str | None) -> Iterator[str]:
    for row in rows:
        if row.checkpoint == baseline and row.verdict in ("collapsed", "no_signal"):
            what = "collapsed" if row.verdict == "collapsed" else "has no signal"
            yield f"The baseline {row.name} {what}: to be better than it is to be better than a constant."


def _detectable(rows: Sequence[Row], metric: str, stands: Ranking) -> Iterator[str]:
    if stands.detectable is None:
        return
    ranked = sorted(
        (row for row in rows if row.rank is not None), key=lambda row: -(row.value(metric) or 0.0)
    )
    text = (
        f"With {ranked[0].n} participants a difference of {stands.detectable:.3f} in {metric} between two of these"
        " runs is found with 80 % power (median over the ranked pairs)."
    )
    gap = (ranked[0].value(metric) or 0.0) - (ranked[1].value(metric) or 0.0)
    if stands.needed is not None and stands.needed > (ranked[0].n or 0):
        text += f" The {gap:.3f} between the first two would need about {_rounded(stands.needed):,}."
    yield text


def _rounded(count: int) -> int:
    """To two digits: it is an estimate."""
    digits: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // digits) * digits


def _chance(runs: Sequence[Scored], class_names: Sequence[str]) -> Iterator[str]:
    first = runs[0]
    label_P, unit = first.scores.label_P, first.evaluation.unit
    counts = np.bincount(label_P, minlength=first.scores.num_classes)
    if len(runs) > 1 and unit == "participant" and np.count_nonzero(counts) > 1:
        best = best_of_chance(counts.tolist(), len(runs))
        checkpoints = _counted(len({one.result.checkpoint for one in runs}), "checkpoint")
        configs = _counted(len({one.result.config for one in runs}), "configuration")
        yield (
            f"{len(runs)} runs ({checkpoints}, {configs}) were compared on"
            f" {len(label_P)} participants: the best of {len(runs)} random guessers is"
            f" expected at balanced accuracy {best.expected:.3f}, and one time in twenty it reaches"
            f" {best.percentile_95:.3f}."
        )
    baseline = first.evaluation.baseline
    accuracy, macro_f1 = (
        f"{one.value:.4f} (always {_class_name(one.predicted_class, class_names)})"
        for one in (baseline.accuracy, baseline.macro_f1)
    )
    yield (
        f"Best constant predictors: accuracy {accuracy}, macro F1 {macro_f1}; any class: balanced accuracy"
        f" {baseline.balanced_accuracy.value:.4f}, AUROC 0.5, kappa 0."
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _num_rows(one: Scored) -> str:
    return f"{len(one.scores.label_P)} {one.evaluation.unit}s"


def _class_name(k: int, class_names: Sequence[str]) -> str:
    return class_names[k] if k < len(class_names) else f"class {k}"

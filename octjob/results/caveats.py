"""What must be read below the table: how little the numbers can show, and how they were made."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from octjob.evaluate import IdenticalGroup
from octjob.results.openings import Opening, openings_in_words
from octjob.results.outcome import METRICS, Scored
from octjob.results.ranking import best_of_chance, comparable_groups
from octjob.results.records import SweepRecord

# Below these, a 95 % interval is wider than the differences between checkpoints usually are.
SMALL_N = 200
SMALL_CLASS = 30
_COUNTS = re.compile(r", \d+ of \d+$")


def caveats(
    sweep: SweepRecord, finished: Mapping[str, Scored], identical: Sequence[IdenticalGroup], metric: str
) -> list[str]:
    """One line each: identical predictions, mixed-up weights, unequal participants, what chance reaches."""
    lines = [*_identical(identical, finished), *_weights(finished)]
    groups = comparable_groups({run_id: one.scores for run_id, one in finished.items()})
    if len(groups) > 1:
        sizes = ", ".join(f"{len(names)} runs on {_num_rows(finished[names[0]])}" for names in groups)
        lines.append(
            f"Not all runs scored the same participants ({sizes}): only the largest group is ranked."
        )
    for names in groups:
        lines += _sample_size([finished[name] for name in names], sweep.class_names, metric)
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
    """Names that stand for several weights, and weights that go by several names."""
    by_checkpoint: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    by_weights: dict[str, set[str]] = defaultdict(set)
    for run_id, one in finished.items():
        by_checkpoint[one.result.checkpoint][one.weights].append(run_id)
        by_weights[one.weights].add(one.result.checkpoint)
    for checkpoint, loaded in sorted(by_checkpoint.items()):
        if len(loaded) > 1:
            parts = "; ".join(f"{weights[:12]}: {', '.join(runs)}" for weights, runs in loaded.items())
            yield f"Checkpoint {checkpoint}: its runs loaded different weights ({parts})."
    for weights, checkpoints in sorted(by_weights.items()):
        if len(checkpoints) > 1:
            yield f"Checkpoints {', '.join(sorted(checkpoints))} are the same weights ({weights[:12]})."


def _sample_size(runs: Sequence[Scored], class_names: Sequence[str], metric: str) -> Iterator[str]:
    first = runs[0]
    label_P, unit = first.scores.label_P, first.evaluation.unit
    counts = np.bincount(label_P, minlength=first.scores.num_classes)
    n = len(label_P)
    smallest = min((int(counts[k]), k) for k in np.flatnonzero(counts).tolist())
    widths = [
        interval.high - interval.low
        for one in runs
        if not one.evaluation.verdict.collapsed  # a constant's interval has no width
        and (interval := one.evaluation.intervals.get(metric))
        and interval.low is not None
        and interval.high is not None
    ]
    if n < SMALL_N or smallest[0] < SMALL_CLASS:
        half = f"; a 95 % interval of {metric} is about +/-{np.median(widths) / 2:.2f}" if widths else ""
        yield (
            f"Small sample: {n} {unit}s, {smallest[0]} of them {_class_name(smallest[1], class_names)}{half}."
            " Smaller differences cannot be seen."
        )
    if len(runs) > 1 and unit == "participant" and np.count_nonzero(counts) > 1:
        best = best_of_chance(counts.tolist(), len(runs))
        checkpoints = _counted(len({one.result.checkpoint for one in runs}), "checkpoint")
        configs = _counted(len({one.result.config for one in runs}), "configuration")
        yield (
            f"{len(runs)} runs ({checkpoints}, {configs}) were compared on"
            f" {n} participants: the best of {len(runs)} random guessers is"
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


def footnotes(
    finished: Mapping[str, Scored],
    metric: str,
    baseline: str | None,
    num_draws: int,
    openings: Sequence[Opening] = (),
) -> list[str]:
    """How the numbers were made, and how often the test split was opened."""
    on_test = sorted(run_id for run_id, one in finished.items() if one.evaluation.split == "test")
    opened = openings_in_words(openings, on_test)
    if not finished:
        return [opened]
    lines = [
        f"rank: 1 + runs that are better in {metric} beyond the 95 % interval of the paired difference"
        f" (participant bootstrap stratified by class, {num_draws} draws, the same for all runs). Collapsed,"
        " chance and suspicious runs are not ranked.",
    ]
    lines.append(f"[low, high]: {'; '.join(_interval_methods(finished))}.")
    if baseline is not None:
        lines.append(
            f"vs {baseline}: difference in {metric} under the same configuration, paired bootstrap interval;"
            f" p by paired permutation ({num_draws}), Holm-adjusted over all comparisons. * p_holm < 0.05."
        )
    lines.append(
        "chance: the interval of balanced accuracy includes that of a constant predictor. gap: balanced"
        " accuracy on the training samples minus this. ok ?: see the remark on the row."
    )
    lines.append(opened)
    return lines


def _interval_methods(finished: Mapping[str, Scored]) -> list[str]:
    """`95 %, <method>: <metrics>`, without the counts that differ from run to run."""
    metrics: dict[str, list[str]] = defaultdict(list)
    for name in METRICS:
        for one in finished.values():
            interval = one.evaluation.intervals.get(name)
            if interval is None:
                continue
            method = f"{100 * interval.level:g} %, {_COUNTS.sub('', interval.method)}"
            if name not in metrics[method]:
                metrics[method].append(name)
    return [f"{method}: {', '.join(names)}" for method, names in metrics.items()]

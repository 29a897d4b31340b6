"""How the leaderboard's numbers were made, and what they speak of."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from octjob.catalog import RANKING
from octjob.evaluate import VarianceSources, variance_sources
from octjob.evaluate.draws import SharedDraws
from octjob.leaderboard.comparison import Comparison, Family
from octjob.leaderboard.outcome import Scored
from octjob.leaderboard.ranking import comparable_groups
from octjob.leaderboard.rows import Row
from octjob.records.openings import Opening, openings_in_words

_COUNTS = re.compile(r", \d+ of \d+$")
# Enough for two digits of a standard deviation.
_VARIANCE_DRAWS = 500


def footnotes(
    rows: Sequence[Row],
    finished: Mapping[str, Scored],
    metric: str,
    references: Mapping[Family, str | None],
    num_draws: int,
    openings: Sequence[Opening] = (),
) -> list[str]:
    """How the numbers were made, and how often the test split was opened."""
    on_test = sorted(run_id for run_id, one in finished.items() if one.evaluation.split == "test")
    opened = openings_in_words(openings, on_test)
    if not finished:
        return [opened]
    lines = [
        f"rank: the ranks a run may have in {metric}, from intervals of all paired differences at one 95 % level"
        f" for all of them together (max-T; participant bootstrap stratified by class, {num_draws} draws, the same"
        " for all runs). Runs that collapsed or have no signal have none. no signal: labels permuted within site do"
        " as well (Holm over the runs, 5 %).",
        f"[low, high]: {'; '.join(_interval_methods(finished))}.",
    ]
    num_families = sum(reference is not None for reference in references.values())
    for family, reference in references.items():
        compared = [row.vs_checkpoint if family == "checkpoint" else row.vs_config for row in rows]
        if reference is not None:
            found = [one for one in compared if one]
            lines.append(_comparisons(family, reference, metric, found, num_families))
    lines.append(_variance(finished, metric))
    lines.append(
        "models: trained networks or heads behind the numbers; for a row with 1, one trained model speaks. gap:"
        " balanced accuracy on the training samples minus this. ok ?: see the remark on the row."
    )
    lines.append(opened)
    return lines


def _comparisons(
    family: Family, reference: str, metric: str, compared: Sequence[Comparison], num_families: int
) -> str:
    same = "under the same configuration" if family == "checkpoint" else "for the same checkpoint"
    start = f"vs {reference}: difference in {metric} {same}"
    shared = f", times {num_families} for the {num_families} questions asked" if num_families > 1 else ""
    end = f"; p Holm-adjusted over {len(compared)} such comparisons{shared}. * p_holm < 0.05."
    if any(one.speaks_of == "training" for one in compared):
        what = "checkpoints" if family == "checkpoint" else "configurations"
        return f"{start}, corrected resampled t over the folds' training sets: it speaks of {what}{end}"
    return (
        f"{start}, paired over participants (bootstrap interval, permutation p): it speaks of these trained models,"
        f" not of what another training would give; for that, evaluate: {{protocol: folds}}{end}"
    )


def _variance(finished: Mapping[str, Scored], metric: str) -> str:
    """The three sources of variance, each the median over the runs that can tell."""
    sources = []
    for names in comparable_groups({run_id: one.scores for run_id, one in finished.items()}):
        runs = [finished[name].scores for name in names if not finished[name].evaluation.verdict.constant]
        draws = SharedDraws(finished[names[0]].scores, _VARIANCE_DRAWS, seed=0)
        sources += [variance_sources(scores, metric, draws=draws) for scores in runs]
    parts = [
        _source(sources, "participants", "not known"),
        _source(sources, "seeds", "not known (one seed each)"),
        _source(sources, "training_sets", "not known (one training set; evaluate: {protocol: folds} tells)"),
    ]
    return f"{metric} moves by (standard deviation, median over runs): {'; '.join(parts)}."


def _source(sources: Sequence[VarianceSources], key: str, unknown: str) -> str:
    known = [value for one in sources if (value := getattr(one, key)) is not None and np.isfinite(value)]
    return f"{key.replace('_', ' ')} " + (f"{np.median(known):.3f}" if known else unknown)


def _interval_methods(finished: Mapping[str, Scored]) -> list[str]:
    """`95 %, <method>: <metrics>`, without the counts that differ from run to run."""
    metrics: dict[str, list[str]] = defaultdict(list)
    for name in RANKING:
        for one in finished.values():
            interval = one.evaluation.intervals.get(name)
            if interval is None:
                continue
            method = f"{100 * interval.level:g} %, {_COUNTS.sub('', interval.method)}"
            if name not in metrics[method]:
                metrics[method].append(name)
    return [f"{method}: {', '.join(names)}" for method, names in metrics.items()]

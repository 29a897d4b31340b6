"""What the leaderboard says of simulated runs whose truth is known.

    python -m benchmarks.verdicts [--simulations 500] [--only coverage]

`constants`: predictors that answer one class, or ignore their input: how many are named so. `signal`: logistic
regressions trained on noise: how many are ranked. `healthy`: trained on features with signal, kept where their own
label permutation says p < 0.05: how many have no rank all the same. `coverage`: how often each metric's interval
holds the trained model's true value, and on which side it fails. `nulls`: sweeps of 3 checkpoints x 6
configurations that are all equally good: how many have any two runs told apart, or any `*`; and what the best of the
18 is said to be worth. People are AI-READI's per class: 65 or 159 scored, 255 trained on (121, 62, 62, 10).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from benchmarks.simulated import SCORED, Model, as_scores, equal_runs, labels
from octjob.catalog import RANKING
from octjob.evaluate import ParticipantScores, bootstrap, compute_metrics, diagnose, label_permutation
from octjob.evaluate.arrays import FloatArray
from octjob.evaluate.intervals import wilson
from octjob.evaluate.metrics import mean_over_seeds
from octjob.leaderboard.comparison import Material, compare, pairs_of
from octjob.leaderboard.ranking import draw_all, standing

METRIC = "macro_auroc"
NUM_DRAWS = 500
# Macro AUROC about 0.68, 0.82, 0.94 and 0.99.
SEPARATIONS = (0.7, 1.2, 2.0, 2.8)
LARGE = 100  # so many times the scored people tell the truth about a trained model
NUM_CHECKPOINTS, NUM_CONFIGS = 3, 6

Line = str


def constants(num: int) -> Iterator[Line]:
    """Share named constant."""
    kinds: dict[str, Callable[[int, np.random.Generator], FloatArray]] = {
        "one class, probabilities vary": lambda n, rng: _one_class(n, 0, rng),
        "one class for 97 % of people": lambda n, rng: _one_class(n, round(0.03 * n), rng),
        "the same output for everyone": lambda n, rng: np.tile(rng.dirichlet(np.ones(4)), (n, 1)),
    }
    for (n, counts), (name, make) in product(SCORED.items(), kinds.items()):
        rng = np.random.default_rng(n)
        named = [_is_constant(as_scores(labels(counts), make(n, rng))) for _ in range(num)]
        yield f"n {n:>3}  {name:<30} named constant {_percent(named)}  (limit: all)"


def _one_class(n: int, num_others: int, rng: np.random.Generator) -> FloatArray:
    answer, other = rng.permutation(4)[:2]
    predicted_P = np.where(rng.permutation(n) < num_others, other, answer)
    probability_PK: FloatArray = 0.5 * rng.dirichlet(np.ones(4), n) + 0.5 * np.eye(4)[predicted_P]
    return probability_PK


def _is_constant(scores: ParticipantScores) -> bool:
    return diagnose(scores, compute_metrics(scores), {}).constant


def _ranked(scores: ParticipantScores, seed: int) -> bool:
    """Whether a sweep of this one run ranks it; fewer permutations than a sweep's, which changes no error rate."""
    signal = label_permutation(scores, METRIC, permutations=399, seed=seed)
    return signal.p_value < 0.05 and not _is_constant(scores)


def signal(num: int) -> Iterator[Line]:
    """Share of runs without signal that are ranked; cheap, so ten times as many."""
    num *= 10
    for n, weighted in product(SCORED, (False, True)):
        rng = np.random.default_rng(n)
        runs = [Model.train(0.0, weighted, rng).score(SCORED[n], rng) for _ in range(num)]
        ranked = [_ranked(run, seed) for seed, run in enumerate(runs)]
        yield f"n {n:>3}  {_kind(weighted)}  trained on noise: ranked {_percent(ranked)}  (limit 5 %)"


def healthy(num: int) -> Iterator[Line]:
    """Share of runs with signal that have no rank, and of those that miss a class."""
    for n, separation, weighted in product(SCORED, SEPARATIONS[:3], (False, True)):
        rng = np.random.default_rng(n)
        runs: list[ParticipantScores] = []
        for seed in range(20 * num):
            run = Model.train(separation, weighted, rng).score(SCORED[n], rng)
            if label_permutation(run, METRIC, seed=seed).p_value < 0.05:
                runs.append(run)
            if len(runs) == num:
                break
        lost = [_is_constant(run) for run in runs]
        misses = ["misses_class" in diagnose(run, compute_metrics(run), {}).flags for run in runs]
        auroc = np.mean([mean_over_seeds([METRIC], run, np.ones((1, n)))[METRIC][0] for run in runs])
        yield (
            f"n {n:>3}  {_kind(weighted)}  AUROC {auroc:.2f}: without a rank {_percent(lost)}  (limit 1 %)"
            f"   flagged misses_class {_percent(misses)}"
        )


def coverage(num: int) -> Iterator[Line]:
    """How often an interval holds the truth; (truth below, truth above) where it does not."""
    for n, separation, weighted in product(SCORED, SEPARATIONS, (False, True)):
        rng = np.random.default_rng(n)
        missed = {name: np.zeros(2, dtype=np.int64) for name in RANKING}
        aurocs = []
        for seed in range(num):
            model = Model.train(separation, weighted, rng)
            truth = _values(model.score(tuple(LARGE * count for count in SCORED[n]), rng))
            run = model.score(SCORED[n], rng)
            intervals = bootstrap(run, num_draws=NUM_DRAWS, seed=seed)
            intervals["accuracy"] = wilson(round(_values(run)["accuracy"] * n), n)
            aurocs.append(truth[METRIC])
            for name, interval in intervals.items():
                missed[name] += np.array([truth[name] < interval.low, truth[name] > interval.high])
        limit = 92 if n < 159 else 93
        for name, tails in missed.items():
            share = 100 * (1 - tails.sum() / num)
            yield (
                f"n {n:>3}  {_kind(weighted)}  AUROC {np.mean(aurocs):.2f}  {name:<17} covered {share:5.1f} %"
                f"  ({tails[0]}, {tails[1]})  (limit {limit} %)" + ("" if share >= limit else "  BELOW")
            )


def _values(scores: ParticipantScores) -> dict[str, float]:
    values = mean_over_seeds(RANKING, scores, np.ones((1, len(scores.label_P))))
    return {name: float(value_B[0]) for name, value_B in values.items()}


def nulls(num: int) -> Iterator[Line]:
    """Sweeps of 18 equal runs: any rank apart, any `*`, and the winner's worth."""
    names = {f"c{i}.k{j}": (f"c{i}", f"k{j}") for i, j in product(range(NUM_CHECKPOINTS), range(NUM_CONFIGS))}
    for n, strength, shared in product(SCORED, (0.6, 1.5), (0.3, 0.8)):
        rng = np.random.default_rng(n)
        apart, stars, corrected, naive = [], [], [], []
        for seed in range(num):
            runs = dict(zip(names, equal_runs(len(names), SCORED[n], strength, shared, rng), strict=True))
            observed = {name: _values(run)[METRIC] for name, run in runs.items()}
            material = Material(METRIC, runs, observed, draw_all(runs, METRIC, NUM_DRAWS, seed), {})
            stands = standing(list(runs), list(runs), runs, observed, material.draws)
            apart.append(any(one.best > 1 for one in stands.ranks.values()))
            stars.append(_any_star(names, material, seed))
            corrected.append(stands.winner.value if stands.winner else np.nan)
            naive.append(max(observed.values()))
        truth = np.mean([_true_auroc(strength, seed) for seed in range(5)])
        limit = 10 if n < 159 else 7
        yield (
            f"n {n:>3}  AUROC {truth:.2f}, {shared:.0%} of the noise shared: ranks apart {_percent(apart)}"
            f" (limit {limit} %)  any * {_percent(stars)} (limit 7 %)  best of 18: {np.mean(naive) - truth:+.3f},"
            f" corrected {np.mean(corrected) - truth:+.4f} (limit 0.01)"
        )


def _any_star(names: dict[str, tuple[str, str]], material: Material, seed: int) -> bool:
    for family, reference in (("checkpoint", "c0"), ("config", "k0")):
        pairs, _ = pairs_of(names, set(names), family, reference)  # type: ignore[arg-type]
        compared = compare(pairs, material, seed, num_families=2).found.values()
        if any(one.p_holm is not None and one.p_holm < 0.05 for one in compared):
            return True
    return False


def _true_auroc(strength: float, seed: int) -> float:
    (run,) = equal_runs(1, (2000,) * 4, strength, 0.0, np.random.default_rng(seed))
    return _values(run)[METRIC]


def _kind(weighted: bool) -> str:
    return "weighted  " if weighted else "unweighted"


def _percent(found: list[bool]) -> str:
    return f"{100 * np.mean(found):5.1f} %"


SECTIONS: dict[str, Callable[[int], Iterator[Line]]] = {
    "constants": constants,
    "signal": signal,
    "healthy": healthy,
    "coverage": coverage,
    "nulls": nulls,
}


def main() -> None:
    """Print the sections, a line as it is found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--only", choices=SECTIONS, help="one section")
    chosen = parser.parse_args()
    for name, section in SECTIONS.items():
        if chosen.only in (None, name):
            spread = 196 * np.sqrt(0.05 * 0.95 / chosen.simulations)
            print(
                f"\n{name} ({chosen.simulations} simulations each; a true 5 % shows as 5 +- {spread:.1f} %)",
                flush=True,
            )
            for line in section(chosen.simulations):
                print(f"  {line}", flush=True)


if __name__ == "__main__":
    main()

"""How often the intervals of the secondary questions hold a truth that is known.

    python -m benchmarks.secondary [--simulations 500]

Logistic regressions trained on 255 people of Gaussian features (`benchmarks.simulated`), scored on 65 or 159 in
AI-READI's classes; the truth is what the same model scores on about 3,000. `slope` and `intercepts`: of true
probabilities made too sure, whose slope is 0.7, and of true ones. `together`: all nine intervals of three ways to
divide the people at random into three, where nothing differs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from benchmarks.simulated import SCORED, Model, as_scores, labels
from octjob.evaluate import ParticipantScores
from octjob.evaluate.contrasts import Contrast, contrasts
from octjob.evaluate.ordinal import Estimated, auroc_against_rest, somers_d
from octjob.evaluate.predictions import softmax
from octjob.evaluate.recalibration import recalibration
from octjob.evaluate.skill import brier_skill

NUM_DRAWS = 500
SEPARATIONS = (0.7, 1.2, 2.0)
LARGE = 3000
STEEP = 1 / 0.7
SHARES = (121 / 255, 62 / 255, 62 / 255, 10 / 255)


def questions(scores: ParticipantScores, num_draws: int, seed: int = 0) -> dict[str, Estimated]:
    """Those that are asked of the predictions as they are."""
    return {
        "healthy AUROC": auroc_against_rest(scores, 0, num_draws, seed),
        "insulin AUROC": auroc_against_rest(scores, 3, num_draws, seed),
        "Somers' D": somers_d(scores, num_draws, seed),
        "Brier skill": brier_skill(scores, SHARES, num_draws, seed),
    }


def coverage(n: int, separation: float, num: int) -> Iterator[str]:
    """Of the questions."""
    rng = np.random.default_rng(n)
    held: dict[str, list[bool]] = {}
    for seed in range(num):
        model = Model.train(separation, False, rng)
        truth = questions(model.score(tuple(LARGE // n * count for count in SCORED[n]), rng), 2)
        for name, one in questions(model.score(SCORED[n], rng), NUM_DRAWS, seed).items():
            held.setdefault(name, []).append(one.interval.low <= truth[name].value <= one.interval.high)
    for name, found in held.items():
        yield f"n {n:>3}  separation {separation}  {name:<14} covered {_percent(found)}"


def calibration(n: int, separation: float, num: int) -> Iterator[str]:
    """Of slope and intercepts, where the truth is known exactly."""
    rng, held, none = np.random.default_rng(n), [], 0
    label_P = labels(SCORED[n])
    prior_K = np.array(SCORED[n]) / n
    for _ in range(num):
        x_PK = rng.normal(size=(n, 4)) + separation * np.eye(4)[label_P]
        log_PK = separation * x_PK + np.log(prior_K)
        slope = recalibration(as_scores(label_P, softmax(STEEP * log_PK))).slope
        intercept = recalibration(as_scores(label_P, softmax(log_PK))).intercept
        none += slope is None
        held.append(
            [
                slope is None or slope.interval.low <= 1 / STEEP <= slope.interval.high,
                *(one.interval.low <= 0 <= one.interval.high for one in intercept),
            ]
        )
    of = np.array(held).mean(axis=0)
    yield (
        f"n {n:>3}  separation {separation}  slope covered {100 * of[0]:.1f} %, not estimable {none};"
        f" intercepts {' / '.join(f'{100 * share:.1f}' for share in of[1:])} %"
    )


def together(n: int, metric: str, num: int) -> Iterator[str]:
    """Of nine differences at once."""
    rng, held, skipped = np.random.default_rng(n), [], 0
    label_P = labels(SCORED[n])
    for seed in range(num):
        log_PK = rng.normal(size=(n, 4)) + 1.2 * np.eye(4)[label_P]
        whole = as_scores(label_P, softmax(log_PK))
        made = []
        for group_P in (rng.permutation(n) % 3 for _ in range(3)):
            for part in range(3):
                one = Contrast(_part(whole, group_P == part), _part(whole, group_P != part))
                has_all = len(np.unique(one.inside.label_P)) == 4
                if has_all and one.smallest_class >= 3:
                    made.append(one)
                else:
                    skipped += 1
        found = contrasts(made, metric, NUM_DRAWS, seed)
        held.append(all(one.interval.low <= 0 <= one.interval.high for one in found))
    yield f"n {n:>3}  {metric}: all hold in {_percent(held)}; {skipped / num:.1f} of 9 have too few of a class"


def _part(scores: ParticipantScores, inside_P: np.ndarray) -> ParticipantScores:
    return ParticipantScores(
        scores.participant_P[inside_P], scores.label_P[inside_P], scores.probability_SPK[:, inside_P]
    )


def _percent(found: list[bool]) -> str:
    return f"{100 * np.mean(found):.1f} %"


def main() -> None:
    """Print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=500)
    num = parser.parse_args().simulations
    for n in SCORED:
        for separation in SEPARATIONS:
            for line in (*coverage(n, separation, num), *calibration(n, separation, num)):
                print(line, flush=True)
        for metric in ("macro_auroc", "balanced_accuracy"):
            for line in together(n, metric, num):
                print(line, flush=True)


if __name__ == "__main__":
    main()

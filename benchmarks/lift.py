"""How often the lift over untrained encoders misleads, and how often it finds something, by simulation.

    python -m benchmarks.lift [--sweeps 200] [--json FILE]

Null: the checkpoint is one more initialisation. Its scores come from the same process as those of the others: logits
are noise, of which a share is the participants' own and common to all encoders, raised for the true class by a signal
that varies from initialisation to initialisation. Counted are 95 % intervals that exclude zero; of 200 sweeps a true
5 % shows as 5 +- 3 %. Peers: the interval of the mean difference alone, as if the checkpoint were no draw; and the
paired bootstrap over participants against the mean of the initialisations.

Alternative: the checkpoint's signal is raised. Counted are intervals that hold the true lift between populations, and
those that exclude zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from benchmarks.figures import Figure, arguments, tell
from benchmarks.simulated import SCORED, as_scores, labels
from octjob.evaluate.arrays import FloatArray, IntArray
from octjob.evaluate.distributions import normal_quantile, student_quantile
from octjob.evaluate.draws import SharedDraws, Weightings
from octjob.evaluate.lift import Lift, lift_of_draws
from octjob.evaluate.weighted import macro_auroc

METRIC = "macro_auroc"
NUM_DRAWS = 300
COUNTS = {30: (8, 7, 9, 6), **SCORED}
# Standard deviation of the signal from one initialisation to the next: 0.01, 0.04 and 0.06 AUROC.
SPREADS = (0.05, 0.15, 0.25)
# Random features know a little: AUROC 0.6.
SIGNAL = 0.35
RAISED = 0.8


@dataclass(frozen=True)
class Process:
    """Where scores come from. shared: of the noise, what is common to all encoders."""

    counts: tuple[int, ...]
    spread: float
    shared: float
    num_initialisations: int = 5
    raised: float = 0.0


@dataclass(frozen=True, eq=False)
class Simulated:
    """One sweep: the metric of the checkpoint, then of the initialisations, observed [R] and drawn [R, B]."""

    value_R: FloatArray
    drawn_RB: FloatArray
    signal_R: FloatArray

    def lift(self, smallest: int) -> Lift:
        """Of the first over the others."""
        return lift_of_draws(
            float(self.value_R[0]), self.value_R[1:], self.drawn_RB[0], self.drawn_RB[1:], smallest
        )


def sweeps(process: Process, num: int, seed: int = 0, num_draws: int = NUM_DRAWS) -> Iterator[Simulated]:
    """As many sweeps, each with other participants and other initialisations."""
    rng = np.random.default_rng(seed)
    label_P = labels(process.counts)
    like = as_scores(label_P, np.full((len(label_P), len(process.counts)), 1 / len(process.counts)))
    draws, once = SharedDraws(like, num_draws, seed), Weightings(like, np.ones((1, len(label_P))))
    for _ in range(num):
        signal_R = SIGNAL + process.spread * rng.normal(size=1 + process.num_initialisations)
        signal_R[0] += process.raised
        runs = [as_scores(label_P, one) for one in _probabilities(label_P, signal_R, process.shared, rng)]
        yield Simulated(
            np.concatenate([once.metric(one, METRIC) for one in runs]),
            np.stack([draws.in_bag(one, METRIC) for one in runs]),
            signal_R,
        )


def _probabilities(
    label_P: IntArray, signal_R: FloatArray, shared: float, rng: np.random.Generator
) -> FloatArray:
    """[R, P, K]."""
    truth_PK = np.eye(label_P.max() + 1)[label_P]
    own_RPK = rng.normal(size=(len(signal_R), *truth_PK.shape))
    logits_RPK = np.sqrt(shared) * rng.normal(size=truth_PK.shape) + np.sqrt(1 - shared) * own_RPK
    exp_RPK = np.exp(logits_RPK + signal_R[:, None, None] * truth_PK)
    probability_RPK: FloatArray = exp_RPK / exp_RPK.sum(axis=2, keepdims=True)
    return probability_RPK


def mean_only(one: Simulated, found: Lift) -> bool:
    """Whether the interval of the mean difference excludes zero: the checkpoint taken for no draw."""
    num = found.num_initialisations
    variance = found.participants_error**2 + float(one.value_R[1:].var(ddof=1)) * (num - 1) / num**2
    return abs(found.value) > -normal_quantile(0.025) * np.sqrt(variance)


def participants_only(found: Lift, smallest: int) -> bool:
    """Whether the paired bootstrap over participants excludes zero."""
    return abs(found.value) > student_quantile(0.975, smallest - 1) * found.participants_error


def true_aurocs(counts: tuple[int, ...], signals: FloatArray) -> FloatArray:
    """Of many people: the metric of a signal, by which truth is read off."""
    label_P = labels(tuple(20000 * count // sum(counts) for count in counts))
    probability_RPK = _probabilities(label_P, signals, 0.0, np.random.default_rng(0))
    once_BP = np.ones((1, len(label_P)))
    return np.array([macro_auroc(one_PK, label_P, once_BP)[0] for one_PK in probability_RPK])


def null_figures(num: int) -> list[Figure]:
    """Shares that exclude zero where nothing differs, a row a size, and all of them together."""
    figures, together = [], []
    for n, counts in COUNTS.items():
        smallest, ours, mean, paired = min(counts), [], [], []
        for seed, (spread, shared, inits) in enumerate(product(SPREADS, (0.2, 0.7), (5, 10))):
            for one in sweeps(Process(counts, spread, shared, inits), num, seed):
                found = one.lift(smallest)
                ours.append(not found.low <= 0 <= found.high)
                mean.append(mean_only(one, found))
                paired.append(participants_only(found, smallest))
            together.append(100 * np.mean(ours[-num:]))
        for peer, name in ((mean, "mean difference"), (paired, "participants alone")):
            figures.append(
                Figure(
                    f"null, n = {n}: 95 % intervals without zero",
                    "%",
                    100 * float(np.mean(ours)),
                    100 * float(np.mean(peer)),
                    name,
                    wanted="3 to 7",
                )
            )
    figures.append(Figure("null, the mildest of the settings", "%", min(together)))
    figures.append(Figure("null, the worst of the settings", "%", max(together), wanted="7"))
    return figures


def raised_figures(num: int) -> list[Figure]:
    """Coverage and power where the checkpoint is better."""
    grid = np.linspace(-0.5, 2.5, 61)
    figures = []
    for n in (65, 159):
        counts = COUNTS[n]
        truth = true_aurocs(counts, grid)
        for inits in (5, 10):
            held, seen, lifts = [], [], []
            for one in sweeps(Process(counts, SPREADS[1], 0.4, inits, RAISED), num, n):
                found = one.lift(min(counts))
                expected = np.interp(SIGNAL, grid, truth)
                true = float(np.interp(one.signal_R[0], grid, truth) - expected)
                held.append(found.low <= true <= found.high)
                seen.append(found.low > 0)
                lifts.append(true)
            told = f"true lift {np.mean(lifts):.2f}, n = {n}, {inits} initialisations"
            figures.append(
                Figure(
                    f"{told}: intervals that hold it",
                    "%",
                    100 * float(np.mean(held)),
                    better="more",
                    wanted="95",
                )
            )
            figures.append(
                Figure(f"{told}: intervals above zero", "%", 100 * float(np.mean(seen)), better="more")
            )
    return figures


def main() -> None:
    """Print the figures."""
    parser = arguments(__doc__)
    parser.add_argument("--sweeps", type=int, default=200, help="of each setting")
    args = parser.parse_args()
    settings = f"{args.sweeps} sweeps of each of {len(SPREADS) * 4} settings a size"
    figures = [*null_figures(args.sweeps), *raised_figures(args.sweeps)]
    tell(args, f"Lift over untrained encoders, {settings}", figures)


if __name__ == "__main__":
    main()

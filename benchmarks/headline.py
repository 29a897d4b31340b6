"""How often the report says that these data can tell, where there is nothing to tell and where there is.

    python -m benchmarks.headline [--sweeps 500]

Three checkpoints under four configurations. Null: all runs equally good. Planted: one run better than all others by
the lead that the report of a null sweep says would be recognised; the rest stay equal. Runs share half their noise.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from benchmarks.figures import Figure, arguments, tell
from benchmarks.simulated import SCORED, as_scores, equal_runs, labels
from octjob.evaluate import ParticipantScores
from octjob.evaluate.lead import recognisable_lead
from octjob.evaluate.metrics import mean_over_seeds
from octjob.evaluate.threads import plain_linear_algebra
from octjob.leaderboard.ranking import draw_all, standing

METRIC = "macro_auroc"
NUM_DRAWS = 500
NAMES = {f"c{i}.k{j}": f"c{i}" for i, j in product(range(3), range(4))}
SIGNAL, SHARED = 1.0, 0.5
_SIGNALS = np.linspace(SIGNAL, 4.0, 61)


def main() -> None:
    """Print the shares beside their limits."""
    parser = arguments(__doc__)
    parser.add_argument("--sweeps", type=int, default=500)
    args = parser.parse_args()
    # As `collect` does: many small products, which threads only slow.
    with plain_linear_algebra():
        tell(args, "The sentence of the report", shares(args.sweeps))


def shares(num_sweeps: int) -> list[Figure]:
    """How often it is said, of so many sweeps of each kind."""
    figures = []
    truths = [true_auroc(signal) for signal in _SIGNALS]
    for n, counts in SCORED.items():
        rng = np.random.default_rng(n)
        null = [
            told(dict(zip(NAMES, equal_runs(len(NAMES), counts, SIGNAL, SHARED, rng), strict=True)), seed)
            for seed in range(num_sweeps)
        ]
        lead = float(np.median([stated for _, _, stated in null]))
        better = float(np.interp(truths[0] + lead, truths, _SIGNALS))
        planted = [told(one_better(counts, better, rng), seed) for seed in range(num_sweeps)]
        named = [clear and leader == "c0.k0" for clear, leader, _ in planted]
        figures += [
            Figure(
                f"n {n}: 'these data can tell', nothing to tell",
                "%",
                100 * float(np.mean([clear for clear, _, _ in null])),
                wanted="<= 5",
            ),
            Figure(
                f"n {n}: a lead of {lead:.2f} is told, and of the right run",
                "%",
                100 * float(np.mean(named)),
                better="more",
                wanted=">= 80",
            ),
        ]
    return figures


def told(runs: dict[str, ParticipantScores], seed: int) -> tuple[bool, str, float]:
    """Whether a best checkpoint is named, the leader, and the lead that is said to be recognisable."""
    observed = {name: value(run) for name, run in runs.items()}
    draws = draw_all(runs, METRIC, NUM_DRAWS, seed)
    leads = standing(list(runs), list(runs), runs, observed, draws).leads
    assert leads is not None
    others = [name for name in runs if NAMES[name] != NAMES[leads.leader]]
    clear = not any(leads.behind[name].tied for name in others)
    in_bag = {name: one.in_bag_B for name, one in draws.items()}
    return clear, leads.leader, recognisable_lead(leads.leader, others, in_bag, leads.critical) or 0.0


def one_better(
    counts: tuple[int, ...], signal: float, rng: np.random.Generator
) -> dict[str, ParticipantScores]:
    """Equal runs but for the first; all share half of their noise."""
    label_P = labels(counts)
    common_PK = rng.normal(size=(len(label_P), 4))
    made = {}
    for number, name in enumerate(NAMES):
        noise_PK = np.sqrt(SHARED) * common_PK + np.sqrt(1 - SHARED) * rng.normal(size=common_PK.shape)
        strength = signal if number == 0 else SIGNAL
        exp_PK = np.exp(noise_PK + strength * np.eye(4)[label_P])
        made[name] = as_scores(label_P, exp_PK / exp_PK.sum(axis=1, keepdims=True))
    return made


def value(run: ParticipantScores) -> float:
    """The metric."""
    return float(mean_over_seeds((METRIC,), run, np.ones((1, len(run.label_P))))[METRIC][0])


def true_auroc(signal: float) -> float:
    """Of a run of this signal, on 8,000 people."""
    (run,) = equal_runs(1, (2000,) * 4, float(signal), 0.0, np.random.default_rng(0))
    return value(run)


if __name__ == "__main__":
    main()

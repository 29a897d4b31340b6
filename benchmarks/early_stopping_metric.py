"""Which metric should early stopping look at, with 2 people of the rarest class held out?

    python -m benchmarks.early_stopping_metric [--repeats 100]

Simulated linear heads on features: the original's 255 training participants (121/62/62/10), 15 % of each class held
out as in `octjob.data.sampling.holdout`, softmax regression by Adam, default patience and min_delta. Prints what the
epoch chosen by each metric scores on 2,000 fresh participants of the same proportions: means, and the paired standard
error of the difference to choosing by loss. Half a minute.

Shapes: R repetitions, T epochs, N participants, E features, K classes.
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt

from octjob.catalog import PER_EPOCH
from octjob.evaluate import weighted
from octjob.spec.experiment import EarlyStopping

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

COUNTS = (121, 62, 62, 10)
HELD_OUT = tuple(max(1, round(0.15 * count)) for count in COUNTS)
NUM_TEST, NUM_FEATURES, NUM_EPOCHS, STEPS_PER_EPOCH = 2000, 64, 50, 5
METRICS = ("loss", *PER_EPOCH)


def labels(counts: tuple[int, ...]) -> Ints:
    return np.repeat(np.arange(len(counts)), counts)


def scores(logits_NK: Floats, label_N: Ints) -> dict[str, float]:
    """Every metric that early stopping can look at."""
    log_p_NK = logits_NK - np.logaddexp.reduce(logits_NK, axis=1, keepdims=True)
    once_1N = np.ones((1, len(label_N)))
    confusion = weighted.confusion_matrices(label_N, logits_NK.argmax(1), once_1N, len(COUNTS))
    auroc_1K = weighted.auroc_per_class(np.exp(log_p_NK), label_N, once_1N)
    return {
        "loss": -float(log_p_NK[np.arange(len(label_N)), label_N].mean()),
        "macro_auroc": float(weighted.mean_defined(auroc_1K)[0]),
        "balanced_accuracy": float(weighted.balanced_accuracy(confusion)[0]),
        "accuracy": float(weighted.accuracy(confusion)[0]),
        "macro_f1": float(weighted.macro_f1(confusion)[0]),
    }


def train(x_RNE: Floats, label_N: Ints, weight_N: Floats, lr: float) -> Floats:
    """Coefficients after each epoch, (T, R, E, K): weighted softmax regression by Adam, all samples a step."""
    (R, N, E), K = x_RNE.shape, len(COUNTS)
    coef, first, second = (np.zeros((R, E, K)) for _ in range(3))
    kept = []
    for step in range(1, NUM_EPOCHS * STEPS_PER_EPOCH + 1):
        logits_RNK = x_RNE @ coef
        p_RNK = np.exp(logits_RNK - np.logaddexp.reduce(logits_RNK, axis=2, keepdims=True))
        gradient = x_RNE.transpose(0, 2, 1) @ (weight_N[:, None] * (p_RNK - np.eye(K)[label_N])) / N
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        coef = coef - lr * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        if step % STEPS_PER_EPOCH == 0:
            kept.append(coef)
    return np.stack(kept)


def chosen_epoch(values_T: list[float], smaller_is_better: bool) -> int:
    """The epoch early stopping ends with, under its defaults."""
    stopping, sign = EarlyStopping(), -1.0 if smaller_is_better else 1.0
    best = 0
    for epoch, value in enumerate(values_T):
        if sign * (value - values_T[best]) > stopping.min_delta:
            best = epoch
        elif epoch - best >= stopping.patience:
            break
    return best


def simulate(repeats: int, weights: str, lr: float, effect: float) -> dict[str, Floats]:
    """Test macro AUROC, balanced accuracy, log-loss and epoch, (R, 4), by the metric that chose the epoch."""
    rng = np.random.default_rng(20250827)
    mean_RKE = effect * rng.standard_normal((repeats, len(COUNTS), NUM_FEATURES)) / np.sqrt(NUM_FEATURES)
    train_N = labels(tuple(n - h for n, h in zip(COUNTS, HELD_OUT, strict=True)))
    test_N = rng.choice(len(COUNTS), size=NUM_TEST, p=np.array(COUNTS) / sum(COUNTS))
    test_N[: len(COUNTS)] = range(len(COUNTS))

    def sample(label_N: Ints) -> Floats:
        noise = rng.standard_normal((repeats, len(label_N), NUM_FEATURES))
        x_RNE = mean_RKE[:, label_N] + noise
        return np.concatenate([x_RNE, np.ones((*x_RNE.shape[:2], 1))], axis=2)

    balanced_K = len(train_N) / (len(COUNTS) * np.bincount(train_N))
    weight_N = balanced_K[train_N] if weights == "auto" else np.ones(len(train_N))
    coef_TREK = train(sample(train_N), train_N, weight_N, lr)
    x_holdout, x_test = sample(labels(HELD_OUT)), sample(test_N)
    found: dict[str, list[list[float]]] = {name: [] for name in (*METRICS, "last epoch")}
    for r in range(repeats):
        history = [scores(x_holdout[r] @ coef_TREK[t, r], labels(HELD_OUT)) for t in range(NUM_EPOCHS)]
        for name in found:
            last = name == "last epoch"
            t = NUM_EPOCHS - 1 if last else chosen_epoch([h[name] for h in history], name == "loss")
            test = scores(x_test[r] @ coef_TREK[t, r], test_N)
            found[name].append([test["macro_auroc"], test["balanced_accuracy"], test["loss"], t])
    return {name: np.array(rows) for name, rows in found.items()}


def main() -> None:
    """Print one table for each setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100)
    repeats = parser.parse_args().repeats
    print(f"held out of {COUNTS}: {HELD_OUT}; {repeats} repetitions")
    for weights in ("none", "auto"):
        for lr, effect in ((0.003, 0.75), (0.003, 1.5), (0.03, 0.75), (0.03, 1.5)):
            print(f"\nclass_weights {weights}, learning rate {lr}, class effect {effect}")
            print(f"{'chosen by':18} {'macro AUROC':>22} {'balanced acc.':>22} {'log-loss':>22} {'epoch':>6}")
            found = simulate(repeats, weights, lr, effect)
            for name, rows_R4 in found.items():
                error_4 = (rows_R4 - found["loss"]).std(axis=0, ddof=1) / np.sqrt(repeats)
                cells = [f"{m:.4f} (+-{e:.4f})" for m, e in zip(rows_R4.mean(0), error_4, strict=True)]
                print(f"{name:18} {cells[0]:>22} {cells[1]:>22} {cells[2]:>22} {rows_R4[:, 3].mean():6.1f}")


if __name__ == "__main__":
    main()

"""Which runs are called collapsed, at chance, or suspiciously alike."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from octjob.evaluate import (
    ParticipantScores,
    Verdict,
    bootstrap,
    compute_metrics,
    diagnose,
    identical_predictions,
)

SEED_LABELS = np.repeat(np.arange(4), (17, 17, 20, 11))
CLASSES = ("healthy", "prediabetes", "oral", "insulin")


def verdict(
    predicted_SP: list[NDArray[np.int64]],
    label_P: NDArray[np.int64] = SEED_LABELS,
    class_names: tuple[str, ...] | None = CLASSES,
) -> Verdict:
    scores = scores_of(np.stack([soft(predicted_P) for predicted_P in predicted_SP]), label_P)
    return diagnose(scores, compute_metrics(scores), bootstrap(scores, num_draws=500), class_names)


def soft(predicted_P: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probabilities that vary from participant to participant and are highest for the class given."""
    noise_PK = np.random.default_rng(0).dirichlet(np.ones(4), len(predicted_P))
    return 0.4 * noise_PK + 0.6 * np.eye(4)[predicted_P]


def scores_of(
    probability_SPK: NDArray[np.float64], label_P: NDArray[np.int64] = SEED_LABELS
) -> ParticipantScores:
    return ParticipantScores(np.array([f"{i:03d}" for i in range(len(label_P))]), label_P, probability_SPK)


def mostly_right(share: float, seed: int = 0) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    guess = rng.integers(0, 4, len(SEED_LABELS))
    return np.where(rng.random(len(SEED_LABELS)) < share, SEED_LABELS, guess)


def test_the_seeds_run_is_named_collapsed_in_plain_words() -> None:
    result = verdict([np.zeros(65, dtype=np.int64)])
    assert result.collapsed
    assert result.flags == [
        "dominant_class",
        "class_never_predicted",
        "equals_constant",
        "low_entropy",
        "chance",
    ]
    assert result.reasons[0] == (
        "all 65 predictions are class 0 (healthy): accuracy 0.2615 is what always predicting it gives"
    )
    assert "class 3 (insulin) (11 of 65 labels)" in result.reasons[1]
    assert result.reasons[2] == (
        "accuracy 0.2615, balanced accuracy 0.2500 and macro F1 0.1037 are those of always predicting "
        "class 0 (healthy)"
    )
    assert "cannot be told from chance, 0.2500" in result.reasons[4]


def test_a_constant_class_is_named_though_another_is_as_frequent() -> None:
    result = verdict([np.ones(65, dtype=np.int64)], class_names=None)
    assert result.reasons[0].startswith("all 65 predictions are class 1: accuracy 0.2615")
    assert result.reasons[2].endswith("always predicting class 1")


def test_a_good_predictor_is_not_flagged() -> None:
    result = verdict([mostly_right(0.7)])
    assert result == Verdict(False, [], [], [])


def test_a_perfect_predictor_is_not_flagged() -> None:
    assert verdict([SEED_LABELS]) == Verdict(False, [], [], [])


def test_nearly_one_class_is_collapsed_and_well_below_that_is_not() -> None:
    nearly = np.zeros(65, dtype=np.int64)
    nearly[[20, 40, 60]] = (1, 2, 3)  # 62 of 65 = 95.4 %
    result = verdict([nearly])
    assert result.collapsed
    assert result.flags[0] == "dominant_class"
    assert result.reasons[0] == "62 of 65 predictions (95.4 %) are class 0 (healthy)"
    nearly[[21, 41, 61]] = (1, 2, 3)  # 59 of 65 = 90.8 %
    assert not verdict([nearly]).collapsed


def test_a_class_that_is_never_predicted_collapses_an_otherwise_good_run() -> None:
    result = verdict([np.minimum(SEED_LABELS, 2)])
    assert (result.collapsed, result.flags) == (True, ["class_never_predicted"])
    assert result.reasons == ["never predicted though present: class 3 (insulin) (11 of 65 labels)"]


def test_a_class_without_labels_need_not_be_predicted() -> None:
    label_P = np.minimum(SEED_LABELS, 2)
    assert not verdict([label_P], label_P).collapsed


def test_labels_of_nearly_one_class_do_not_make_a_right_run_collapsed() -> None:
    label_P = np.zeros(65, dtype=np.int64)
    label_P[[3, 9]] = 1
    assert not verdict([label_P], label_P).collapsed


def test_the_collapsed_seed_is_named() -> None:
    result = verdict([mostly_right(0.8), np.zeros(65, dtype=np.int64), mostly_right(0.8, seed=1)])
    assert result.collapsed
    assert result.collapsed_seeds == [1]
    assert result.reasons[0].startswith("seed 1: all 65 predictions are class 0 (healthy)")


def test_outputs_that_do_not_depend_on_the_input_are_said_to() -> None:
    scores = scores_of(np.tile([0.4, 0.3, 0.2, 0.1], (1, 65, 1)))
    result = diagnose(scores, compute_metrics(scores), {})
    assert "constant_output" in result.flags
    assert "chance" not in result.flags


def test_shuffled_labels_are_mostly_at_chance_and_not_collapsed() -> None:
    rng = np.random.default_rng(8)
    results = [verdict([rng.permutation(SEED_LABELS)]) for _ in range(40)]
    assert not any(result.collapsed for result in results)
    # 40 trials at 95 %: 38 expected, 33 is over three standard errors below.
    assert sum(result.flags == ["chance"] for result in results) >= 33


def test_a_run_that_is_always_wrong_is_below_chance() -> None:
    result = verdict([(SEED_LABELS + 1) % 4])
    assert (result.collapsed, result.flags) == (False, ["below_chance"])


def test_runs_with_identical_predictions_are_grouped() -> None:
    good_PK = soft(mostly_right(0.7))
    order = np.random.default_rng(9).permutation(65)
    base = scores_of(good_PK[None])
    shuffled = ParticipantScores(
        base.participant_P[order], base.label_P[order], base.probability_SPK[:, order] + 1e-12
    )
    sharper_PK = good_PK**1.01 / (good_PK**1.01).sum(axis=1, keepdims=True)
    zeros = np.zeros(65, dtype=np.int64)
    blended_PK = 0.9 * soft(zeros) + 0.1 * np.eye(4)[zeros]
    groups = identical_predictions(
        {
            "a": base,
            "constant 1": scores_of(soft(zeros)[None]),
            "a again": shuffled,
            "other": scores_of(soft(mostly_right(0.7, seed=5))[None]),
            "a sharper": scores_of(sharper_PK[None]),
            "constant 2": scores_of(blended_PK[None]),
        }
    )
    assert [(group.names, group.constant, group.same_probabilities) for group in groups] == [
        (("a", "a again", "a sharper"), False, (("a", "a again"),)),
        (("constant 1", "constant 2"), True, ()),
    ]


@pytest.mark.parametrize("rows", [slice(0, 64), slice(1, 65)])
def test_runs_on_different_participants_are_not_called_identical(rows: slice) -> None:
    base = scores_of(soft(SEED_LABELS)[None])
    part = ParticipantScores(base.participant_P[rows], base.label_P[rows], base.probability_SPK[:, rows])
    assert identical_predictions({"all": base, "some": part}) == []

"""Which runs are called constant, which miss a class, and which are suspiciously alike."""

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
    effective_prior,
    identical_predictions,
    prior_corrected,
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


def test_the_seeds_run_is_named_constant_in_plain_words() -> None:
    result = verdict([np.zeros(65, dtype=np.int64)])
    assert result.constant
    assert result.flags == ["dominant_class", "equals_constant"]
    assert result.reasons == [
        "all 65 predictions are class 0 (healthy): accuracy 0.2615 is what always predicting it gives",
        "accuracy 0.2615, balanced accuracy 0.2500 and macro F1 0.1037 are those of always predicting "
        "class 0 (healthy)",
    ]


def test_a_constant_class_is_named_though_another_is_as_frequent() -> None:
    result = verdict([np.ones(65, dtype=np.int64)], class_names=None)
    assert result.reasons[0].startswith("all 65 predictions are class 1: accuracy 0.2615")
    assert result.reasons[1].endswith("always predicting class 1")


@pytest.mark.parametrize("predicted_P", [mostly_right(0.7), SEED_LABELS])
def test_a_good_predictor_is_not_flagged(predicted_P: NDArray[np.int64]) -> None:
    assert verdict([predicted_P]) == Verdict(False, [], [], [])


def test_nearly_one_class_is_constant_and_well_below_that_is_not() -> None:
    nearly = np.zeros(65, dtype=np.int64)
    nearly[[20, 40, 60]] = (1, 2, 3)  # 62 of 65 = 95.4 %
    result = verdict([nearly])
    assert result.constant
    assert result.flags[0] == "dominant_class"
    assert result.reasons[0] == "62 of 65 predictions (95.4 %) are class 0 (healthy)"
    nearly[[21, 41, 61]] = (1, 2, 3)  # 59 of 65 = 90.8 %
    assert not verdict([nearly]).constant


def test_a_class_that_is_never_predicted_is_a_flag_and_no_collapse() -> None:
    result = verdict([np.minimum(SEED_LABELS, 2)])
    assert (result.constant, result.flags) == (False, ["misses_class"])
    assert result.reasons == ["class 3 (insulin) is predicted never and occurs 11 times in 65"]


@pytest.mark.parametrize(("answers", "missed"), [(2, True), (3, False)])
def test_a_class_is_missed_below_a_fifth_of_how_often_it_occurs(answers: int, missed: bool) -> None:
    predicted_P = np.minimum(SEED_LABELS, 2)
    predicted_P[54 : 54 + answers] = 3  # 11 occur
    assert (verdict([predicted_P]).flags == ["misses_class"]) == missed


def test_whether_a_missed_class_is_only_the_prior_is_said() -> None:
    """Logits that know the class, plus the log of a prior of 12 : 1: dividing it out brings the class back."""
    prior = (121, 62, 62, 10)
    rng = np.random.default_rng(1)
    knows_PK = 2.0 * np.eye(4)[SEED_LABELS] + rng.normal(size=(65, 4))
    knows_not_PK = 2.0 * np.eye(4)[SEED_LABELS] * [1, 1, 1, 0] + rng.normal(size=(65, 4)) - [0, 0, 0, 3]
    for logits_PK, said in ((knows_PK, "only the prior"), (knows_not_PK, "not only the prior")):
        logits_PK = logits_PK + 1.5 * np.log(np.array(prior) / 255)
        probability_PK = np.exp(logits_PK) / np.exp(logits_PK).sum(axis=1, keepdims=True)
        scores = scores_of(probability_PK[None])
        corrected = prior_corrected(scores, effective_prior(prior))
        result = diagnose(scores, compute_metrics(scores), {}, CLASSES, corrected)
        assert result.flags == ["misses_class"]
        assert result.reasons[-1].endswith(f"with the training prior divided out, so it is {said}")


def test_a_class_without_labels_need_not_be_predicted() -> None:
    label_P = np.minimum(SEED_LABELS, 2)
    assert verdict([label_P], label_P).flags == []


def test_labels_of_nearly_one_class_do_not_make_a_right_run_constant() -> None:
    label_P = np.zeros(65, dtype=np.int64)
    label_P[[3, 9]] = 1
    assert not verdict([label_P], label_P).constant


@pytest.mark.parametrize(("num_constant", "constant"), [(1, False), (2, False), (3, True), (5, True)])
def test_most_seeds_decide_and_the_others_are_told(num_constant: int, constant: bool) -> None:
    good = [mostly_right(0.8, seed) for seed in range(5 - num_constant)]
    result = verdict([*good, *[np.zeros(65, dtype=np.int64)] * num_constant])
    assert result.constant == constant
    assert result.constant_passes == [f"seed {seed}" for seed in range(5 - num_constant, 5)]
    assert result.flags[0] == ("dominant_class" if constant else "some_seeds_constant")
    first = f"seed {5 - num_constant}: all 65 predictions are class 0 (healthy)"
    assert result.reasons[0].startswith(f"{num_constant} of 5 seeds constant, the first: {first}")


def test_outputs_that_do_not_depend_on_the_input_are_said_to() -> None:
    scores = scores_of(np.tile([0.4, 0.3, 0.2, 0.1], (1, 65, 1)))
    result = diagnose(scores, compute_metrics(scores), {})
    assert "constant_output" in result.flags


def test_shuffled_labels_are_not_called_constant() -> None:
    rng = np.random.default_rng(8)
    assert not any(verdict([rng.permutation(SEED_LABELS)]).constant for _ in range(40))


def test_a_run_that_is_always_wrong_is_below_chance() -> None:
    result = verdict([(SEED_LABELS + 1) % 4])
    assert (result.constant, result.flags) == (False, ["below_chance"])
    assert result.reasons[0].startswith("macro_auroc: 95 % interval ")


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

"""Metrics against scikit-learn, and the way from volumes to participants."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from sklearn import metrics as sk

from octjob.catalog import METRICS
from octjob.errors import DataError
from octjob.evaluate import (
    ParticipantScores,
    Predictions,
    by_participant,
    compute_metrics,
    constant_baseline,
    evaluate,
)

EXACT = {"rel": 0, "abs": 1e-12, "nan_ok": True}
SEED_COUNTS = (17, 17, 20, 11)


@pytest.fixture(autouse=True)
def _quiet_sklearn() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


NAMES = ("participant", "eye", "device", "split", "fold", "seed", "label", "logits")


def scores_of(label: list[int], probability_SPK: NDArray[np.float64]) -> ParticipantScores:
    ids = np.array([f"p{i:04d}" for i in range(len(label))])
    return ParticipantScores(ids, np.array(label, dtype=np.int64), probability_SPK)


def table(rows: list[tuple[str, str, str, str, int, int, int, list[float]]]) -> Predictions:
    return Predictions.from_columns(dict(zip(NAMES, zip(*rows, strict=True), strict=True)))


def random_table(num_participants: int = 30, seeds: tuple[int, ...] = (0, 1)) -> Predictions:
    rng = np.random.default_rng(7)
    volumes = [(f"{i:04d}", eye) for i in range(num_participants) for eye in ("L", "L", "L", "R")]
    return table(
        [
            (name, eye, "triton", "val", int(name) % 3, seed, int(name) % 4, rng.normal(size=4).tolist())
            for seed in seeds
            for name, eye in volumes
        ]
    )


@st.composite
def labelled_probabilities(draw: st.DrawFn) -> tuple[list[int], NDArray[np.float64]]:
    """Labels 0..K-1 of which some may be absent, and probabilities with many ties (a grid of ten steps)."""
    num_classes = draw(st.integers(2, 5))
    size = draw(st.integers(1, 25))
    label = draw(st.lists(st.integers(0, num_classes - 1), min_size=size, max_size=size))
    steps = st.lists(st.integers(0, 5), min_size=num_classes, max_size=num_classes)
    raw_PK = np.array(draw(st.lists(steps, min_size=size, max_size=size)), dtype=np.float64)
    raw_PK[raw_PK.sum(axis=1) == 0] = 1.0
    return label, raw_PK / raw_PK.sum(axis=1, keepdims=True)


def sklearn_metrics(label: list[int], probability_PK: NDArray[np.float64]) -> dict[str, ArrayLike]:
    """The same numbers from scikit-learn alone; macro averages over the classes that occur."""
    num_classes = probability_PK.shape[1]
    classes, present = list(range(num_classes)), sorted(set(label))
    predicted = probability_PK.argmax(axis=1)
    is_class = [(np.array(label) == k).astype(int) for k in classes]
    nan = float("nan")
    f1 = [
        sk.f1_score(y, predicted == k, zero_division=0) if k in present else nan
        for k, y in enumerate(is_class)
    ]
    auroc = [
        sk.roc_auc_score(y, probability_PK[:, k]) if 0 < y.sum() < len(y) else nan
        for k, y in enumerate(is_class)
    ]
    precision = [sk.average_precision_score(is_class[k], probability_PK[:, k]) for k in present]
    brier = sk.brier_score_loss(label, probability_PK, labels=classes, scale_by_half=False)
    return {
        "accuracy": sk.accuracy_score(label, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(label, predicted),
        "macro_f1": sk.f1_score(label, predicted, labels=present, average="macro", zero_division=0),
        "per_class_f1": f1,
        "macro_auroc": np.nanmean(auroc) if np.isfinite(auroc).any() else nan,
        "per_class_auroc": auroc,
        "quadratic_kappa": sk.cohen_kappa_score(label, predicted, labels=classes, weights="quadratic"),
        "log_loss": sk.log_loss(label, probability_PK, labels=classes),
        "brier": brier,
        "macro_auprc": np.mean(precision),
        "confusion": sk.confusion_matrix(label, predicted, labels=classes),
    }


@pytest.mark.slow
@settings(max_examples=250, deadline=None)
@given(labelled_probabilities())
def test_every_metric_equals_scikit_learns(case: tuple[list[int], NDArray[np.float64]]) -> None:
    label, probability_PK = case
    ours = compute_metrics(scores_of(label, probability_PK[None]))
    for name, expected in sklearn_metrics(label, probability_PK).items():
        value = ours[name] if name in METRICS else getattr(ours, name)
        assert np.array(value) == pytest.approx(np.array(expected), **EXACT), name


def test_macro_auroc_is_scikit_learns_one_vs_rest_when_every_class_occurs() -> None:
    rng = np.random.default_rng(0)
    label = [*range(4)] * 10
    probability_PK = rng.dirichlet(np.ones(4), 40)
    expected = sk.roc_auc_score(label, probability_PK, multi_class="ovr", average="macro")
    ours = compute_metrics(scores_of(label, probability_PK[None]))
    assert ours["macro_auroc"] == pytest.approx(expected, **EXACT)


def test_calibration_error_equals_a_loop_over_bins() -> None:
    rng = np.random.default_rng(1)
    label, probability_PK = rng.integers(0, 3, 200), rng.dirichlet(np.ones(3), 200)
    confidence, right = probability_PK.max(axis=1), probability_PK.argmax(axis=1) == label
    expected = 0.0
    for m in range(15):
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert compute_metrics(scores_of(label.tolist(), probability_PK[None]))["ece"] == pytest.approx(
        expected, **EXACT
    )


def test_a_confidence_on_the_edge_of_two_bins_belongs_to_the_lower() -> None:
    edge = float(np.linspace(0, 1, 16)[12])
    probability_PK = np.array([[edge, 1 - edge], [edge + 0.01, 0.99 - edge]])
    result = compute_metrics(scores_of([0, 1], probability_PK[None]))
    assert result["ece"] == pytest.approx(((1 - edge) + (edge + 0.01)) / 2, **EXACT)


def test_an_absent_class_keeps_its_index_and_is_undefined() -> None:
    probability_PK = np.array([[0.7, 0.1, 0.2], [0.2, 0.1, 0.7], [0.1, 0.8, 0.1]])
    result = compute_metrics(scores_of([0, 2, 2], probability_PK[None]))
    assert result.confusion == [[1, 0, 0], [0, 0, 0], [0, 1, 1]]
    assert math.isnan(result.per_class_f1[1])
    assert math.isnan(result.per_class_auroc[1])
    assert result["macro_f1"] == pytest.approx((1 + 2 / 3) / 2)
    assert result["balanced_accuracy"] == 0.75
    assert result.to_dict()["per_class_f1"][1] is None


def test_seeds_are_averaged_and_their_confusions_summed() -> None:
    rng = np.random.default_rng(2)
    label, probability_SPK = [0, 1, 2, 3] * 8, rng.dirichlet(np.ones(4), (3, 32))
    result = compute_metrics(scores_of(label, probability_SPK))
    alone = [compute_metrics(scores_of(label, probability_PK[None])) for probability_PK in probability_SPK]
    assert result["macro_auroc"] == pytest.approx(np.mean([one["macro_auroc"] for one in alone]), **EXACT)
    assert result.n == 32
    assert sum(result.prediction_counts) == 96
    assert [one["accuracy"] for one in result.per_seed] == [one["accuracy"] for one in alone]


def test_the_seeds_constant_predictor_gives_the_seeds_numbers() -> None:
    label = np.repeat(np.arange(4), SEED_COUNTS)
    result = compute_metrics(scores_of(label.tolist(), np.tile([0.4, 0.3, 0.2, 0.1], (1, 65, 1))))
    assert result["accuracy"] == pytest.approx(0.26154, abs=5e-6)
    assert result.per_class_f1 == pytest.approx([0.41463, 0, 0, 0], abs=5e-6)
    assert result["macro_f1"] == pytest.approx(0.10366, abs=5e-6)
    assert result["balanced_accuracy"] == 0.25
    assert result["quadratic_kappa"] == 0
    assert result.per_class_auroc == [0.5] * 4
    assert result.prediction_counts == [65, 0, 0, 0]


def test_the_best_constant_is_not_the_one_the_seed_compared_with() -> None:
    baseline = constant_baseline(np.repeat(np.arange(4), SEED_COUNTS), 4, train_counts=[121, 62, 62, 10])
    assert (baseline.accuracy.predicted_class, round(baseline.accuracy.value, 4)) == (2, 0.3077)
    assert baseline.balanced_accuracy.value == 0.25
    assert (baseline.macro_f1.predicted_class, baseline.macro_f1.value) == (2, pytest.approx(40 / 85 / 4))
    assert baseline.per_class_f1[0] == pytest.approx(34 / 82)
    assert baseline.train_majority is not None
    assert baseline.train_majority.predicted_class == 0
    assert baseline.train_majority.accuracy == pytest.approx(17 / 65)


def test_a_participants_probability_is_the_mean_of_its_volumes_softmaxes() -> None:
    scores = by_participant(
        table(
            [
                ("b", "L", "triton", "val", 0, 5, 1, [1000.0, 0.0]),
                ("a", "L", "triton", "val", 0, 5, 0, [0.0, 0.0]),
                ("b", "R", "triton", "val", 0, 5, 1, [0.0, math.log(3)]),
            ]
        )
    )
    assert scores.participant_P.tolist() == ["a", "b"]
    assert scores.label_P.tolist() == [0, 1]
    assert scores.seed_S == (5,)
    assert scores.probability_SPK[0] == pytest.approx(np.array([[0.5, 0.5], [0.625, 0.375]]), abs=1e-15)


def test_per_volume_every_volume_is_a_row() -> None:
    predictions = random_table()
    scores = by_participant(predictions, how="volume")
    assert scores.probability_SPK.shape == (2, 120, 4)
    assert scores.volume_P is not None
    assert scores.volume_P[:4].tolist() == ["L/triton/1", "L/triton/2", "L/triton/3", "R/triton/1"]
    assert len(set(scores.participant_P.tolist())) == 30


@pytest.mark.parametrize("unit", ["participant", "volume"])
def test_the_order_of_the_table_changes_nothing(unit: str) -> None:
    predictions = random_table()
    if unit == "volume":  # volumes that only their order tells apart have to keep it
        predictions = predictions.rows(np.arange(240) % 4 >= 2)
    shuffled = predictions.rows(np.random.default_rng(3).permutation(len(predictions.label)))
    first, second = (evaluate(x, 4, unit=unit, num_draws=50).to_dict() for x in (predictions, shuffled))  # type: ignore[arg-type]
    assert first == second


GOOD = [
    ("a", "L", "triton", "val", 0, 0, 0, [0.0, 1.0]),
    ("b", "L", "triton", "val", 1, 0, 1, [0.0, 1.0]),
]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a", "R", "triton", "val", 0, 0, 1, [0.0, 1.0]), "more than one label for a"),
        (("b", "R", "triton", "val", 0, 0, 1, [0.0, 1.0]), "more than one fold for b"),
        (("b", "R", "triton", "test", 1, 0, 1, [0.0, 1.0]), "more than one split for b"),
        (("a", "L", "triton", "val", 0, 1, 0, [0.0, 1.0]), r"\(0, 0\) and \(1, 0\) scored different .*: b"),
        (("c", "L", "triton", "val", 0, 0, 0, [0.0, math.nan]), "not finite for c"),
        (("c", "L", "triton", "val", 0, 0, 0, [0.0, math.inf]), "not finite for c"),
        (("c", "L", "triton", "val", 0, 0, 2, [0.0, 1.0]), r"labels \[2\] are outside 0..1 for c"),
    ],
)
def test_unusable_predictions_are_refused_by_name(
    row: tuple[str, str, str, str, int, int, int, list[float]], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        by_participant(table([*GOOD, row]))
    assert caught.value.hint


def test_a_participant_may_change_fold_between_seeds() -> None:
    again = [(*row[:4], row[4] + 1, 1, *row[6:]) for row in GOOD]
    assert by_participant(table([*GOOD, *again])).seed_S == (0, 1)


def test_every_seed_and_repeat_is_a_pass_of_its_own() -> None:
    rows = [
        ("a", "L", "triton", "val", repeat, seed, 0, [float(seed), float(repeat)], repeat)
        for seed in (3, 4)
        for repeat in (0, 1)
    ]
    columns = dict(zip((*NAMES, "repeat"), zip(*rows, strict=True), strict=True))
    scores = by_participant(Predictions.from_columns(columns))
    assert (scores.seed_S, scores.repeat_S) == ((3, 3, 4, 4), (0, 1, 0, 1))
    assert scores.ordered().name_S[:2] == ("seed 3, repeat 0", "seed 3, repeat 1")
    odds_S = np.log(scores.probability_SPK[:, 0, 0] / scores.probability_SPK[:, 0, 1])
    assert odds_S == pytest.approx([3, 2, 4, 3])
    assert by_participant(table(GOOD)).name_S == ("seed 0",)


def test_columns_that_are_missing_or_wrong_are_named() -> None:
    with pytest.raises(DataError, match=r"columns missing: .*logits"):
        Predictions.from_columns({"participant": ["a"]})
    ragged = (*GOOD[1][:7], [1.0])
    with pytest.raises(DataError, match="not numbers"):
        table([GOOD[0], ragged])


def test_evaluation_asks_for_a_split_and_survives_json() -> None:
    rows = [*GOOD, ("t", "L", "triton", "test", 0, 0, 1, [0.0, 2.0])]
    with pytest.raises(DataError, match="several splits: test, val"):
        evaluate(table(rows), 2)
    with pytest.raises(DataError, match="no split 'train'"):
        evaluate(table(rows), 2, split="train")
    with pytest.raises(DataError, match="2 logits per volume for 4 classes"):
        evaluate(table(rows), 4, split="val")
    with pytest.raises(DataError, match="more than one split for t"):
        evaluate(table([*rows, ("t", "R", "triton", "val", 0, 0, 1, [0.0, 2.0])]), 2, split="test")
    result = evaluate(table(rows), 2, split="test", num_draws=10).to_dict()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["metrics"]["n"] == 1
    assert result["metrics"]["macro_auroc"] is None
    assert result["intervals"]["macro_auroc"]["low"] is None

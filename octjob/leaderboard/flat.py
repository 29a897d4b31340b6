"""The leaderboard as flat rows, the same in CSV, Parquet and a data frame."""

from __future__ import annotations

from collections.abc import Sequence

from octjob.catalog import RANKING
from octjob.leaderboard.rows import Row, num_initialisations
from octjob.leaderboard.secondary import RunAnswers

Scalar = str | int | float | None


def flat_fields(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Names and kinds (str, int, float) of the flat columns. labels: `class_labels`."""
    return [
        *((name, "int") for name in ("rank_best", "rank_worst")),
        ("letters", "str"),
        ("p_best", "float"),
        *(
            (name, "str")
            for name in ("checkpoint", "config", "run_id", "state", "verdict", "flags", "weights")
        ),
        *((name, "int") for name in ("n", "num_models")),
        *((f"{name}{bound}", "float") for name in RANKING for bound in ("", "_low", "_high")),
        *((name, "float") for name in ("p_signal", "p_signal_holm", *_OF_ROW)),
        *(
            (f"{family}_{name}", kind)
            for family in _FAMILIES
            for name, kind in (("run", "str"), *((number, "float") for number in _NUMBERS))
        ),
        *((f"lift{bound}", "float") for bound in _LIFT),
        ("num_initialisations", "int"),
        *((f"f1_{name}", "float") for name in labels),
        *((f"auprc_{name}", "float") for name in labels),
        *((f"prevalence_{name}", "float") for name in labels),
        *((f"predicted_{name}", "int") for name in labels),
        *((f"{name}{bound}", "float") for name in _ANSWERS for bound in _BOUNDS),
        *((f"recalibration_intercept_{name}{bound}", "float") for name in labels for bound in _BOUNDS),
        ("reasons", "str"),
        ("error", "str"),
    ]


_OF_ROW = ("train_val_gap", "best_constant_accuracy", "prior_corrected_balanced_accuracy")
_FAMILIES = ("vs_checkpoint", "vs_config")
_NUMBERS = ("difference", "low", "high", "p_value", "p_holm")
_BOUNDS = {"": "value", "_low": "low", "_high": "high"}
_LIFT = {**_BOUNDS, "_p_value": "p_value", "_p_holm": "p_holm"}
# Of the best run of each checkpoint alone; their columns by the fields of its answers.
_ANSWERS = {
    "auroc_first_class": "first_class",
    "auroc_last_class": "last_class",
    "somers_d": "order",
    "brier_skill": "brier_skill",
    "recalibration_slope": "slope",
}
_PER_CLASS = {
    "f1": "per_class_f1",
    "auprc": "per_class_auprc",
    "prevalence": "prevalence",
    "predicted": "prediction_counts",
}


def class_labels(class_names: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """The sweep's class names, and numbers for classes beyond them."""
    most = max((len(row.per_class_f1) for row in rows), default=0)
    return [*class_names, *(f"class_{k}" for k in range(len(class_names), most))]


def flat_row(row: Row, labels: Sequence[str], answers: RunAnswers | None = None) -> dict[str, Scalar]:
    """The values of `flat_fields`. answers: to the secondary questions, where they were asked of this run."""
    values: dict[str, Scalar] = {
        "rank_best": row.rank.best if row.rank else None,
        "rank_worst": row.rank.worst if row.rank else None,
        "letters": row.rank.letters if row.rank else None,
        "p_best": row.rank.p_best if row.rank else None,
        "flags": ";".join(row.flags),
        "p_signal": row.signal.p_value if row.signal else None,
        "p_signal_holm": row.signal.p_holm if row.signal else None,
        "reasons": "; ".join(row.reasons),
    }
    own = ("checkpoint", "config", "run_id", "state", "verdict", "weights", "n", "num_models", "error")
    values |= {name: getattr(row, name) for name in (*own, *_OF_ROW)}
    for name in RANKING:
        estimate = row.metric(name)
        for bound, attribute in (("", "value"), ("_low", "low"), ("_high", "high")):
            values[f"{name}{bound}"] = getattr(estimate, attribute) if estimate else None
    for family in _FAMILIES:
        one = getattr(row, family)
        values[f"{family}_run"] = one.reference_run if one else None
        values |= {f"{family}_{name}": getattr(one, name) if one else None for name in _NUMBERS}
    values |= {f"lift{bound}": getattr(row.lift, name, None) for bound, name in _LIFT.items()}
    values["num_initialisations"] = num_initialisations(row)
    for k, label in enumerate(labels):
        for prefix, attribute in _PER_CLASS.items():
            per_class = getattr(row, attribute)
            values[f"{prefix}_{label}"] = per_class[k] if k < len(per_class) else None
    return values | _answered(answers, labels)


def _answered(answers: RunAnswers | None, labels: Sequence[str]) -> dict[str, Scalar]:
    found = {name: getattr(answers, of, None) for name, of in _ANSWERS.items()}
    intercepts = answers.intercepts if answers else ()
    for k, label in enumerate(labels):
        found[f"recalibration_intercept_{label}"] = intercepts[k] if k < len(intercepts) else None
    return {
        f"{name}{bound}": getattr(answer, attribute) if answer else None
        for name, answer in found.items()
        for bound, attribute in _BOUNDS.items()
    }

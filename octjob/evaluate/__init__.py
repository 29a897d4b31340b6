"""From predictions to numbers that can be trusted: metrics, intervals, paired tests, collapse diagnosis.

Plain data in, plain data out; numpy and scipy only. Every metric agrees with scikit-learn to 1e-12, the
unit is the participant, and every interval and test names its method.
"""

from __future__ import annotations

from octjob.evaluate.baseline import Baseline, constant_baseline, constant_score
from octjob.evaluate.collapse import IdenticalGroup, Verdict, diagnose, identical_predictions
from octjob.evaluate.evaluation import Evaluation, evaluate
from octjob.evaluate.intervals import Interval, bootstrap, wilson
from octjob.evaluate.metrics import Metrics, compute_metrics
from octjob.evaluate.paired import McNemar, PairedDifference, holm, paired_difference
from octjob.evaluate.predictions import ParticipantScores, Predictions, by_participant
from octjob.evaluate.resampled import (
    FoldValues,
    ResampledDifference,
    corrected_t,
    fold_values,
    resampled_difference,
)
from octjob.evaluate.variance import VarianceSources, variance_sources
from octjob.evaluate.weighted import METRIC_NAMES

__all__ = [
    "METRIC_NAMES",
    "Baseline",
    "Evaluation",
    "FoldValues",
    "IdenticalGroup",
    "Interval",
    "McNemar",
    "Metrics",
    "PairedDifference",
    "ParticipantScores",
    "Predictions",
    "ResampledDifference",
    "VarianceSources",
    "Verdict",
    "bootstrap",
    "by_participant",
    "compute_metrics",
    "constant_baseline",
    "constant_score",
    "corrected_t",
    "diagnose",
    "evaluate",
    "fold_values",
    "holm",
    "identical_predictions",
    "paired_difference",
    "resampled_difference",
    "variance_sources",
    "wilson",
]

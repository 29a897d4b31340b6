"""From predictions to numbers that can be trusted: metrics, intervals, paired tests, collapse diagnosis.

Plain data in, plain data out; numpy and scipy only. Every metric agrees with scikit-learn to 1e-12, the
unit is the participant, and every interval and test names its method.
"""

from __future__ import annotations

from octjob.evaluate.baseline import Baseline, constant_baseline, constant_score
from octjob.evaluate.evaluation import Evaluation, evaluate
from octjob.evaluate.identical import IdenticalGroup, identical_predictions
from octjob.evaluate.intervals import Interval, bootstrap, wilson
from octjob.evaluate.lift import Lift, lift_over
from octjob.evaluate.metrics import Metrics, compute_metrics
from octjob.evaluate.paired import McNemar, PairedDifference, holm, paired_difference
from octjob.evaluate.predictions import ParticipantScores, Predictions, by_participant
from octjob.evaluate.prior import PriorCorrected, effective_prior, prior_corrected
from octjob.evaluate.resampled import (
    FoldValues,
    ResampledDifference,
    corrected_t,
    fold_values,
    resampled_difference,
)
from octjob.evaluate.signal import Signal, label_permutation
from octjob.evaluate.simultaneous import RankRange, rank_ranges
from octjob.evaluate.variance import VarianceSources, variance_sources
from octjob.evaluate.verdict import Verdict, diagnose
from octjob.evaluate.winner import SelectionCorrected, selection_corrected

__all__ = [
    "Baseline",
    "Evaluation",
    "FoldValues",
    "IdenticalGroup",
    "Interval",
    "Lift",
    "McNemar",
    "Metrics",
    "PairedDifference",
    "ParticipantScores",
    "Predictions",
    "PriorCorrected",
    "RankRange",
    "ResampledDifference",
    "SelectionCorrected",
    "Signal",
    "VarianceSources",
    "Verdict",
    "bootstrap",
    "by_participant",
    "compute_metrics",
    "constant_baseline",
    "constant_score",
    "corrected_t",
    "diagnose",
    "effective_prior",
    "evaluate",
    "fold_values",
    "holm",
    "identical_predictions",
    "label_permutation",
    "lift_over",
    "paired_difference",
    "prior_corrected",
    "rank_ranges",
    "resampled_difference",
    "selection_corrected",
    "variance_sources",
    "wilson",
]

"""The convex optimum beside a head: logistic regression on the same cached features, as a run of it would be.

Shapes: N volumes, E features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from octjob.doctor.heads import Fit
from octjob.doctor.trial import Bench
from octjob.evaluate import by_participant
from octjob.evaluate.predictions import How
from octjob.features.views import views_of
from octjob.spec.experiment import Experiment
from octjob.spec.run import Run
from octjob.train.loop import State, Training
from octjob.train.scoring import Scorer, concatenate
from octjob.train.trainers import LogisticTrainer
from octjob.train.units import Unit, units_of


class _NobodyWatches:
    """Nothing is kept of these fits, and nothing stops them."""

    def begin(self, units: Sequence[Unit], name: str) -> State | None:
        return None

    def check_stop(self) -> None:
        pass

    def after_step(self, training: Training) -> None:
        pass

    def after_epoch(self, training: Training, records: Sequence[dict[str, Any]]) -> None:
        pass


def convex_fit(bench: Bench) -> Fit | None:
    """One pass over the participants of the bench's run. None for a head that sees augmented views, of which the
    cache is not asked, and where the keys of its config do not go together with such a fit.

    Raises `DataError` as units and `fit_logistic` do.
    """
    run = _with_logistic(bench.run)
    if run is None or len(views_of(run.config.data.augment)) > 1:
        return None
    scorer = Scorer(bench.volumes, run.config)
    trainer = LogisticTrainer(run.config, scorer, bench.x_1N)
    tables, losses = [], []
    for done in trainer.train(units_of(bench.volumes, run), _NobodyWatches()):
        for unit, trained in done:
            tables.append(scorer.predictions(unit, unit.eval_N, trained.eval_logits_NK))
            losses.append(scorer.metrics(unit, unit.train_N, trained.train_logits_NK)["log_loss"])
    how: How = "mean" if run.config.data.unit == "participant" else "volume"
    name = "logistic regression on its cached features"
    return Fit(name, float(np.mean(losses)), by_participant(concatenate(tables), how))


def _with_logistic(run: Run) -> Run | None:
    """The run's first pass, with logistic regression in place of its head's steps."""
    config = run.config.model_dump(mode="json")
    config["train"] |= {"optimizer": "LBFGS", "l2": "auto"}
    try:
        fitted = Experiment.model_validate(config)
    except ValidationError:
        return None
    return run.model_copy(update={"config": fitted, "seeds": run.seeds[:1], "repeats": 1, "shares": ()})

"""One attempt at one run, from its spec in the store to its result there."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import safetensors.torch
import torch

from octjob.catalog import METRICS
from octjob.data.cohort import Volume, check_cohort
from octjob.data.quarantine import Quarantine
from octjob.evaluate import Predictions, effective_prior, evaluate
from octjob.records.layout import (
    RESULT,
    encode,
    read_result,
    read_spec,
    run_key,
    split_run_uri,
)
from octjob.records.layout import run_uri as uri_of_run
from octjob.records.parts import Part, parts_facts, write_parts
from octjob.records.predictions import write_predictions
from octjob.records.schema import Result
from octjob.run.alone import only_attempt
from octjob.run.at_hand import AtHand, Encoded, participants_seen
from octjob.run.attempt import attempt
from octjob.run.company import Beside, MadeFrom
from octjob.run.encoding import make_features, wait_for_features
from octjob.run.examples import make_examples
from octjob.run.facts import data_facts, training_facts
from octjob.run.hosts import Host, OnProgress
from octjob.run.inputs import arrange_encoder, load_cohort, load_encoder
from octjob.run.pixels import read_pixels
from octjob.run.reading import read_run
from octjob.run.session import Session
from octjob.run.shared import Shared
from octjob.run.stop import Stop
from octjob.runtime.environment import environment
from octjob.runtime.isolation import isolated
from octjob.spec.experiment import Experiment
from octjob.storage.base import AlreadyExistsError, ObjectNotFoundError
from octjob.storage.open import open_store
from octjob.train.controls import make_control_trainer, make_scorer
from octjob.train.scoring import Scorer, concatenate
from octjob.train.trained import Done, Trained
from octjob.train.trainers import make_trainer
from octjob.train.units import Unit, units_of

log = logging.getLogger(__name__)

# The split of predictions pooled over folds.
CROSS_VALIDATED = "cv"


def run_job(
    run_uri: str,
    listener: OnProgress,
    host: Host | None = None,
    *,
    patient: bool = False,
    stop: Stop | None = None,
    shared: Shared | None = None,
    features: str | None = None,
) -> Result:
    """Carry a run out, or continue it, and return its result; a finished run is left alone.

    host: where this is. Each host of a slice calls this; host 0 writes.
    patient: wait while another process of this machine carries the run out, instead of refusing.
    stop: learns of a signal that came during the run, even too late to interrupt it.
    shared: what earlier runs of this process leave for this one, and this one for those that follow.
    features: the encoding whose features the run waits for; None where it makes them itself.

    The process is left as it was found: another run may follow. Raises `Interrupted` after a signal, with the state
    saved, and `OctjobError` for what a user can mend.
    """
    output, run_id = split_run_uri(run_uri)
    store = open_store(output)
    run = read_spec(store, run_id)
    uri = uri_of_run(store.root, run_id)
    here = host or Host()
    with only_attempt(uri, run_id, patient=patient) if here.is_leader else nullcontext():
        result = read_result(store, run_id)
        if result is not None:
            log.info("run %s is finished; nothing to do", run_id)
            return result
        with isolated(), attempt(run, store, listener, here, stop or Stop()) as session:
            ours = shared or Shared()
            if run.encodes:
                return _keep_encoding(session, ours)
            return (
                _carry_out(session, ours, features) if run.has_encoder else _carry_out_control(session, ours)
            )


def _keep_encoding(session: Session, shared: Shared) -> Result:
    result = make_features(session, shared)
    return session.runtime.share(lambda: _write_result(session, result))


def _carry_out(session: Session, shared: Shared, features: str | None) -> Result:
    run, heartbeat = session.run, session.heartbeat
    made = wait_for_features(session, features) if features else None
    session.continue_from_saved()
    heartbeat.stage("data")
    loaded = load_encoder(run, shared, session.tick_alone)
    arrangement = arrange_encoder(run, loaded, session.runtime)
    session.require_same("checkpoint weights", loaded.report.weights_digest)
    seen = session.runtime.share(lambda: participants_seen(run, loaded))
    session.check_stop()
    quarantine = Quarantine()
    cohort, inputs = read_run(session, run, loaded, shared, quarantine, made)
    made_from = MadeFrom(loaded.report.weights_digest, _cohort_digest(cohort.volumes))
    session.require_same("cohort", made_from.cohort)
    scorer = make_scorer(run, cohort.volumes)
    units = units_of(cohort.volumes, run)
    heartbeat.stage("training")
    if (ahead := shared.later.take(run, made_from)) is not None and session.is_new:
        log.info("trained beside run %s", ahead.host_id)
        for stay in ahead.stays:
            session.note(stay.records)
            _finish_units(session, stay.done)
    beside = Beside(run, session.store, cohort.volumes, made_from, shared.later)
    trainer = make_trainer(
        run.config, scorer, loaded, inputs, session.runtime, arrangement.microbatches, beside
    )
    for done in trainer.train([unit for unit in units if unit.name not in session.done], session):
        _finish_units(session, done)
    heartbeat.stage("evaluating")
    examples = make_examples(session, loaded, scorer, units[0]) if run.config.log.images else None
    at_hand = AtHand(cohort, quarantine, scorer, units, Encoded(loaded, arrangement, inputs, seen, examples))
    return session.runtime.share(lambda: _finish(session, at_hand))


def _carry_out_control(session: Session, shared: Shared) -> Result:
    """No checkpoint is loaded: what is known is who takes part with which volumes, and for some these themselves."""
    run, heartbeat = session.run, session.heartbeat
    session.continue_from_saved()
    heartbeat.stage("data")
    quarantine, pixels_NF = Quarantine(), None
    cohort = session.runtime.share(lambda: load_cohort(run, shared))
    if run.reads_volumes:
        cohort, pixels_NF = read_pixels(session, cohort, quarantine)
        check_cohort(cohort, run.config, run.is_pooled)
    session.require_same("cohort", _cohort_digest(cohort.volumes))
    scorer = make_scorer(run, cohort.volumes)
    units = units_of(cohort.volumes, run)
    heartbeat.stage("training")
    trainer = make_control_trainer(run, scorer, pixels_NF)
    for done in trainer.train([unit for unit in units if unit.name not in session.done], session):
        _finish_units(session, done)
    heartbeat.stage("evaluating")
    at_hand = AtHand(cohort, quarantine, scorer, units)
    return session.runtime.share(lambda: _finish(session, at_hand))


def _cohort_digest(volumes: Sequence[Volume]) -> str:
    lines = [f"{v.record.sop_instance_uid} {v.participant.label} {v.participant.split}" for v in volumes]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _finish_units(session: Session, done: Done) -> None:
    session.finish({unit.name: _keep(session, unit, trained) for unit, trained in done})


def _keep(session: Session, unit: Unit, trained: Trained) -> dict[str, Any]:
    """Store the unit's weights; returns what the resume state keeps of it."""
    wanted = session.run.config.log
    for name, save, weights in (
        ("best", wanted.save_best, trained.weights),
        ("last", wanted.save_last, trained.last_weights),
    ):
        # What was trained on a part of the participants is one of many, and for its scores.
        if save and session.leads and unit.share == 1:
            data = safetensors.torch.save(weights, metadata={"unit": unit.name})
            key = run_key(session.run.run_id, f"checkpoint/{name}-{unit.name}.safetensors")
            session.store.put(key, data)
    return {
        "eval_logits": torch.from_numpy(trained.eval_logits_NK),
        "train_logits": torch.from_numpy(trained.train_logits_NK),
        "used": trained.used,
    }


def _finish(session: Session, at_hand: AtHand) -> Result:
    """Write predictions, then the result, last and create-only; the result that stands comes back."""
    run, config = session.run, session.run.config
    num_classes = config.classes.num_classes
    cohort, scorer = at_hand.cohort, at_hand.scorer
    units = [unit for unit in at_hand.units if unit.share == 1]
    outcomes = [session.done[unit.name] for unit in units]
    predictions = _predictions(session, scorer, units)
    if run.is_pooled:
        predictions = replace(predictions, split=np.full(len(predictions.label), CROSS_VALIDATED))
    train = [
        scorer.metrics(u, u.train_N, o["train_logits"].numpy()) for u, o in zip(units, outcomes, strict=True)
    ]
    train_counts = np.bincount(scorer.labels(units[0])[units[0].train_N], minlength=num_classes).tolist()
    evaluation = evaluate(
        predictions,
        num_classes,
        config.data.unit,
        class_names=config.classes.short,
        train_counts=train_counts,
        train_prior=_train_prior(config, train_counts, outcomes[0]["used"]["class_weights"]),
    )
    session.require_spec()
    write_predictions(session.store, run.run_id, predictions)
    described = at_hand.describe(session, predictions) | _parts(session, scorer, at_hand.units, predictions)
    progress, now = session.heartbeat.progress, time.time()
    result = Result(
        run_id=run.run_id,
        sweep=run.sweep,
        checkpoint=run.checkpoint_name,
        config=run.config_name,
        mode=config.mode,
        evaluation=evaluation.to_dict(),
        train={name: float(np.mean([m[name] for m in train])) for name in METRICS},
        data=data_facts(cohort, at_hand.quarantine, num_classes) | described,
        control=run.control,
        checkpoint_report=at_hand.checkpoint_report(),
        training=training_facts(config.train, [_used(session, unit) for unit in units]),
        environment=environment(session.runtime) | at_hand.arrangement_facts(),
        notes=run.notes,
        started_at=progress.started_at,
        finished_at=now,
        duration_s=session.heartbeat.elapsed_s,
        attempts=progress.attempt,
    )
    result = _write_result(session, result)
    metrics = evaluation.to_dict()["metrics"]
    session.tracker.finish({f"final/{k}": v for k, v in metrics.items() if isinstance(v, int | float)})
    # A control may be a constant, and miss a class: nothing of it is amiss.
    for reason in evaluation.verdict.reasons if run.control is None else ():
        log.warning("%s", reason)
    return result


def _predictions(session: Session, scorer: Scorer, units: Sequence[Unit]) -> Predictions:
    logits = (session.done[unit.name]["eval_logits"].numpy() for unit in units)
    parts = [scorer.predictions(u, u.eval_N, one_NK) for u, one_NK in zip(units, logits, strict=True)]
    return concatenate(parts)


def _used(session: Session, unit: Unit) -> dict[str, Any]:
    """The unit's values, and which site or device it was not trained on."""
    used: dict[str, Any] = session.done[unit.name]["used"]
    return {**used, "left_out": unit.left_out} if unit.left_out else used


def _parts(
    session: Session, scorer: Scorer, units: Sequence[Unit], whole: Predictions
) -> dict[str, dict[str, Any]]:
    """What `data` of the result says of label efficiency; writes the predictions of the parts beside the others."""
    run = session.run
    if not run.shares:
        return {}
    made, people = [], {}
    for share, draw in dict.fromkeys((unit.share, unit.draw) for unit in units):
        members = [unit for unit in units if (unit.share, unit.draw) == (share, draw)]
        trained_on = np.concatenate([members[0].train_N, members[0].holdout_N])
        people[share, draw] = len(np.unique(scorer.participant_N[trained_on]))
        made.append(Part(share, draw, _predictions(session, scorer, members) if share < 1 else whole))
    write_parts(session.store, run.run_id, [part for part in made if part.share < 1])
    return {"label_efficiency": parts_facts(made, people, run.config.data.unit)}


def _train_prior(
    config: Experiment, train_counts: Sequence[int], class_weights: Sequence[float] | None
) -> tuple[float, ...]:
    """The class shares that the loss saw: a weighted sampler draws every class as often."""
    seen = [1] * len(train_counts) if config.train.sampler == "weighted" else train_counts
    return effective_prior(seen, class_weights)


def _write_result(session: Session, result: Result) -> Result:
    store, key = session.store, run_key(result.run_id, RESULT)
    try:
        store.put(key, encode(result), if_absent=True)
    except AlreadyExistsError:
        log.info("another attempt finished run %s first; its result stands", result.run_id)
        return read_result(store, result.run_id) or result
    try:
        session.require_spec()
    except ObjectNotFoundError:
        # Removed while this was written, with the predictions before it.
        store.delete(key)
        raise
    return result

"""Each gate, on planted inputs: it passes what is right, names what is wrong, and says what it cannot judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from doubles.sweep_results import from_logits

from octjob.doctor.cka import Cka
from octjob.doctor.finding import Finding, Verdict, diagnosis
from octjob.doctor.gates.control import Plane, Reading, control
from octjob.doctor.gates.coverage import Cell, Population, coverage
from octjob.doctor.gates.eight import Learned, eight
from octjob.doctor.gates.features import Alike, Lift, Spread, features
from octjob.doctor.gates.keys import Same, Tried, keys
from octjob.doctor.gates.labels import Known, MovedTable, Scoring, Twins, labels, passes
from octjob.doctor.gates.optimum import Pair, optimum
from octjob.doctor.gates.preprocessing import Prepared, preprocessing
from octjob.doctor.gates.prior import Gain, gain, prior
from octjob.doctor.gates.runs import Failed, runs
from octjob.doctor.gates.training import Trained, Unit, moves, training
from octjob.doctor.gates.weights import Apart, Loaded, weights
from octjob.doctor.rows import Differing, Moved
from octjob.evaluate.predictions import ParticipantScores, by_participant

FULL = Population(("a.head",), (Cell("UW", "train", 50, 50), Cell("UCSD", "val", 20, 20)), 70)


def said(finding: Finding, verdict: Verdict, *words: str) -> None:
    assert finding.verdict == verdict, finding
    assert all(word in finding.said for word in words), finding.said
    assert bool(finding.cure) == (verdict == "failed")


def test_coverage_of_everyone_passes() -> None:
    said(coverage([FULL], "s.yaml"), "passed")


def test_one_missing_participant_is_no_fault() -> None:
    said(coverage([replace(FULL, cells=(*FULL.cells, Cell("UAB", "val", 4, 3)))], "s.yaml"), "passed")


def test_a_lost_site_is_named() -> None:
    lost = replace(FULL, cells=(*FULL.cells, Cell("UAB", "val", 2, 0)))
    finding = coverage([FULL, lost], "my.yaml")
    said(finding, "failed", "2 of 72", "UAB val 0 of 2")
    assert "`octjob data check --matrix my.yaml`" in finding.cure


def test_sites_that_are_not_selected_are_named_where_they_are_most_of_the_data() -> None:
    said(coverage([replace(FULL, unselected=36)], "s.yaml"), "failed", "data.sites", "36 of 70")
    said(coverage([replace(FULL, unselected=30)], "s.yaml"), "passed")


def test_coverage_that_is_not_recorded_is_not_judged() -> None:
    said(coverage([Population(("a.head",), ())], "s.yaml"), "not judged", "not recorded")


def scoring(name: str = "a.head", seed: int = 0) -> Scoring:
    people = np.array([str(number) for number in range(20)])
    zeros = np.zeros(20, np.int64)
    logits_NK = np.random.default_rng(seed).normal(size=(20, 4))
    return Scoring(name, people, zeros, zeros, np.arange(20) % 4, logits_NK)


def test_labels_that_agree_pass() -> None:
    said(labels([scoring(), scoring("b.head", 1)]), "passed")


def test_a_participant_in_two_folds_of_a_pass_is_named() -> None:
    fold_N = np.arange(20) % 2
    people = scoring().participant_N.copy()
    people[1] = people[0]
    said(
        labels([replace(scoring(), participant_N=people, fold_N=fold_N)]),
        "failed",
        "0 stand in several folds",
    )


def test_the_other_pass_may_have_the_participant_in_another_fold() -> None:
    one = scoring()
    both = replace(
        one,
        participant_N=np.tile(one.participant_N, 2),
        pass_N=passes(np.repeat([7, 7], 20), np.repeat([0, 1], 20)),
        fold_N=np.repeat([0, 1], 20),
        label_N=np.tile(one.label_N, 2),
        logits_NK=np.tile(one.logits_NK, (2, 1)),
    )
    said(labels([both]), "passed")


def test_labels_that_changed_between_runs_are_named() -> None:
    shifted = replace(scoring("b.head", 1), label_N=(scoring().label_N + 1) % 4)
    said(labels([scoring(), shifted]), "failed", "0, 1, 10 and 17 more have different labels")
    said(labels([scoring(), replace(shifted, coding="binary")]), "passed")


def test_two_participants_with_one_volume_are_named_where_every_run_gives_them_the_same() -> None:
    runs = [scoring(), scoring("b.head", 1)]
    for run in runs:
        run.logits_NK[5] = run.logits_NK[3]
    said(labels(runs), "failed", "3 and 5")
    said(labels([*runs, scoring("c.head", 2)]), "passed")


def test_an_output_that_ignores_its_input_says_nothing_of_volumes() -> None:
    said(labels([replace(scoring(), logits_NK=np.zeros((20, 4)))]), "passed")


def test_a_table_that_no_run_takes_is_the_cause_in_its_own_words() -> None:
    finding = labels(
        [], Known(refused=(("t.tsv:9: participant 7 is in two splits", "Remove the other row."),))
    )
    said(finding, "failed", "t.tsv:9: participant 7 is in two splits")
    assert finding.cure == "Remove the other row."


def test_a_moved_column_is_named_with_its_witness() -> None:
    own = MovedTable("b/labels.tsv", Moved(-1, 1.0, 0.25, 84), Differing(63, 84), "participants.tsv")
    said(
        labels([scoring()], Known(moved=(own,))),
        "failed",
        "b/labels.tsv",
        "the row above in participants.tsv",
    )
    known = replace(own, moved=Moved(1, 0.9, 0.5, 84, ""), differing=None, witness="a")
    said(labels([scoring()], Known(moved=(known,))), "failed", "the row below", "features of a", "0.90")


def test_groups_that_are_taken_for_one_class_are_told() -> None:
    known = Known(merged=(("healthy", "pre_diabetes"),))
    said(
        labels([scoring()], known), "passed", "; classes.mapping takes healthy and pre_diabetes for one class"
    )


def test_another_labelling_is_no_fault_and_is_told() -> None:
    other = MovedTable("b/labels.tsv", None, Differing(20, 84), "participants.tsv")
    finding = labels([scoring()], Known(moved=(other,)))
    said(finding, "passed")
    assert any("20 of 84 participants have another study_group" in told for told in finding.evidence)


def test_one_scan_of_two_participants_is_named_with_their_splits() -> None:
    known = Known(twins=(Twins("3", "5", "train", "val"),), num_listed=84)
    said(labels([], known), "failed", "3 (train) and 5 (val)")
    said(labels([], replace(known, twins=())), "passed")


LOST = Failed("a.head", "t.tsv: cut off", "Fetch it again.", 3)


def test_runs_that_failed_for_their_data_are_the_cause() -> None:
    said(runs(0, [LOST, replace(LOST, name="b.head")]), "failed", "2 runs failed: t.tsv: cut off")
    said(runs(5, [LOST]), "failed", "a.head failed")


def test_an_error_that_names_many_files_is_told_once_and_short() -> None:
    message = "108 of 108 volumes cannot be read: " + "; ".join(f"gs://bucket/{i}.dcm" for i in range(90))
    failed = [replace(LOST, name=f"{name}.head", message=message) for name in "abcdef"]
    finding = runs(0, failed)
    said(finding, "failed", "6 runs failed: 108 of 108 volumes cannot be read: gs://bucket/0.dcm", "89.dcm")
    assert len(finding.said) < 450
    (told,) = finding.evidence
    assert told.startswith("a.head, b.head, c.head, d.head and 2 more failed: 108 of 108")
    assert len(told) < 500


def test_a_run_that_failed_otherwise_is_a_cause_only_where_none_finished() -> None:
    other = replace(LOST, message="out of memory", exit_code=1)
    said(runs(5, [other]), "passed", "5 finished, and 1 failed")
    said(runs(0, [other]), "failed", "out of memory")
    said(runs(0, []), "not judged", "nothing has been run")


TRAINED = Loaded("a", "a.head", "gs://x/a.pt", "context", "trained", 40, 0.2, "d1")
RANDOM = Loaded("r", "r.head", "gs://x/r.pt", "context", "untrained", 0, None, "d2", reference=True)


def test_trained_weights_beside_an_untrained_baseline_pass() -> None:
    said(weights([TRAINED, RANDOM], [Apart("a", "r", 0.5)]), "passed")


def test_untrained_weights_are_named_with_their_epoch() -> None:
    finding = weights([replace(TRAINED, verdict="untrained", epoch=0)], [])
    said(finding, "failed", "the encoder of a is untrained", "no more than an untrained encoder's", "epoch 0")
    assert "`octjob checkpoint inspect gs://x/a.pt`" in finding.cure
    assert finding.cure.endswith("baseline: a")


def test_one_file_that_a_backbone_reads_in_two_ways_is_two_encoders() -> None:
    one = replace(TRAINED, verdict="unknown", options="[('frames', 16)]")
    more = replace(one, checkpoint="b", run="b.head", options="[('frames', 32)]")
    said(weights([one, more], [Apart("a", "b", 0.0)]), "passed")
    said(weights([one, replace(more, options=one.options)], [Apart("a", "b", 0.0)]), "failed", "same weights")


def test_the_untrained_target_encoder_is_named_as_what_was_taken() -> None:
    taken = replace(TRAINED, verdict="untrained", encoder_taken="target")
    finding = weights([taken], [])
    said(finding, "failed", "a.head took the target encoder of a")
    assert finding.cure == "model.encoder: context"


@pytest.mark.parametrize(("distance", "words"), [(0.0, "the same weights"), (0.005, "one network")])
def test_checkpoints_that_are_each_other_are_named(distance: float, words: str) -> None:
    twins = [TRAINED, replace(TRAINED, checkpoint="b", run="b.head")]
    said(weights(twins, [Apart("a", "b", distance)]), "failed", "a and b", words)
    said(weights(twins, [Apart("a", "b", None)]), "passed")


def test_weights_that_are_not_recorded_are_not_judged() -> None:
    said(weights([replace(TRAINED, digest="")], []), "not judged", "not recorded")


PREPARED = Prepared("a.head", "a", "pretraining", (64, 384, 384), "float32")


def test_another_profile_is_a_fault_where_no_run_has_that_of_pretraining() -> None:
    other = replace(PREPARED, name="a.other", profile="seed_finetune")
    said(preprocessing([PREPARED, other]), "passed")
    said(preprocessing([PREPARED, replace(other, checkpoint="b")]), "failed", "b", "seed_finetune")
    said(preprocessing([replace(PREPARED, profile="")]), "not judged", "not recorded")


LIFT = Lift("a.head", "a", "macro_auroc", 0.6, 0.2, 0.1, 0.3, 0.001, "5 untrained encoders")
NONE = replace(LIFT, run="a.none", difference=0.0, low=-0.04, high=0.04, p_holm=1.0)
WIDE = replace(NONE, low=-0.2, high=0.2)


@pytest.mark.parametrize(
    ("lifts", "verdict", "words"),
    [
        ([LIFT, NONE], "passed", "a.head is above 5 untrained encoders by 0.20"),
        ([NONE, NONE], "failed", "no more than an untrained"),
        ([NONE, WIDE], "not judged", "too few"),
        ([replace(LIFT, p_holm=0.2)], "not judged", "too few"),
        ([replace(NONE, reference=1.0)], "not judged", "solves this already"),
        ([], "not judged", "no probe"),
    ],
)
def test_features_are_judged_by_their_lift_over_an_untrained_encoder(
    lifts: list[Lift], verdict: Verdict, words: str
) -> None:
    said(features(["r"], lifts, [Spread("a", varies=True)]), verdict, words)


def test_a_probe_has_to_be_above_the_untrained_baseline_and_the_initialisations() -> None:
    over_baseline = replace(LIFT, over="r, untrained")
    said(features(["r", "s"], [LIFT, replace(over_baseline, low=0.05)], []), "passed", "above r, untrained")
    said(features(["r", "s"], [LIFT, replace(WIDE, run=LIFT.run)], []), "not judged", "too few")


def test_heads_that_did_not_train_say_nothing_of_features() -> None:
    said(features(["r"], [NONE], [], undone={NONE.run}), "not judged", "no probe that is trained to its end")
    said(features(["r"], [NONE, LIFT], [], undone={NONE.run}), "passed")
    said(features(["r"], [NONE, replace(NONE, run="a.other")], [], undone={NONE.run}), "failed")


def test_likeness_is_told_beside_that_of_initialisations_to_each_other() -> None:
    between = [Alike("r", "s", Cka(0.88, 0.8, 0.95, 30))]
    for value, words in ((0.9, "as alike as initialisations"), (0.4, "less alike than initialisations")):
        pairs = [
            Alike("a", name, Cka(value - k / 100, value - 0.05, value + 0.05, 30))
            for k, name in enumerate("rs")
        ]
        finding = features(["r", "s"], [LIFT], [], pairs, between)
        _, told, among = finding.evidence
        assert told.startswith(f"a: debiased linear CKA {value - 0.01:.2f} [")
        assert f" to {value:.2f} [" in told
        assert "with 2 untrained encoders" in told
        assert words in told
        assert among.startswith("the untrained encoders among themselves: debiased linear CKA 0.88 [")


def test_features_without_an_untrained_encoder_are_judged_by_no_threshold() -> None:
    said(features([], [LIFT], []), "not judged", "random_init")


def test_features_that_do_not_vary_are_named_without_any_baseline() -> None:
    said(features([], [], [Spread("a", varies=False)]), "failed", "the same for every volume")


def plane(shift: float) -> Plane:
    device_N = np.repeat([0, 1], 30)
    at_N2 = np.random.default_rng(3).normal(size=(60, 2)) + shift * device_N[:, None]
    return Plane("a", at_N2, np.arange(60) % 4, device_N, 1.0, 1.0)


def test_the_positive_control_needs_devices_or_classes_in_the_features() -> None:
    said(control([plane(3.0)]), "passed")
    said(control([plane(0.0)]), "failed", "tell neither devices nor classes")
    said(control([replace(plane(0.0), device_times=2.0)]), "passed")
    said(
        control([replace(plane(0.0), device_N=np.zeros(60, np.int64))]),
        "not judged",
        "two devices or regions",
    )
    said(control([]), "not judged", "recorded")


def reading(what: str, auroc: float) -> Reading:
    return Reading("a", what, auroc, 0.03, 2, 60)


def test_cached_features_are_asked_before_axes_of_held_out_ones() -> None:
    blind = [reading("devices", 0.52), reading("regions", 0.49), reading("eyes", 0.5)]
    said(control([plane(3.0)], readings=blind), "failed", "tell neither devices nor regions apart")
    for told in ("devices", "regions", "eyes", "classes"):
        said(control([plane(0.0)], readings=[*blind, reading(told, 0.7)]), "passed", f"{told} can be read")


def test_few_points_do_not_make_a_checkpoint_blind() -> None:
    """Of eight volumes a device an encoder that tells them with AUROC 0.83 is within three standard errors of 0.5."""
    few = [replace(reading(what, 0.83), error=0.15, num_points=16) for what in ("devices", "regions")]
    said(
        control([], readings=few),
        "not judged",
        "too few points to tell whether a tells devices or regions apart",
    )
    other = [replace(one, checkpoint="b", auroc=1.0) for one in few]
    said(control([], readings=[*few, *other]), "not judged", "whether a tells")
    said(control([], readings=[few[0], reading("regions", 0.52)]), "failed", "a do not tell regions apart")


def test_eyes_that_are_alike_are_no_fault() -> None:
    alike = reading("eyes", 0.5)
    said(control([], readings=[alike]), "not judged", "two devices or regions")
    finding = control([], readings=[reading("devices", 0.9), alike])
    said(finding, "passed")
    assert finding.evidence[0].endswith("; eyes as it should be where all are turned to one side")


def test_a_key_that_changes_nothing_is_named_with_what_disarms_it() -> None:
    one = Same(
        "a.x", "a.y", ("train.grad_clip",), {"train.grad_clip": "L-BFGS runs to convergence in one go"}
    )
    finding = keys(4, [one], [])
    said(finding, "failed", "train.grad_clip changes nothing: a.x and a.y")
    assert "L-BFGS" in finding.cure


def test_keys_that_divide_work_may_change_nothing() -> None:
    said(keys(4, [Same("a.x", "a.y", ("data.val_batch_size",), {})], []), "passed")
    said(keys(0, [], []), "not judged", "no two configurations of one checkpoint have finished")
    said(keys(0, [], [], missing="cannot be judged until run"), "not judged", "until run")


def test_a_key_without_effect_is_told_without_asking_for_evidence() -> None:
    notes = ["train.lr_encoder unused: the encoder is frozen", "train.l2 unused: only for LBFGS"]
    finding = keys(4, [], notes)
    said(finding, "passed", "train.lr_encoder unused: the encoder is frozen (and 1 more)")


def test_keys_are_tried_on_cached_features_where_runs_say_nothing() -> None:
    both = Tried("a.x", "a.y", ("train.grad_clip",), ("train.grad_clip",))
    said(keys(0, [], [], [both], 20), "failed", "train.grad_clip changes nothing in 20 steps")
    more = replace(both, keys=("train.epochs", "train.grad_clip"))
    finding = keys(0, [], [], [more], 20)
    said(finding, "passed")
    assert "train.grad_clip changes nothing; train.epochs does or acts later" in finding.evidence[0]


KNOWN = Learned("a.head", 1e-3, 1.4, 0.01, 100, by_heart=True)


def test_a_head_that_learns_eight_samples_at_another_rate_only_is_named() -> None:
    said(eight([KNOWN]), "passed")
    slow = replace(KNOWN, after=1.3, by_heart=False)
    finding = eight([KNOWN, replace(slow, better_rate=0.1)])
    said(finding, "failed", "learning rate 1e-03", "at 1e-01")
    assert finding.cure == "train.lr_head: 1.0e-01"
    said(eight([slow]), "not judged", "any learning rate tried")
    said(eight([]), "not judged", "cached features")


UNIT = Unit("seed 1", 9, 10, 1e-3, (1.4, 1.2, 1.0))
FINETUNED = Trained("a.ft", (UNIT,), 0, 1e-3, 3e-5)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (replace(FINETUNED, units=(replace(UNIT, scored_epoch=3),), unfreeze_at=5), "scores epoch 3"),
        (replace(FINETUNED, units=(replace(UNIT, encoder_change=0.0),)), "its encoder moved by 0e+00"),
        (
            replace(FINETUNED, units=(replace(UNIT, encoder_change=3.04),), lr_encoder=0.05),
            "its encoder moved by 3.0 times its length at learning rate 5e-02: nothing of the checkpoint is left",
        ),
        (
            replace(FINETUNED, units=(replace(UNIT, losses=(1.4, 1.4, 1.4)),)),
            "never fell at learning rate 1e-03",
        ),
        (replace(FINETUNED, units=(replace(UNIT, losses=(1.4, 2.0, 3.0)),)), "never fell"),
    ],
)
def test_training_that_did_not_move_is_named(one: Trained, words: str) -> None:
    said(training([FINETUNED, one]), "failed", words)
    assert moves(FINETUNED)
    assert not moves(one)


def test_training_that_moved_passes_and_one_epoch_shows_nothing() -> None:
    said(training([FINETUNED]), "passed")
    said(training([replace(FINETUNED, units=(replace(UNIT, losses=(1.4,)),))]), "not judged", "one epoch")
    said(training([]), "not judged")


STOPPED = Pair("a.head", "a.logistic", 1.2, 0.4, "macro_auroc", 0.1, 0.02, 0.2)


def test_a_head_is_short_of_its_optimum_only_where_it_scores_less_for_it() -> None:
    said(optimum([STOPPED]), "failed", "0.80 nats above")
    said(optimum([replace(STOPPED, low=-0.02)]), "passed")
    said(optimum([replace(STOPPED, head_loss=0.45)]), "passed")
    said(optimum([]), "not judged", "no linear head was trained by steps")
    unfitted = optimum([], ["a.head: not fitted: why"])
    said(unfitted, "not judged", "no logistic regression beside")
    assert unfitted.evidence == ("a.head: not fitted: why",)


def scores(leaning: float, skill: float, n: int = 200) -> ParticipantScores:
    """Logits that lean to class 0 by `leaning`, beside `skill` for the true class and noise."""
    label_N = np.arange(n) % 4
    noise_NK = np.random.default_rng(5).normal(size=(n, 4))
    logits_NK = noise_NK + skill * np.eye(4)[label_N] + leaning * np.eye(4)[0]
    return by_participant(from_logits(label_N, logits_NK))


PRIOR = (0.85, 0.05, 0.05, 0.05)


def test_a_head_that_leans_on_its_prior_answers_better_without_it() -> None:
    one = gain("a.head", scores(np.log(17.0), 2.0), PRIOR)
    assert one is not None
    assert one.after > one.before + 0.1
    said(prior([one]), "failed", "leans on its prior of 17.0 : 1")


def test_a_head_without_skill_is_told_that_class_weights_will_not_help() -> None:
    """As far as so many participants can tell, and no further."""
    one = gain("a.head", scores(np.log(17.0), 0.0, 400), PRIOR)
    assert one is not None
    assert one.low < 0 < one.high < 0.1
    said(
        prior([one]),
        "passed",
        f"class weights will not help by more than {one.high:.2f}: with the prior of 17.0",
    )
    few = gain("a.head", scores(np.log(17.0), 0.0, 40), PRIOR)
    assert few is not None
    assert few.high > 0.1
    said(prior([few]), "not judged", "too few to tell whether class weights help")
    said(prior([replace(one, low=-0.2, high=-0.1)]), "passed", "class weights will not help: with the prior")


def by_volume(one: ParticipantScores, times: int) -> ParticipantScores:
    """The same scores for so many volumes of everyone."""
    names = [str(number) for _ in one.participant_P for number in range(times)]
    return ParticipantScores(
        np.repeat(one.participant_P, times),
        np.repeat(one.label_P, times),
        np.repeat(one.probability_SPK, times, axis=1),
        volume_P=np.array(names),
    )


def test_volumes_of_one_participant_are_no_more_people() -> None:
    people = scores(np.log(17.0), 0.5)
    once, many = gain("a.head", people, PRIOR), gain("a.head", by_volume(people, 6), PRIOR)
    assert once is not None
    assert many is not None
    assert (many.before, many.after) == pytest.approx((once.before, once.after))
    assert (many.low, many.high) == pytest.approx((once.low, once.high))


def test_a_head_without_skill_seldom_leans_on_its_prior_by_chance() -> None:
    """One-sided 2.5 %; volumes taken for people would say it of one in six."""
    rng = np.random.default_rng(7)
    label_P, found = np.repeat(np.arange(4), (17, 17, 20, 11)), []
    for _ in range(300):
        odds_PK = np.exp(rng.normal(size=(len(label_P), 4))) * (0.47, 0.24, 0.24, 0.05)
        names_P = np.array([f"{number:03d}" for number in range(len(label_P))])
        people = ParticipantScores(names_P, label_P, (odds_PK / odds_PK.sum(axis=1, keepdims=True))[None])
        found.append(gain("a.head", by_volume(people, 6), (0.47, 0.24, 0.24, 0.05)))
    assert np.mean([one is not None and one.low > 0 for one in found]) < 0.05


def test_even_classes_have_no_prior_to_divide_out() -> None:
    one = gain("a.head", scores(0.0, 1.0), (0.25,) * 4)
    assert one is not None
    assert one.before == one.after
    said(prior([one]), "passed", "nothing to weight")


def test_a_class_without_training_samples_is_not_judged() -> None:
    assert gain("a.head", scores(0.0, 1.0), (0.5, 0.5, 0.0, 0.0)) is None
    said(prior([]), "not judged", "not recorded")


def test_the_run_that_answers_best_decides_about_class_weights() -> None:
    leans = Gain("a.head", 0.3, 0.6, 0.2, 0.4, 12.0)
    weighted = Gain("a.weighted", 0.6, 0.6, -0.05, 0.05, 12.0)
    even = replace(weighted, skew=1.0)
    said(prior([leans, weighted]), "passed", "a.weighted goes from 0.60 to 0.60")
    said(prior([leans, even]), "passed", "a.weighted answers best already")
    said(prior([leans]), "failed")


def test_what_rests_on_a_failed_gate_is_no_longer_judged_and_keeps_its_evidence() -> None:
    first = Finding("one", "failed", "broken", (), "mend it")
    alone = Finding("two", "failed", "broken too", (), "mend that")
    resting = Finding("three", "failed", "follows", ("0.5",), "nothing")
    found = diagnosis("s", 1, [(first, True), (alone, True), (resting, False)])
    assert found.first_cause == "one"
    assert found.cause == first
    assert found.findings[1] == alone
    said(found.findings[2], "not judged", "cannot be judged until one is mended", "follows")
    assert found.findings[2].evidence == ("0.5",)


def test_without_a_failed_gate_there_is_no_cause() -> None:
    found = diagnosis("s", 1, [(Finding("one", "passed", "fine"), True)])
    assert found.first_cause is None
    assert found.cause is None

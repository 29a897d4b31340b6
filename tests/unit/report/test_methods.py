"""Methods and checklists: every number in them is the records', and what no record holds is said to be missing."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from typing import Any

import pytest
import yaml
from doubles.boards import document
from doubles.told import DATA, ENVIRONMENT

from octjob.leaderboard.board import build_leaderboard
from octjob.leaderboard.export import to_json
from octjob.records.schema import SweepRecord
from octjob.report.checklist import CLAIM, TRIPOD_AI, filled_guidelines
from octjob.report.methods import UNKNOWN, config_texts, paragraphs, run_texts
from octjob.report.page import to_html
from octjob.report.supplement import to_supplement

CONFIGS = ("logistic", "class_weights", "finetune")


@pytest.fixture(scope="module")
def board() -> dict[str, Any]:
    return document(("good", "untrained"), CONFIGS, collapsed=1)


@pytest.fixture(scope="module")
def empty() -> dict[str, Any]:
    record = SweepRecord(name="empty", baseline=None, class_names=("a", "b"), runs=())
    made: dict[str, Any] = json.loads(to_json(build_leaderboard(record, [])))
    return made


def text_of(board: dict[str, Any], key: str) -> str:
    (one,) = (one for one in paragraphs(board) if one.key == key)
    return " ".join(one.lines)


def test_participants_are_those_of_the_records(board: dict[str, Any]) -> None:
    text = text_of(board, "participants")
    assert "298 of 300 expected participants" in text
    assert "1 volume could not be read and was left out." in text
    assert f"Train: {sum(DATA['participants']['train'])} participants (60 / 40 / 50 / 20)" in text
    assert "Val: 65 participants (17 / 17 / 20 / 11)" in text
    assert "Sites: UAB, UCSD, UW." in text


def test_training_is_said_configuration_by_configuration(board: dict[str, Any]) -> None:
    (one,) = (one for one in paragraphs(board) if one.key == "training")
    logistic, weighted, finetuned = one.lines
    assert logistic.startswith("logistic: encoder frozen, mean over the tokens, each feature scaled")
    assert "L-BFGS to convergence, 1/C chosen by log-loss" in logistic
    assert "(0.5)" in logistic
    assert "AdamW, learning rate 0.001, cosine to zero, weight decay 0.0001, batches of 8, fp32" in weighted
    assert (
        "at most 50 epochs, 20 were run, stopped after 10 without a gain of 0.001 in the log-loss of 15%"
        in weighted
    )
    assert "encoder trained with the head" in finetuned
    assert "one hidden layer of 256" in finetuned
    assert "(encoder 3e-05)" in finetuned
    assert "8 epochs, the last scored" in finetuned
    assert all(line.endswith("seed 42.") for line in one.lines)
    weights = text_of(board, "imbalance")
    assert "logistic, class_weights: each sample's loss weighted by its class" in weights
    assert "(0.60, 1.10, 0.80, 3.20)" in weights
    assert "finetune: nothing was done about it." in weights


def test_a_key_that_came_later_has_its_default(board: dict[str, Any]) -> None:
    older = copy.deepcopy(board)
    for one in older["methods"]["configurations"]:
        del one["config"]["train"]["accumulate"]
        del one["config"]["data"]["laterality"]
    assert paragraphs(older) == paragraphs(board)


def test_folds_and_openings_are_said(board: dict[str, Any]) -> None:
    changed = copy.deepcopy(board)
    for one in changed["methods"]["configurations"]:
        one |= {"folds": 5, "repeats": 3, "fold_seed": 7}
    changed["methods"]["num_openings"] = 2
    text = text_of(changed, "splits")
    assert "dealt 3 times to 5 folds, by participant, stratified on class and site (seed 7)" in text
    assert "The test split was opened 2 times." in text
    assert "The test split was not opened." in text_of(board, "splits")


def test_intervals_tests_and_their_numbers_have_names(board: dict[str, Any]) -> None:
    text = text_of(board, "uncertainty")
    assert "participant bootstrap stratified by class, logit, 300 draws" in text
    assert "in 500 draws of the participants" in text
    assert "2000 permutations of each run's labels within site" in text
    assert "two-sided, with a paired bootstrap interval, at least 2000 permutations" in text
    many = copy.deepcopy(board)
    many["methods"]["num_compared"] = {"checkpoint": 100, "config": 120}
    # 40 for each of the smaller family's comparisons, for both families.
    assert "at least 8000 permutations" in text_of(many, "uncertainty")
    multiplicity = text_of(board, "multiplicity")
    assert "max-T" in multiplicity
    assert "Holm-adjusted over 6 runs" in multiplicity
    num = board["methods"]["num_compared"]
    assert f"checkpoints against untrained, {num['checkpoint']} comparisons" in multiplicity
    assert f"configurations against logistic, {num['config']} comparisons" in multiplicity
    assert "multiplied by 2" in multiplicity


def test_every_digest_version_and_image_is_on_the_page(board: dict[str, Any]) -> None:
    page = to_html(board)
    for one in board["methods"]["checkpoints"]:
        assert one["sha256"] in page
        assert one["weights_digest"] in page
    assert len(run_texts(board)) == len(board["rows"])
    for run in run_texts(board):
        assert run.spec == "5" * 64
        assert run.image == ENVIRONMENT["image"]
        assert run.octjob == "0.1.0 0123abc"
        assert run.finished == "2023-11-14"
        assert run.config in page
    software = text_of(board, "software")
    assert all(
        str(ENVIRONMENT[key]) in software
        for key in ("octjob", "revision", "python", "torch", "numpy", "scipy")
    )
    assert f"Images: {ENVIRONMENT['image']}." in software


def test_a_configuration_is_whole_and_has_the_digest_that_it_says(board: dict[str, Any]) -> None:
    texts = config_texts(board)
    assert [one.name for one in texts] == list(CONFIGS)
    for one, used in zip(texts, board["methods"]["configurations"], strict=True):
        loaded = yaml.safe_load(one.yaml)
        assert loaded == used["config"]
        canonical = json.dumps(loaded, sort_keys=True, separators=(",", ":")).encode()
        assert hashlib.sha256(canonical).hexdigest() == one.sha256


def test_what_no_record_holds_is_said_to_be_missing(empty: dict[str, Any]) -> None:
    silent = {one.key for one in paragraphs(empty) if one.lines == UNKNOWN}
    assert silent >= {"participants", "splits", "encoders", "training", "software"}
    tripod, claim = filled_guidelines(empty)
    assert all(
        item.state == "not available" for item in tripod.rows if item.number in ("5a", "11", "20a", "23b")
    )
    assert all(
        item.text.startswith("Not available: ") for item in claim.rows if item.state == "not available"
    )
    assert "Not recorded." in to_html(empty)


def test_the_lists_are_complete() -> None:
    lettered = {
        3: "abc",
        5: "ab",
        6: "abc",
        8: "abc",
        9: "abc",
        12: "abcdefg",
        18: "abcdef",
        20: "abc",
        23: "ab",
        27: "abc",
    }
    numbers = [f"{number}{letter}" for number in range(1, 28) for letter in lettered.get(number, [""])]
    assert [item.number for item in TRIPOD_AI.items] == numbers
    assert len(numbers) == 52
    assert [item.number for item in CLAIM.items] == [str(number) for number in range(1, 45)]


def test_every_item_says_something_or_why_not(board: dict[str, Any]) -> None:
    for guideline in filled_guidelines(board):
        for item in guideline.rows:
            assert item.text.strip()
            assert ("Not available: " in item.text) == (item.state != "answered")
        counts = [int(count) for count in re.findall(r"\d+", guideline.tally)]
        assert sum(counts) == len(guideline.rows)
        assert counts[0] >= 20


def test_the_supplement_holds_what_the_page_holds(board: dict[str, Any]) -> None:
    text = to_supplement(board)
    for one in board["methods"]["configurations"]:
        assert one["sha256"] in text
    rows = [line for line in text.splitlines() if re.match(r"\| \d+[a-g]? \|", line)]
    assert len(rows) == 52 + 44
    assert "https://doi.org/10.1136/bmj-2023-078378" in text
    assert "https://doi.org/10.1148/ryai.240300" in text
    assert to_supplement(copy.deepcopy(board)) == text

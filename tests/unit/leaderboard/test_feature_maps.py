"""Which feature map stands for a checkpoint, and what the page says of it."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from doubles.boards import document, feature_map, predictions, record, recorded
from doubles.sweep_results import entry, outcome
from pydantic import ValidationError

from octjob.errors import DataError
from octjob.leaderboard.board import build_leaderboard
from octjob.leaderboard.feature_maps import CheckpointMap
from octjob.leaderboard.outcome import Outcome
from octjob.records.feature_map import FeatureMap, read_feature_map, write_feature_map
from octjob.report.maps import maps_of
from octjob.report.page import to_html
from octjob.storage import ObjectStore

TUNED = {"key": None, "reason": "the encoder was fine-tuned, and its features are not kept"}


def maps(outcomes: list[Outcome], read: Any = feature_map) -> tuple[CheckpointMap, ...]:
    sweep = record([one.entry for one in outcomes], ("a", "b", "c", "d"), "demo", None)
    return build_leaderboard(sweep, outcomes, num_draws=100, read_map=read).feature_maps


def run(config: str, skill: float, said: Any = "recorded") -> Outcome:
    made = recorded(outcome(entry("good", config), predictions(skill, len(config))))
    assert made.scored is not None
    data = dict(made.scored.result.data)
    if said != "recorded":
        data["feature_map"] = said
    return replace(
        made, scored=replace(made.scored, result=made.scored.result.model_copy(update={"data": data}))
    )


def test_the_best_run_that_has_one_stands_for_its_checkpoint() -> None:
    best, fine_tuned = run("probe", 1.0), run("finetune", 2.0, TUNED)
    (shown,) = maps([run("linear", 0.5), best, fine_tuned])
    assert (shown.config, shown.run_id, shown.missing) == ("probe", best.entry.run_id, "")
    assert (len(shown.x), shown.explained["device"].share) == (130, 0.27)


def test_where_there_is_none_the_reason_is_told() -> None:
    assert [one.missing for one in maps([run("finetune", 1.0, TUNED)])] == [TUNED["reason"]]
    for said in (None, "old", {}, {"key": None}):
        (shown,) = maps([run("probe", 1.0, said)])
        assert "not recorded by these runs" in shown.missing
    (shown,) = maps([run("probe", 1.0)], read=lambda run_id: None)
    assert shown.missing == "its feature_map.json cannot be read"


def test_a_stored_map_comes_back_and_a_damaged_one_is_named(file_store: ObjectStore) -> None:
    made = feature_map("x")
    write_feature_map(file_store, "a.b-1", made)
    assert read_feature_map(file_store, "a.b-1") == made
    key = "runs/a.b-1/feature_map.json"
    stored = json.loads(file_store.get(key))
    assert stored["schema"] == "octjob.feature_map/1"
    for change in ({"schema": "octjob.feature_map/2"}, {"x": stored["x"][1:]}, {"devices": []}):
        file_store.put(key, json.dumps(stored | change).encode())
        with pytest.raises(DataError, match=re.escape("feature_map.json: not a feature map")):
            read_feature_map(file_store, "a.b-1")
    with pytest.raises(ValidationError, match="not listed"):
        FeatureMap.model_validate(stored | {"site": [9] * 130})


def explained(board: dict[str, Any], **shares: float) -> str:
    changed = copy.deepcopy(board)
    for kind, share in shares.items():
        changed["feature_maps"][0]["explained"][kind]["share"] = share
    return maps_of(changed)[0].text


def test_it_says_so_where_the_scanner_is_seen_before_the_disease() -> None:
    board = document(("good",), ("a",), collapsed=0)
    assert explained(board).startswith(
        "The device separates these features more than the class does: what is seen"
    )
    assert "scanned with and where, not the disease" in explained(board, site=0.2)
    assert explained(board, device=0.01) == "The class separates these features more than device or site do."
    # Less than twice what chance gives is not spoken of.
    assert "site" not in explained(board, site=0.03, **{"class": 0.02})
    assert explained(board, **{"class": 0.01}, device=0.0, site=0.0).startswith(
        "Neither class, device nor site"
    )


def test_every_point_is_drawn_once_a_panel_and_groups_differ_in_shape_as_well() -> None:
    (drawn,) = maps_of(document(("good",), ("a",), collapsed=0))
    for panel in drawn.panels:
        assert sum(group.count for group in panel.groups) == 130
        assert [group.path.count("M") for group in panel.groups] == [group.count for group in panel.groups]
        outlines = {group.path.split("m", 1)[1].split("M")[0] for group in panel.groups}
        assert len(outlines) == len(panel.groups)


def test_the_page_says_what_was_not_recorded() -> None:
    page = to_html(document(("good",), ("a",), collapsed=0, records=False))
    assert "Not recorded by these runs, which an earlier octjob carried out." in page
    assert 'class="points"' not in page

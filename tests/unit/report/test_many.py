"""Of many runs the page, Markdown and LaTeX show an excerpt, and say what they leave out; CSV has it all."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from typing import Any

import pytest
from doubles.boards import CHECKPOINTS, document, predictions, record
from doubles.many_runs import many_runs
from doubles.sweep_results import constant, entry, labels, outcome

from octjob.leaderboard.board import build_leaderboard
from octjob.leaderboard.export import to_csv, to_markdown
from octjob.leaderboard.latex import to_latex
from octjob.report.excerpt import MANY, Candidate, Room, excerpt
from octjob.report.page import to_html


@pytest.fixture(scope="module")
def board() -> dict[str, Any]:
    return many_runs(2000, num_unfinished=60)


@pytest.fixture(scope="module")
def page(board: dict[str, Any]) -> str:
    return to_html(board)


def section(page: str, name: str) -> str:
    """What stands between this heading and the next section, its tags left out."""
    found = re.search(rf'<h2 id="{name}".*?</section>', page, re.DOTALL)
    assert found is not None, name
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", found[0]))


def test_the_first_the_best_of_each_further_checkpoint_and_some_of_each_kind() -> None:
    ranked = [Candidate(f"{name}{k}", name, "") for k in range(2) for name in "abcde"]
    others = [Candidate(f"x{k}", "x", "collapsed") for k in range(5)] + [Candidate("y", "y", "no signal")]
    made = excerpt([*ranked, *others], Room(first=2, best=2, each=3))
    assert made.run_ids == {"a0", "b0", "c0", "d0", "x0", "x1", "x2", "y"}
    assert made.text == (
        "8 of 16 runs with a result: the first 2 of 10 ranked, the best run of other checkpoints (2 of 3), 3 of 5"
        " collapsed and 1 no signal."
    )


def test_a_page_of_ten_thousand_runs_is_small() -> None:
    assert len(to_html(many_runs(10_000, num_unfinished=200)).encode()) < 1_500_000
    # As many checkpoints as runs, and hundreds of configurations.
    assert len(to_html(many_runs(1_000, num_configs=1)).encode()) < 1_500_000
    assert len(to_html(many_runs(1_000, num_configs=500)).encode()) < 1_500_000


def test_up_to_the_limit_every_run_is_drawn_and_nothing_speaks_of_an_excerpt() -> None:
    page = to_html(many_runs(MANY))
    assert page.count('<td class="standing">') == MANY
    assert page.count('<table class="matrix"') + page.count('<table class="matrix unranked"') == MANY
    assert "Shown above" not in page
    assert "histogram" not in page


def test_a_page_of_few_runs_says_what_its_parts_leave_out() -> None:
    runs = many_runs(MANY)
    ranked = sum(row["rank"] is not None for row in runs["rows"])
    assert f"12 of {ranked} ranked runs, the first." in section(to_html(runs), "calibration")
    assert "checkpoints: those with a ranked run" in section(to_html(runs), "variance")


def test_the_table_counts_what_it_shows_and_says_where_the_rest_is(board: dict[str, Any], page: str) -> None:
    said = section(page, "runs")
    shown = page.count('<td class="standing">')
    assert f"{shown} runs shown, of 1,940" in said
    assert f"{shown} of 1,940 runs with a result: the first 100 of" in said
    assert "octjob report SWEEP --format csv" in said
    best = {}
    for row in board["rows"]:
        if row["rank"]:
            best.setdefault(row["checkpoint"], row["config"])
    for checkpoint, config in best.items():
        assert re.search(rf"<bdi>{checkpoint}</bdi></b> <span class=.config.><bdi>{config}</bdi>", page)


def test_faults_are_counted_in_full(board: dict[str, Any], page: str) -> None:
    said = section(page, "runs")
    counts = Counter(
        row["verdict"].replace("_", " ") or row["state"].lower() for row in board["rows"] if not row["rank"]
    )
    for kind, count in counts.items():
        assert f"{kind}{count:,}" in said, kind
    assert "k0 49 of 50" in said or "k0 50 of 50" in said
    failed = counts["failed"]
    assert f"Failed: out of memory on the chip {failed} runs: " in section(page, "open")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("order", "24 of 40 configurations"),
        ("predict", "of 1,940 runs with a result: the first 24 of"),
        ("confusion", "of 1,940 runs with a result: the first 24 of"),
        ("classes", "of 1,940 runs with a result: the first 24 of"),
        ("curves", "first 60 of 1,940 runs"),
        ("calibration", "12 of 868 ranked runs"),
        ("variance", "of 49 checkpoints"),
        ("subgroups", "of 49 checkpoints"),
        ("secondary", "of 49 checkpoints"),
        ("read", "in the table above alone"),
        ("methods", "20 of 40"),
    ],
)
def test_each_part_says_how_many_of_how_many(page: str, name: str, what: str) -> None:
    assert what in section(page, name)


def test_long_warnings_and_checklists_are_cut_with_what_is_left_out(board: dict[str, Any]) -> None:
    names = ", ".join(f"run-{number}" for number in range(3000))
    said = section(to_html({**board, "warnings": [f"Suspicious: {names} predict one class."]}), "read")
    assert "run-100" in said
    assert "run-2999" not in said
    assert re.search(r"\d\d,\d\d\d characters more: leaderboard.json has all", said)


def test_markdown_and_latex_say_what_they_leave_out_and_csv_has_every_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = [(checkpoint, f"k{k}") for checkpoint in CHECKPOINTS for k in range(12)]
    entries = [entry(*pair) for pair in pairs]
    outcomes = [
        outcome(one, predictions(1.5, k) if k % 2 else constant(labels())) for k, one in enumerate(entries)
    ]
    made = build_leaderboard(record(entries, ("a", "b", "c", "d"), "demo", None), outcomes, num_draws=50)
    whole = to_markdown(made)
    for place in ("octjob.leaderboard.export", "octjob.leaderboard.latex"):
        monkeypatch.setattr(f"{place}.MANY", 30)
    monkeypatch.setattr("octjob.leaderboard.export.TABLE", Room(5, 1, 2))
    cut = to_markdown(made)
    rows = [[line for line in text.split("\n") if line.startswith("|")] for text in (whole, cut)]
    assert len(rows[0]) == 2 + 36
    assert rows[1][:7] == rows[0][:7]
    shown = len(rows[1]) - 2
    assert 7 <= shown <= 8
    assert f"{shown} of 36 runs: the first 5 of 18 ranked" in cut
    assert "leaderboard.csv" in cut
    assert len(list(csv.DictReader(io.StringIO(to_csv(made))))) == 36


def test_latex_of_many_runs_fits_on_paper_and_says_so(board: dict[str, Any]) -> None:
    text = to_latex(board)
    lines = [line for line in text.split("\n") if line.endswith(r"\\")]
    assert len(lines) < 60
    assert f"{len(lines) - 1} of 2,000 runs: the first 24 of" in text
    assert "leaderboard.csv" in text
    assert " of " not in to_latex(document()).split(r"\bottomrule")[1]

"""What collecting stores for the methods is what lies in the store, and `octjob report --checklist` writes it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from doubles.sweep_results import entry, finish, give_spec, labels, skilled, submit

from octjob.cli import run as octjob
from octjob.leaderboard.collect import collect, publish
from octjob.records.layout import SPEC, run_key
from octjob.storage import ObjectStore, open_store

LABEL_P = labels((40, 40, 40, 40))
NAMES = ("base", "winner", "late")


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    store = open_store(str(tmp_path / "demo"))
    submit(store, [entry(name) for name in NAMES], baseline="base")
    for number, name in enumerate(NAMES):
        give_spec(store, entry(name), {"train": {"epochs": 7}})
        if name != "late":
            finish(store, entry(name), skilled(LABEL_P, 1.0 + 2 * number, seed=number))
    return store


def test_the_digest_of_every_spec_is_that_of_its_bytes(store: ObjectStore) -> None:
    made = collect(store).methods
    assert {one.run_id for one in made.runs} == {entry(name).run_id for name in NAMES}
    for one in made.runs:
        assert one.spec_sha256 == hashlib.sha256(store.get(run_key(one.run_id, SPEC))).hexdigest()
    (configuration,) = made.configurations
    assert configuration.config["train"]["epochs"] == 7
    assert {one.config_sha256 for one in made.runs} == {configuration.sha256}
    assert made.output == store.root


def test_a_spec_that_is_gone_or_damaged_costs_no_rank(
    store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.delete(run_key(entry("base").run_id, SPEC))
    store.put(run_key(entry("winner").run_id, SPEC), b"{}")
    made = collect(store)
    assert [row.rank is not None for row in made.rows] == [True, True, False]
    known = {one.run_id: one.spec_sha256 for one in made.methods.runs}
    assert known[entry("base").run_id] is None
    assert known[entry("winner").run_id] is None
    assert "the methods lack it" in caplog.text
    publish(store, made)
    assert b"not recorded" in store.get("leaderboard/report.html")


def test_the_checklist_is_written_beside_the_report(
    store: ObjectStore, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    publish(store, collect(store))
    page, text = tmp_path / "page.html", tmp_path / "supplement.md"
    assert octjob(["report", store.root, "-o", str(page), "--checklist", str(text)]) == 0
    assert f"Wrote {page} and {text}" in capfd.readouterr().err
    written = text.read_text()
    assert "## TRIPOD+AI (2024)" in written
    assert "## CLAIM (2024 update)" in written
    stored = json.loads(store.get("leaderboard/leaderboard.json"))
    assert all(one["spec_sha256"] in written for one in stored["methods"]["runs"])
    assert (
        octjob(["report", store.root, "-o", str(page), "--checklist", str(tmp_path / "no" / "where.md")]) == 4
    )
    told = capfd.readouterr().err
    assert "where.md: cannot be written: No such file or directory" in told
    assert "hint: Give another file with --checklist." in told

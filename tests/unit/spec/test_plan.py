"""From a sweep to its runs: pairs, ids, grids, patterns, errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from octjob.cli import cli
from octjob.errors import SpecError
from octjob.spec.expand import Plan, plan_sweep
from octjob.spec.experiment import Classes
from octjob.spec.run import Run, run_identity

ROOT = Path(__file__).parents[3]


def sweep(tmp_path: Path, **changes: object) -> Path:
    content: dict[str, object] = {
        "name": "s",
        "output": "./out",
        "checkpoints": {"a": "./a.pt", "b": {"uri": "gs://bucket/b.pt"}},
        "configs": {"x": {"overrides": {"train.epochs": 2}}, "y": {"overrides": {"train": {"lr_head": 0.1}}}},
        "data": {"source": "./bucket"},
        **changes,
    }
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}, sort_keys=False))
    return path


def names(plan: Plan) -> set[tuple[str, str]]:
    return {(run.checkpoint_name, run.config_name) for run in plan.runs}


def test_phase3_is_every_checkpoint_under_every_configuration() -> None:
    plan = plan_sweep(ROOT / "sweeps/phase3.yaml")
    assert len(plan.runs) == len(names(plan)) == 21
    assert {run.checkpoint_name for run in plan.runs} == {
        "multi_domain",
        "single_domain_01",
        "single_domain_02",
    }
    assert all(run.config.data.source == "b2://eye-dataset/ai-readi/dataset" for run in plan.runs)
    assert plan.output == "gs://layne-tpu-code-sync/octjob/phase3"


def test_relative_places_are_taken_from_the_base_and_ids_from_the_spec(tmp_path: Path) -> None:
    plan = plan_sweep(sweep(tmp_path), tmp_path)
    run = plan.runs[0]
    assert plan.output == f"file://{tmp_path}/out/s"
    assert run.checkpoint.uri == f"file://{tmp_path}/a.pt"
    assert run.config.data.source == f"file://{tmp_path}/bucket"
    assert run.run_id.startswith("a.x-")
    again = plan_sweep(sweep(tmp_path), tmp_path)
    assert [r.run_id for r in again.runs] == [r.run_id for r in plan.runs]


@pytest.mark.parametrize(
    "changes",
    [
        {"configs": {"x": {"overrides": {"train.epochs": 3}}, "y": {"overrides": {"train.lr_head": 0.2}}}},
        {"seeds": [1, 2]},
        {"folds": 5},
        {"evaluate": {"protocol": "folds"}},
        {"data": {"source": "./other"}},
        {"data": {"source": "./bucket", "laterality": "left"}},
        {"checkpoints": {"a": "./other.pt", "b": "./other.pt"}},
    ],
)
def test_what_can_change_a_result_changes_every_id(tmp_path: Path, changes: dict[str, object]) -> None:
    before = {run.run_id for run in plan_sweep(sweep(tmp_path), tmp_path).runs}
    after = {run.run_id for run in plan_sweep(sweep(tmp_path, **changes), tmp_path).runs}
    assert not before & after


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"output": "gs://elsewhere/x"},
        {"cache": "./c"},
        {"compute": {"concurrency": 7, "bundle": 7, "env": {"A": "b"}}},
        {"data": {"source": "./bucket", "num_workers": 9, "cache_dir": "/tmp/x"}},
        {"baseline": "b"},
    ],
)
def test_what_cannot_change_a_result_keeps_every_id(tmp_path: Path, changes: dict[str, object]) -> None:
    before = [run.run_id for run in plan_sweep(sweep(tmp_path), tmp_path).runs]
    assert [run.run_id for run in plan_sweep(sweep(tmp_path, **changes), tmp_path).runs] == before


def test_what_classes_are_called_in_tables_is_no_part_of_an_id(tmp_path: Path) -> None:
    short = {"classes": {"short_names": ["none", "pre", "tablets", "insulin"]}}
    plans = [plan_sweep(sweep(tmp_path, configs={"x": {"overrides": one}}), tmp_path) for one in ({}, short)]
    assert [run.run_id for run in plans[0].runs] == [run.run_id for run in plans[1].runs]
    assert plans[1].runs[0].config.classes.short == ("none", "pre", "tablets", "insulin")


def test_how_it_is_computed_is_no_part_of_an_id(tmp_path: Path) -> None:
    plain = {"overrides": {"model.freeze_encoder": False}}
    other = {"overrides": {"model.freeze_encoder": False, "model.attention": "blocks", "train.remat": True}}
    ids = [
        plan_sweep(sweep(tmp_path, configs={"tune": one}), tmp_path).runs[0].run_id for one in (plain, other)
    ]
    assert ids[0] == ids[1]


CONFIGS = {
    "adamw": {"overrides": {"seed": 7}},
    "sgd": {"overrides": {"seed": 7, "train.optimizer": "SGD"}},
    "logistic": {"overrides": {"seed": 7, "train.optimizer": "LBFGS"}},
    "finetune": {"overrides": {"seed": 7, "model.freeze_encoder": False}},
}
FOLDS = {"protocol": "folds", "folds": 3, "repeats": 2}


def passes(path: Path, base: Path) -> dict[str, tuple[tuple[int, int], ...]]:
    return {run.config_name: run.passes for run in plan_sweep(path, base).runs}


def test_five_seeds_where_the_optimiser_draws_and_one_elsewhere(tmp_path: Path) -> None:
    five, one = tuple((seed, 0) for seed in range(7, 12)), ((7, 0),)
    expected = {"adamw": five, "sgd": five, "logistic": one, "finetune": one}
    assert passes(sweep(tmp_path, configs=CONFIGS), tmp_path) == expected
    listed = passes(sweep(tmp_path, configs=CONFIGS, seeds=[3, 1]), tmp_path)
    assert listed == dict.fromkeys(CONFIGS, ((3, 0), (1, 0)))


def test_a_repeat_has_a_seed_of_its_own_unless_seeds_are_listed(tmp_path: Path) -> None:
    found = passes(sweep(tmp_path, configs=CONFIGS, evaluate=FOLDS), tmp_path)
    assert found == dict.fromkeys(CONFIGS, ((7, 0), (8, 1)))
    listed = passes(sweep(tmp_path, configs=CONFIGS, evaluate=FOLDS, seeds=[3, 1]), tmp_path)
    assert listed == dict.fromkeys(CONFIGS, ((3, 0), (3, 1), (1, 0), (1, 1)))


def test_short_folds_are_one_repeat(tmp_path: Path) -> None:
    short, long = (
        plan_sweep(sweep(tmp_path, **keys), tmp_path).runs
        for keys in ({"folds": 5}, {"evaluate": {"protocol": "folds", "repeats": 1}})
    )
    assert [run.run_id for run in short] == [run.run_id for run in long]
    assert (short[0].folds, short[0].passes) == (5, ((42, 0),))


def test_who_is_in_which_fold_is_part_of_the_id_only_where_there_are_folds(tmp_path: Path) -> None:
    ids = [
        plan_sweep(sweep(tmp_path, evaluate={**FOLDS, **change}), tmp_path).runs[0].run_id
        for change in ({}, {"fold_seed": 1}, {"repeats": 3}, {"folds": 4})
    ]
    assert len(set(ids)) == 4
    split = plan_sweep(sweep(tmp_path, evaluate={"protocol": "split"}), tmp_path).runs[0].run_id
    assert split == plan_sweep(sweep(tmp_path), tmp_path).runs[0].run_id


SITES = {"protocol": "leave_one_out", "by": "site"}
BY_DEVICE = {"protocol": "leave_one_out", "by": "device"}
LABELS = {"protocol": "label_efficiency", "shares": [0.2, 1.0], "draws": 3}


def test_other_protocols_are_part_of_the_id_and_change_none_that_there_was(tmp_path: Path) -> None:
    """The ids without them are those that an octjob before them made."""
    keys = (
        {},
        {"protocol": "folds"},
        SITES,
        BY_DEVICE,
        {**BY_DEVICE, "folds": 3},
        {**BY_DEVICE, "fold_seed": 1},
    )
    keys += (LABELS, {**LABELS, "draws": 2}, {**LABELS, "shares": [0.3, 1]}, {**LABELS, "fold_seed": 1})
    runs = [plan_sweep(sweep(tmp_path, evaluate=one), tmp_path).runs[0] for one in keys]
    assert len({run.run_id for run in runs}) == len(keys)
    assert not {"leave_out", "shares", "draws"} & {*run_identity(runs[0]), *run_identity(runs[1])}
    # What only refuses is no part of it.
    least = plan_sweep(sweep(tmp_path, evaluate={**SITES, "min_participants": 7}), tmp_path).runs[0]
    assert (least.run_id, least.min_participants) == (runs[2].run_id, 7)


def test_a_spec_of_before_there_were_other_protocols_is_read(tmp_path: Path) -> None:
    run = plan_sweep(sweep(tmp_path), tmp_path).runs[0]
    later = {"leave_out", "min_participants", "shares", "draws"}
    before = run.model_dump(mode="json", exclude=later)
    assert Run.model_validate(before) == run


@pytest.mark.parametrize(
    ("evaluate", "column", "said"),
    [
        (SITES, " 2xsites ", "protocol: each site left out, over the participants of train and val"),
        (BY_DEVICE, " 2xdevicesx5 ", "protocol: each device left out in 5 folds, over"),
        (LABELS, " 2x4 ", "protocol: shares 0.2, 1 of the training participants, 3 draws of each below 1"),
    ],
)
def test_the_plan_shows_other_protocols(
    tmp_path: Path, evaluate: dict[str, Any], column: str, said: str
) -> None:
    path = sweep(tmp_path, output=f"{tmp_path}/out", configs=CONFIGS, evaluate=evaluate, seeds=[3, 1])
    output = CliRunner().invoke(cli, ["plan", "-f", str(path), "--offline"]).output
    assert output.count(column) == 8
    assert f"{said}" in output


def test_one_fine_tuned_model_is_said_to_be_one(tmp_path: Path) -> None:
    def noted(**changes: object) -> set[str]:
        plan = plan_sweep(sweep(tmp_path, configs=CONFIGS, **changes), tmp_path)
        return {run.config_name for run in plan.runs if any("one trained model" in n for n in run.notes)}

    assert noted() == {"finetune"}
    assert noted(seeds=[1, 2]) == noted(evaluate=FOLDS) == set()


def test_the_plan_shows_passes_and_folds(tmp_path: Path) -> None:
    path = sweep(tmp_path, output=f"{tmp_path}/out", configs=CONFIGS, evaluate=FOLDS, seeds=[3, 1])
    output = CliRunner().invoke(cli, ["plan", "-f", str(path), "--offline"]).output
    assert output.count(" 4x3 ") == 8
    assert "protocol: 3 folds x 2 repeats over the participants of train and val" in output


@settings(deadline=None)
@given(
    lrs=st.lists(st.sampled_from([0.1, 0.01, 0.001, 1.0]), min_size=1, max_size=4, unique=True),
    epochs=st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True),
)
def test_a_grid_is_the_product_of_its_axes(
    tmp_path_factory: pytest.TempPathFactory, lrs: list[float], epochs: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("grid")
    plan = plan_sweep(sweep(folder, grid={"train.lr_head": lrs, "train.epochs": epochs}), folder)
    assert len(plan.runs) == 2 * 2 * len(lrs) * len(epochs) == len({run.run_id for run in plan.runs})
    found = {(run.config.train.lr_head, run.config.train.epochs) for run in plan.runs}
    assert found == {(lr, count) for lr in lrs for count in epochs}


def test_a_grid_axis_without_effect_is_left_out_where_it_has_none(tmp_path: Path) -> None:
    configs = {
        "head": {"overrides": {"train.epochs": 9}},
        "logistic": {"overrides": {"train": {"optimizer": "LBFGS"}}},
    }
    plan = plan_sweep(sweep(tmp_path, configs=configs, grid={"train.lr_head": [0.1, 0.2]}), tmp_path)
    assert {config for _, config in names(plan)} == {"head.lr_head-0-1", "head.lr_head-0-2", "logistic"}
    notes = {note for run in plan.runs if run.config_name == "logistic" for note in run.notes}
    assert notes == {"grid axis train.lr_head left out: L-BFGS runs to convergence in one go"}
    del configs["head"]
    with pytest.raises(SpecError, match=r"grid: train\.lr_head has no effect under any configuration"):
        plan_sweep(sweep(tmp_path, configs=configs, grid={"train.lr_head": [0.1, 0.2]}), tmp_path)


def test_exclude_and_include_change_the_pairs(tmp_path: Path) -> None:
    path = sweep(
        tmp_path,
        exclude=[{"checkpoint": "b", "config": "x"}],
        include=[{"checkpoint": "b", "config": "y", "name": "y-long", "overrides": {"train.epochs": 9}}],
    )
    plan = plan_sweep(path, tmp_path)
    assert names(plan) == {("a", "x"), ("a", "y"), ("b", "y"), ("b", "y-long")}
    assert [run.config.train.epochs for run in plan.runs if run.config_name == "y-long"] == [9]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nmae": "x"}, r"sweep\.yaml:\d+: nmae: unknown key"),
        ({"name": "Phase 3"}, "cannot be a name"),
        ({"checkpoints": {}}, "checkpoints"),
        ({"baseline": "c"}, r"baseline: no checkpoint named 'c'"),
        ({"folds": 1}, "one fold leaves nothing to train on"),
        ({"evaluate": {"protocol": "folds", "folds": 1}}, r"evaluate\.folds: one fold leaves nothing"),
        ({"evaluate": {"protocol": "fold"}}, r"evaluate\.protocol: expected split, folds, leave_one_out or"),
        (
            {"evaluate": {"repeats": 3}},
            r"sweep\.yaml:\d+: evaluate: repeats has no effect under protocol split",
        ),
        (
            {"evaluate": {"protocol": "leave_one_out"}},
            r"evaluate: leave_one_out .*write by: site or by: device",
        ),
        ({"evaluate": {**SITES, "folds": 3}}, "folds has no effect where sites are left out"),
        (
            {"evaluate": {"by": "site"}},
            "by has no effect under protocol split; write protocol: leave_one_out",
        ),
        ({"evaluate": {**LABELS, "repeats": 3}}, "repeats has no effect under protocol label_efficiency"),
        ({"evaluate": {**LABELS, "shares": [0.5, 0.2, 1.0]}}, r"evaluate\.shares: shares rise to 1"),
        ({"evaluate": {**LABELS, "shares": [0.2, 0.5]}}, r"evaluate\.shares: shares rise to 1"),
        ({"evaluate": {**LABELS, "shares": [1.0]}}, "no share is below 1"),
        (
            {"seeds": [*range(100)], "evaluate": {**LABELS, "draws": 200}},
            r"seeds x \(1 \+ shares x draws\) is 20100 trainings in one run, more than 10000",
        ),
        (
            {"folds": 5, "evaluate": {"protocol": "folds"}},
            r"sweep\.yaml:\d+: folds: stands beside evaluate; write evaluate: \{protocol: folds, folds: 5\} only",
        ),
        ({"seeds": [1, 1]}, "seeds must be distinct"),
        ({"grid": {"train.lr_head": []}}, r":\d+: grid\.train\.lr_head: expected at least 1 value, got 0"),
        (
            {"grid": {f"train.{key}": [*range(1, 320)] for key in ("epochs", "lr_head")}},
            r":\d+: grid: checkpoints x configs x grid is more than 10000 runs",
        ),
        (
            {"seeds": [*range(11)], "evaluate": {"protocol": "folds", "folds": 1000, "repeats": 1}},
            r"seeds x repeats x folds is 11000 trainings in one run, more than 10000",
        ),
        ({"exclude": [{"config": "x", "name": "y"}]}, "name has no effect in exclude"),
        (
            {"grid": {"train": [{"epochs": 1}], "train.epochs": [2]}},
            r"\.yaml:1[0-9]: train\.epochs is set twice",
        ),
        ({"output": "~nosuchuser/x"}, r"sweep\.yaml:2: output: '~nosuchuser/x': no such user"),
        ({"checkpoints": {"a": "s3://x/y"}}, r"sweep\.yaml:4: checkpoints\.a\.uri: s3://x/y: scheme"),
        ({"data": {"source": "~nosuchuser"}}, r"data\.source: '~nosuchuser': no such user"),
        ({"data": {"source": "./b", "cache_dir": "~nosuchuser"}}, r"data\.cache_dir: '~nosuchuser': no such"),
        ({"exclude": [{"config": "zzz"}]}, "exclude: matches no pair"),
        ({"exclude": [{}]}, "every pair is excluded"),
        ({"include": [{"config": "zzz"}]}, "include: no config named 'zzz'"),
        ({"configs": {"x": "missing.yaml"}}, r"missing\.yaml: no such file"),
        (
            {"configs": {"x": {"overrides": {"train.epoch": 2}}}},
            r"sweep\.yaml:\d+: train\.epoch: unknown key",
        ),
        ({"grid": {"train.lr_haed": [1.0]}}, r"sweep\.yaml:\d+: train\.lr_haed: unknown key"),
        ({"output": "s3://bucket/x"}, r"scheme s3:// is not supported"),
        ({"data": None}, "neither data.source nor paths.s3_bucket"),
        ({"compute": {"acelerator": "v4-32"}}, r"compute\.acelerator: unknown key"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        plan_sweep(sweep(tmp_path, **changes), tmp_path)


INCLUDE_X = {"checkpoint": "a", "config": "x"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"include": [INCLUDE_X]}, r":\d+: include: x: a under x is planned already by .*:\d+: configs\.x$"),
        (
            {"exclude": [INCLUDE_X], "include": [INCLUDE_X, INCLUDE_X]},
            r":\d+: include: x: a under x is planned already by .*:\d+: include: x$",
        ),
        (
            {"exclude": [INCLUDE_X], "include": [{**INCLUDE_X, "overrides": {"train.epochs": 9}}]},
            r"include: x: x means another configuration already, that of .*:\d+: configs\.x$",
        ),
        (
            {"include": [{**INCLUDE_X, "name": "z"}]},
            r"include: z: would train the same as .*:\d+: configs\.x: nothing that differs",
        ),
        (
            {"grid": {"train.lr_head": [1, 1.0]}},
            r":\d+: grid: train\.lr_head 1\.0: would train the same as .*: grid: train\.lr_head 1:",
        ),
        ({"grid": {"log.save_best": [True, False]}}, r"grid: log\.save_best False: would train the same as"),
    ],
)
def test_nothing_is_planned_twice(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        plan_sweep(sweep(tmp_path, **changes), tmp_path)
    assert re.search(message, caught.value.message)


def test_long_values_make_no_long_names(tmp_path: Path) -> None:
    plan = plan_sweep(sweep(tmp_path, grid={"data.source": ["./" + "x" * 90, "y"]}), tmp_path)
    assert max(len(run.run_id) for run in plan.runs) < 70
    assert len({run.run_id for run in plan.runs}) == 8


def test_values_that_read_the_same_have_names_of_their_own(tmp_path: Path) -> None:
    path = sweep(tmp_path, configs={"x": {}}, grid={"model.unfreeze_at_epoch": [-1, 1], "seed": [1, 2]})
    plan = plan_sweep(path, tmp_path)
    assert len({run.config_name for run in plan.runs}) == 4


HOSTILE_NAMES = [
    "foo/bar",
    "../..",
    ".",
    "",
    "=1+1",
    "A",
    "-a",
    "a-",
    "a b",
    "a\n",
    "\x1b[2J",
    "\u202egnp.exe",
    "a\u200bb",
    "ä",
    "x" * 64,
]
WRITTEN_AS: dict[str, Callable[[str], dict[str, object]]] = {
    "name": lambda name: {"name": name},
    "checkpoints": lambda name: {"checkpoints": {name: "a.pt"}},
    "configs": lambda name: {"configs": {name: {}}},
    "include": lambda name: {"include": [{**INCLUDE_X, "name": name, "overrides": {"train.epochs": 9}}]},
}


@pytest.mark.parametrize("place", WRITTEN_AS)
@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_every_name_passes_one_check_and_nothing_is_written(tmp_path: Path, place: str, name: str) -> None:
    path = sweep(tmp_path, output=f"{tmp_path}/out", **WRITTEN_AS[place](name))
    said = CliRunner().invoke(cli, ["submit", "-f", str(path), "--target", "local"])
    assert isinstance(said.exception, SpecError)
    assert re.search("cannot be a name: use |text with a control character", said.exception.message)
    assert str(path) in said.exception.message
    assert said.exception.message.isprintable()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["\x1b[2J", "a\nb", "\u202eb", "a\u200bb", "", " a", "x" * 121, "\ud800"])
def test_a_class_is_named_in_printable_text(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a name"):
        Classes(mapping={name: 0, "b": 1})
    assert Classes(mapping={"=gesund, 健康": 0, "b": 1}).names[0] == "=gesund, 健康"


def test_a_run_whose_objects_no_store_can_name_is_no_plan(tmp_path: Path) -> None:
    path = sweep(tmp_path, output="gs://bucket/" + "x/" * 450)
    with pytest.raises(SpecError, match=r"sweep\.yaml:2: output: .*bytes long"):
        plan_sweep(path, tmp_path)


def test_the_originals_paths_must_agree_with_each_other(tmp_path: Path) -> None:
    paths = {"s3_bucket": "eye-dataset", "labels_tsv": "a/participants.tsv", "s3_prefix": "b/retinal_oct/"}
    path = sweep(tmp_path, data=None, configs={"x": {"overrides": {"paths": paths}}})
    with pytest.raises(SpecError, match=r"paths\.s3_prefix: expected 'a/retinal_oct' beside"):
        plan_sweep(path, tmp_path)


def test_whom_a_checkpoint_saw_changes_no_run_and_is_found_beside_the_sweep_file(tmp_path: Path) -> None:
    plain = {"uri": "./a.pt"}
    told = {**plain, "pretraining_participants": "lists/seen.txt"}
    before, after = (
        plan_sweep(sweep(tmp_path, checkpoints={"a": given}), tmp_path).runs for given in (plain, told)
    )
    assert [run.run_id for run in before] == [run.run_id for run in after]
    assert after[0].checkpoint.pretraining_participants == f"file://{tmp_path}/lists/seen.txt"


IDS_BEFORE_TABLES = ["b.x-58394594", "b.y-a5f5c17a"]


def own(tmp_path: Path, **data: object) -> Plan:
    changes = {"layout": "table", "table": "tables/volumes.csv", **data}
    return plan_sweep(sweep(tmp_path, data=changes), tmp_path)


def test_a_tables_volumes_are_in_its_folder_unless_the_source_says_otherwise(tmp_path: Path) -> None:
    data = own(tmp_path).runs[0].config.data
    assert data.table == f"file://{tmp_path}/tables/volumes.csv"
    assert data.source == f"file://{tmp_path}/tables"
    assert own(tmp_path, table="volumes.csv").runs[0].config.data.source == f"file://{tmp_path}"
    data = own(tmp_path, table="gs://bucket/volumes.parquet").runs[0].config.data
    assert (data.table, data.source) == ("gs://bucket/volumes.parquet", "gs://bucket")
    assert own(tmp_path, source="b2://scans/oct").runs[0].config.data.source == "b2://scans/oct"


def test_what_only_a_table_reads_is_part_of_the_id_only_where_there_is_one(tmp_path: Path) -> None:
    plain = plan_sweep(sweep(tmp_path), tmp_path).runs[0]
    explicit = plan_sweep(sweep(tmp_path, data={"source": "./bucket", "layout": "aireadi"}), tmp_path).runs[0]
    assert plain.run_id == explicit.run_id
    # As planned before there were tables, at an output that is no part of the id.
    fixed = plan_sweep(
        sweep(tmp_path, data={"source": "gs://bucket/data"}, checkpoints={"b": "gs://bucket/b.pt"})
    )
    assert [run.run_id for run in fixed.runs] == IDS_BEFORE_TABLES
    ids = {
        own(tmp_path, **data).runs[0].run_id
        for data in ({}, {"table": "other.csv"}, {"axes": "WHD"}, {"columns": {"path": "file"}})
    }
    assert len(ids | {plain.run_id}) == 5


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ({"table": None}, "data.layout: table needs data.table"),
        ({"table": "volumes.xlsx"}, "a table is a .csv, .tsv, .parquet file, got 'volumes.xlsx'"),
        ({"columns": {"patient": "p"}}, "data.columns.patient"),
        ({"columns": {"path": "p", "label": "p"}}, "the same column of the table twice"),
        ({"axes": "DHC"}, "data.axes: expected DHW, DWH, HDW, HWD, WDH or WHD"),
        ({"layout": "tables"}, "data.layout: expected aireadi or table"),
        ({"table": "s3://bucket/volumes.csv"}, "data.table: s3://bucket/volumes.csv: scheme s3://"),
    ],
)
def test_keys_of_tables_are_checked_with_their_line(
    tmp_path: Path, data: dict[str, object], what: str
) -> None:
    with pytest.raises(SpecError, match=rf"sweep\.yaml:\d+: .*{re.escape(what)}"):
        own(tmp_path, **data)

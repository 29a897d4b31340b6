"""What a user can do wrong: one `error:` line, at most one hint, the right exit code, nothing half-written."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from doubles.b2_server import B2Server
from doubles.fault_proxy import Fault, FaultProxy
from doubles.tiny_sweep import fill_bucket, prepared, save_checkpoint, sweep_file, uri_of

from octjob.cli import run as octjob
from octjob.errors import FailedRunsError, Interrupted
from octjob.records.layout import RESULT, read_attempt_log, read_progress, read_result, run_key
from octjob.storage.open import open_store
from octjob.targets.local import LocalTarget

QUICK: dict[str, Any] = {"train.epochs": 1}
FINETUNE: dict[str, Any] = {"model.freeze_encoder": False}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    fill_bucket(folder / "bucket").write()
    save_checkpoint(folder / "a.pt")
    return folder


@pytest.fixture
def folder(inputs: Path, tmp_path: Path) -> Path:
    """A bucket and a checkpoint of one's own, to spoil."""
    return Path(shutil.copytree(inputs, tmp_path / "sweep"))


class Said:
    """What `octjob` printed and returned."""

    def __init__(self, args: list[str], capfd: pytest.CaptureFixture[str]) -> None:
        capfd.readouterr()
        self.code = octjob(args)
        self.out, self.err = capfd.readouterr()

    def refused(self, code: int, pattern: str) -> str:
        """The one error line; its hint, if any, is the only other line."""
        lines = self.err.splitlines()
        assert self.code == code, self.err
        assert re.fullmatch(r"error: .+", lines[0]), self.err
        assert len(lines) <= 2, self.err
        assert all(line.startswith("hint: ") for line in lines[1:]), self.err
        assert "Traceback" not in self.err + self.out
        assert re.search(pattern, lines[0]), lines[0]
        return self.err


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    return lambda *args: Said([str(arg) for arg in args], capfd)


@pytest.mark.parametrize(
    ("args", "pattern", "hint"),
    [
        (["sumbit"], "No such command 'sumbit'", "Did you mean 'submit'"),
        (["plan", "--ofline"], "No such option '--ofline'", "--offline"),
        (["data", "chekc"], "No such command 'chekc'", "check"),
        (["schema", "swep"], "'swep' is not one of", "schema --help"),
        (["plan"], "Missing option '--matrix'", "plan --help"),
        (["plan", "-f", "nowhere.yaml"], "nowhere.yaml: no such file", ""),
        (["train", "--run", "nonsense"], "nonsense: not a run", "/runs/<run id>"),
        (["status", "s3://bucket/x"], "s3:// is not supported", ""),
    ],
)
def test_wrong_usage(say: Callable[..., Said], args: list[str], pattern: str, hint: str) -> None:
    assert hint in say(*args).refused(2, pattern)


@pytest.mark.parametrize(
    ("config", "changes", "pattern"),
    [
        ({"train.epochs": 1, "train.lr_haed": 1.0}, {}, r"sweep\.yaml:\d+: train\.lr_haed: unknown key"),
        (
            {"train.epochs": [1, 2]},
            {},
            r"sweep\.yaml:\d+: train\.epochs: expected a whole number, got a list",
        ),
        ({"train.epochs": "many"}, {}, r"train\.epochs: expected a whole number"),
        ({"train": {"optimizer": "LBFGS", "epochs": 3}}, {}, r"train\.epochs: has no effect here"),
        (QUICK, {"checkpoint": {}}, r"sweep\.yaml:\d+: checkpoint: unknown key"),
        (QUICK, {"baseline": "zzz"}, "no checkpoint named 'zzz'"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "submit"])
def test_a_wrong_sweep_file_is_refused_before_anything_is_written(
    tmp_path: Path,
    say: Callable[..., Said],
    command: str,
    config: dict[str, Any],
    changes: dict[str, Any],
    pattern: str,
) -> None:
    path = sweep_file(tmp_path, {"x": config}, **changes)
    say(command, "-f", path).refused(2, pattern)
    assert not (tmp_path / "out").exists()


def test_yaml_that_is_none_is_one_line_with_its_place(tmp_path: Path, say: Callable[..., Said]) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("name: x\n  output: [\n")
    say("plan", "-f", path).refused(2, r"sweep\.yaml:\d+")


def test_an_output_with_another_spec_is_not_touched(folder: Path, say: Callable[..., Said]) -> None:
    store, _ = prepared(folder, {"x": QUICK})
    before = {info.key: info.version for info in store.list()}
    path = sweep_file(folder, {"x": {"train.epochs": 2}})
    said = say("submit", "-f", path).refused(2, "holds a sweep of this name with a different spec")
    assert "--update" in said
    assert {info.key: info.version for info in store.list()} == before


Spoil = Callable[[Path], None]


def spoil_nothing(folder: Path) -> None:
    return None


def remove_checkpoint(folder: Path) -> None:
    (folder / "a.pt").unlink()


def checkpoint_of_text(folder: Path) -> None:
    (folder / "a.pt").write_text("These are no weights.")


def checkpoint_of_numbers(folder: Path) -> None:
    torch.save({"epoch": 3, "values": torch.zeros(4)}, folder / "a.pt")


def checkpoint_cut_short(folder: Path) -> None:
    data = (folder / "a.pt").read_bytes()
    (folder / "a.pt").write_bytes(data[: len(data) // 2])


def checkpoint_of_wrong_shape(folder: Path) -> None:
    payload = torch.load(folder / "a.pt", weights_only=False)
    state = payload["model_state_dict"]
    state["context_encoder.norm.weight"] = torch.ones(31)
    torch.save(payload, folder / "a.pt")


def checkpoint_lacking_a_key(folder: Path) -> None:
    payload = torch.load(folder / "a.pt", weights_only=False)
    del payload["model_state_dict"]["context_encoder.blocks.1.attn.qkv.weight"]
    torch.save(payload, folder / "a.pt")


def two_splits(folder: Path) -> None:
    table = folder / "bucket/participants.tsv"
    first = table.read_text().splitlines()[1]
    table.write_text(table.read_text() + first.replace("\ttrain\t", "\tval\t") + "\n")


def drop_class_from_val(folder: Path) -> None:
    table = folder / "bucket/participants.tsv"
    lines = table.read_text().splitlines(keepends=True)
    gone = [line for line in lines if "insulin_dependent" in line and "\tval\t" in line]
    table.write_text("".join(line for line in lines if line not in gone))


def lose_volumes(folder: Path) -> None:
    table = folder / "bucket/retinal_oct/manifest.tsv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:1] + lines[4:]))


def truncate_volume(folder: Path) -> None:
    path = sorted((folder / "bucket").rglob("*.dcm"))[0]
    path.write_bytes(path.read_bytes()[:700])


def no_bucket(folder: Path) -> None:
    shutil.rmtree(folder / "bucket")


@pytest.mark.parametrize(
    ("spoil", "config", "code", "pattern"),
    [
        (remove_checkpoint, {}, 4, r"a\.pt"),
        (no_bucket, {}, 4, r"bucket/participants\.tsv does not exist"),
        (checkpoint_of_text, {}, 3, r"a\.pt"),
        (checkpoint_of_numbers, {}, 3, r"a\.pt"),
        (checkpoint_cut_short, {}, 3, r"a\.pt"),
        (checkpoint_of_wrong_shape, {}, 3, r"a\.pt: .*norm\.weight is \(31,\), expected \(32,\)"),
        (checkpoint_lacking_a_key, {}, 3, r"a\.pt: .*blocks\.1\.attn\.qkv\.weight"),
        (truncate_volume, FINETUNE, 3, "1 of 32 volumes cannot be read.*participant 1000"),
        (two_splits, {}, 3, r"participants\.tsv:\d+: participant 1000 is in two splits, train and val"),
        (drop_class_from_val, {"data.min_coverage": 0.0}, 3, "split val: no participant of class insulin"),
        (lose_volumes, {}, 3, r"29 of 32 .*min_coverage = 0\.95; missing: no volume .*: 1000, 1001, 1002"),
        (truncate_volume, {}, 3, r"1 of 32 volumes cannot be read.*participant 1000: file://.*\.dcm: "),
        (
            spoil_nothing,
            {"model.emb_dim": 33},
            3,
            r"model\.emb_dim is 33, but .*a\.pt was pretrained with 32",
        ),
        (
            spoil_nothing,
            {"data.augment.resize": [8, 16, 32]},
            3,
            r"data\.augment\.resize is \(8, 16, 32\), but .*\(8, 16, 16\)",
        ),
        (
            spoil_nothing,
            {"data.devices": ["topcon_tritn"]},
            2,
            r"data\.devices: the data set has no 'topcon_tritn'",
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_inputs_that_cannot_be_used_stop_the_run(
    folder: Path,
    say: Callable[..., Said],
    spoil: Spoil,
    config: dict[str, Any],
    code: int,
    pattern: str,
) -> None:
    store, (run,) = prepared(folder, {"x": {**QUICK, **config}})
    spoil(folder)
    say("train", "--run", uri_of(run)).refused(code, pattern)
    assert_failed_cleanly(store, run.run_id, code, pattern)


def assert_failed_cleanly(store: Any, run_id: str, code: int, pattern: str) -> None:
    """The heartbeat says the same as the terminal did; nothing pretends to be a result."""
    progress = read_progress(store, run_id)
    assert progress is not None
    assert progress.stage == "failed"
    assert progress.failure is not None
    assert progress.failure.exit_code == code
    assert re.search(pattern, progress.failure.message)
    names = {info.key.rpartition("/")[2] for info in store.list()}
    assert names == {"sweep.json", "spec.json", "progress.json", "attempt-1.host-0.log"}
    assert f"error: {progress.failure.message}" in read_attempt_log(store, run_id, 1)


def test_another_file_than_the_one_pinned_is_refused(folder: Path, say: Callable[..., Said]) -> None:
    pinned = {"a": {"uri": f"{folder}/a.pt", "num_heads": 2, "sha256": "0" * 64}}
    store, (run,) = prepared(folder, {"x": QUICK}, checkpoints=pinned)
    pattern = r"a\.pt: sha256 is [0-9a-f]{64}, the sweep asks for 0{64}"
    say("train", "--run", uri_of(run)).refused(3, pattern)
    assert_failed_cleanly(store, run.run_id, 3, pattern)


@pytest.mark.parametrize("config", [{}, {"data.augment.flip": True}, FINETUNE])
def test_a_tolerated_corrupt_volume_is_quarantined_counted_and_named(
    folder: Path, say: Callable[..., Said], config: dict[str, Any]
) -> None:
    store, (run,) = prepared(folder, {"x": {**QUICK, "data.max_corrupt": 0.05, **config}})
    truncate_volume(folder)
    said = say("train", "--run", uri_of(run))
    assert (said.code, said.err) == (0, "")
    result = read_result(store, run.run_id)
    assert result is not None
    quarantine = result.data["quarantine"]
    assert quarantine["num_quarantined"] == 1
    assert quarantine["volumes"][0]["participant"] == "1000"
    assert quarantine["volumes"][0]["uri"].endswith(".dcm")
    assert result.data["participants"] == {"train": [4, 5, 5, 5], "val": [3, 3, 3, 3]}
    assert result.training["units"][0]["num_train"] == 19


def test_a_volume_damaged_after_its_first_view_was_cached_shifts_no_label(
    folder: Path, say: Callable[..., Said]
) -> None:
    """The features of the volumes behind it must stay with their own participants."""
    tolerant = {"train.epochs": 30, "data.max_corrupt": 0.05}
    # Two sweeps: of one, the first run would make the other's views too.
    cache = {"cache": f"{folder}/cache"}
    _, (plain,) = prepared(folder, {"plain": tolerant}, **cache)
    assert say("train", "--run", uri_of(plain)).code == 0
    truncate_volume(folder)
    flips = {"flipped": {**tolerant, "data.augment.flip": True}}
    store, (flipped,) = prepared(folder, flips, name="later", **cache)
    assert say("train", "--run", uri_of(flipped)).code == 0
    damaged_late = read_result(store, flipped.run_id)
    fresh, (alone,) = prepared(folder, flips, output=f"{folder}/fresh")
    assert say("train", "--run", uri_of(alone)).code == 0
    damaged_before = read_result(fresh, alone.run_id)
    assert damaged_late is not None
    assert damaged_before is not None
    assert damaged_late.evaluation == damaged_before.evaluation
    assert damaged_late.data == damaged_before.data


@pytest.fixture
def b2_bucket(inputs: Path, b2_server: B2Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The inputs' bucket in B2, below a prefix of its own."""
    for name, value in b2_server.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OCTJOB_STORAGE_RETRY_S", "2")
    root = f"b2://octjob-test/{tmp_path.name}"
    there = open_store(root)
    here = open_store(str(inputs / "bucket"))
    for key in ("participants.tsv", "retinal_oct/manifest.tsv"):
        there.put(key, here.get(key))
    return root


@pytest.mark.parametrize("refusal", ["no bucket", "key without reading", "wrong key", "403"])
def test_a_bucket_that_refuses(
    folder: Path,
    b2_bucket: str,
    b2_server: B2Server,
    say: Callable[..., Said],
    monkeypatch: pytest.MonkeyPatch,
    refusal: str,
) -> None:
    from octjob.storage.open import forget_stores

    source = b2_bucket.replace("octjob-test", "octjob-tset") if refusal == "no bucket" else b2_bucket
    store, (run,) = prepared(folder, {"x": QUICK}, data={"source": source})
    variables = b2_server.env
    if refusal == "key without reading":
        variables = b2_server.create_key("listBuckets", "listFiles", "writeFiles")
    elif refusal == "wrong key":
        variables = {**variables, "B2_APPLICATION_KEY": "K000wrong"}
    with FaultProxy(b2_server.url) as proxy:
        if refusal == "403":
            proxy.inject(Fault("status", "GET", "/file/", status=403, times=99))
            variables = {**variables, "B2_ENVIRONMENT": proxy.url}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        forget_stores()
        said = say("train", "--run", uri_of(run)).refused(4, source.split("/")[2])
    assert "K000wrong" not in said
    assert_failed_cleanly(store, run.run_id, 4, "octjob-ts?e?t?")


@pytest.mark.slow
def test_failed_runs_leave_the_others_alone_and_a_second_submit_takes_only_them(
    folder: Path, say: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = {
        "a": {"uri": f"{folder}/a.pt", "num_heads": 2},
        "b": {"uri": f"{folder}/b.pt", "num_heads": 2},
    }
    path = sweep_file(folder, {"x": QUICK}, checkpoints=checkpoints)
    first = say("submit", "-f", path, "--concurrency", 2)
    assert first.code == FailedRunsError.exit_code
    *lines, error, _hint = first.err.splitlines()
    assert re.match(r"error: 1 of 2 runs failed: b\.x-", error)
    assert any(re.search(r"b\.x-\w+: Failed \(exit 4\): .*b\.pt", line) for line in lines)
    assert any(re.search(r"a\.x-\w+: Succeeded", line) for line in lines)
    assert say("status", path).code == 0
    assert say("collect", path).code == FailedRunsError.exit_code

    shutil.copy(folder / "a.pt", folder / "b.pt")
    started = []
    spawn = LocalTarget._spawn

    def counted(self: LocalTarget, command: list[str], log: Any) -> Any:
        started.append(command[-1])
        return spawn(self, command, log)

    monkeypatch.setattr(LocalTarget, "_spawn", counted)
    assert say("submit", "-f", path).code == 0
    assert [uri.rpartition("/")[2].split("-")[0] for uri in started] == ["b.x"]
    assert say("submit", "-f", path).code == 0
    assert len(started) == 1
    assert say("collect", path).code == 0


def test_a_log_that_cannot_be_kept_is_not_pointed_at(
    folder: Path, say: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sweep_file(folder, {"x": QUICK}, compute={"max_restarts": 0})
    (folder / "out" / "tiny").mkdir(parents=True, exist_ok=True)
    (folder / "out" / "tiny" / "logs").write_text("a file where the folder of the logs should be")

    def dies(self: LocalTarget, command: list[str], log: Any) -> Any:
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"], stderr=log)

    monkeypatch.setattr(LocalTarget, "_spawn", dies)
    said = say("submit", "-f", path)
    assert said.code == FailedRunsError.exit_code
    assert "Failed (exit 1): it left no log" in said.err
    assert said.err.splitlines()[-1] == "hint: `octjob status` says why; the same command tries them again."


@pytest.mark.slow
def test_ctrl_c_lets_the_runs_save_leaves_no_process_and_the_same_command_continues(
    folder: Path, say: Callable[..., Said]
) -> None:
    store, (run,) = prepared(
        folder, {"x": {"train.epochs": 200, "data.batch_size": 4}}, compute={"concurrency": 2}
    )
    command = [sys.executable, "-m", "octjob", "submit", "-f", str(folder / "sweep.yaml")]
    submit = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while (progress := read_progress(store, run.run_id)) is None or progress.stage != "training":
        assert submit.poll() is None
        time.sleep(0.05)
    submit.send_signal(signal.SIGINT)
    _, said = submit.communicate()
    assert submit.returncode == Interrupted.exit_code
    assert said.splitlines()[-2].startswith("interrupted: 1 runs not finished")
    with pytest.raises(ProcessLookupError):
        os.kill(progress.pid, 0)
    saved = read_progress(store, run.run_id)
    assert saved is not None
    assert saved.stage == "interrupted"
    assert any("resume" in info.key for info in store.list())
    assert not store.exists(run_key(run.run_id, RESULT))
    assert say("submit", "-f", folder / "sweep.yaml").code == 0
    result = read_result(store, run.run_id)
    assert result is not None
    assert result.attempts == 2
    assert result.training["units"][0]["epochs_run"] == 200


def test_a_second_attempt_beside_a_live_one_is_refused(folder: Path, say: Callable[..., Said]) -> None:
    store, runs = prepared(folder, {"head": {"train.epochs": 2}})
    holding = (
        "import sys; from octjob.run.alone import only_attempt\n"
        "with only_attempt(sys.argv[1], 'x', patient=False): print('held', flush=True); input()"
    )
    uri = f"{store.root}/runs/{runs[0].run_id}"
    with subprocess.Popen(
        [sys.executable, "-c", holding, uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        said = say("train", "--run", uri_of(runs[0]))
        said.refused(4, f"is being carried out by process {other.pid}")
        other.kill()
    assert say("train", "--run", uri_of(runs[0])).code == 0

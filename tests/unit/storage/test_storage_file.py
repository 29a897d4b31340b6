"""FileStore against a dict, against crashes, and against what the operating system refuses."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octjob.errors import AccessError
from octjob.storage import AlreadyExistsError, ObjectNotFoundError, ObjectStore, VersionConflictError
from octjob.storage.file import FileStore

KEYS = ["a", "b/c", "b/d", "b-e", "b0", "b/f/g", "ä/ö"]
operations = st.one_of(
    st.tuples(st.sampled_from(["put", "create"]), st.sampled_from(KEYS), st.binary(max_size=8)),
    st.tuples(st.just("replace"), st.sampled_from(KEYS), st.booleans()),
    st.tuples(st.just("delete"), st.sampled_from(KEYS), st.none()),
    st.tuples(st.just("list"), st.sampled_from(["", "b", "b/", "b/f", "b/f/g", "ä/", "z"]), st.none()),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(operations, max_size=15))
def test_behaves_like_a_dict(steps: list[tuple[str, str, bytes | bool | None]]) -> None:
    model: dict[str, bytes] = {}
    versions: dict[str, list[str]] = {key: [] for key in KEYS}
    with tempfile.TemporaryDirectory() as folder:
        store = FileStore(folder)
        for kind, key, argument in steps:
            if kind == "list":
                found = {info.key: info.size for info in store.list(key)}
                expected = {name: len(model[name]) for name in sorted(model) if name.startswith(key)}
                assert list(found.items()) == list(expected.items())
            elif kind == "delete":
                with contextlib.nullcontext() if key in model else pytest.raises(ObjectNotFoundError):
                    store.delete(key)
                model.pop(key, None)
            elif kind == "replace":
                # The latest version works while the object is there; an older one never does.
                old = versions[key][-1 if argument else 0] if versions[key] else "0-0-0"
                fits = key in model and versions[key] and old == versions[key][-1]
                with contextlib.nullcontext() if fits else pytest.raises(VersionConflictError):
                    versions[key].append(store.put(key, b"new", if_version=old))
                    model[key] = b"new"
            else:
                assert isinstance(argument, bytes)
                lost = kind == "create" and key in model
                with pytest.raises(AlreadyExistsError) if lost else contextlib.nullcontext():
                    versions[key].append(store.put(key, argument, if_absent=kind == "create"))
                    model[key] = argument
        assert {info.key: store.get(info.key) for info in store.list()} == model
        assert all(len(set(found)) == len(found) for found in versions.values())


@pytest.mark.parametrize("if_absent", [False, True])
def test_crash_before_the_rename_leaves_nothing_visible(tmp_path: Path, if_absent: bool) -> None:
    store = FileStore(str(tmp_path))
    if not if_absent:
        store.put("run/result.json", b"old")
    before = list(store.list())
    code = (
        "import os, sys; os.replace = os.link = lambda *a, **k: os._exit(9);"
        "from octjob.storage.file import FileStore;"
        f"FileStore(sys.argv[1]).put('run/result.json', b'new', if_absent={if_absent})"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
    leftovers = [path for path in (tmp_path / "run").iterdir() if path.name != "result.json"]
    assert [path.read_bytes() for path in leftovers] == [b"new"]
    assert list(store.list()) == before
    store.put("run/result.json", b"newer", if_absent=if_absent)
    assert store.get("run/result.json") == b"newer"
    with pytest.raises(AccessError, match="temporary"):
        store.get(f"run/{leftovers[0].name}")


def test_a_failed_write_cleans_up(tmp_path: Path, file_store: ObjectStore) -> None:
    file_store.put("a", b"one", if_absent=True)
    with pytest.raises(AlreadyExistsError):
        file_store.put("a", b"two", if_absent=True)
    with pytest.raises(VersionConflictError):
        file_store.put("a", b"two", if_version="0-0-0")
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["a"]


def test_no_version_comes_back_when_the_clock_steps_back(tmp_path: Path, file_store: ObjectStore) -> None:
    file_store.put("a", b"one")
    future_ns = 2**62
    os.utime(tmp_path / "store" / "a", ns=(future_ns, future_ns))
    seen = [file_store.head("a").version]
    for _ in range(5):
        seen.append(file_store.put("a", b"two", if_version=seen[-1]))
    times_ns = [int(version.partition("-")[0]) for version in seen]
    assert times_ns == sorted(set(times_ns))


def test_files_get_the_usual_mode(tmp_path: Path, file_store: ObjectStore) -> None:
    old = os.umask(0o027)
    try:
        file_store.put("a", b"one")
    finally:
        os.umask(old)
    assert (tmp_path / "store" / "a").stat().st_mode & 0o777 == 0o640


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Root may do anything, so step down for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_refusals_of_the_system_name_the_uri() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        store = FileStore(f"{folder}/store")
        store.put("secret", b"one")
        os.chmod(f"{folder}/store/secret", 0)
        os.chmod(f"{folder}/store", 0o555)
        actions = [
            lambda: store.get("secret"),
            lambda: store.put("new", b""),
            lambda: store.put("sub/new", b"", if_absent=True),
            lambda: store.delete("secret"),
        ]
        for action in actions:
            with unprivileged(), pytest.raises(AccessError, match="Permission denied") as caught:
                action()
            assert f"file://{folder}/store/" in caught.value.message
            assert not isinstance(caught.value, ObjectNotFoundError)
        os.chmod(f"{folder}/store", 0)
        with unprivileged(), pytest.raises(AccessError, match="Permission denied"):
            list(store.list())
        os.chmod(f"{folder}/store", 0o755)


def test_folders_are_no_objects_and_objects_no_folders(file_store: ObjectStore) -> None:
    file_store.put("folder/a", b"one")
    for action in (lambda: file_store.get("folder"), lambda: file_store.head("folder")):
        with pytest.raises(ObjectNotFoundError, match="is a directory"):
            action()
    assert not file_store.exists("folder")
    assert not file_store.exists("folder/a/b")
    with pytest.raises(AccessError, match="/folder"):
        file_store.put("folder", b"two")
    with pytest.raises(AccessError, match="/folder/a/b"):
        file_store.put("folder/a/b", b"two")
    with pytest.raises(AccessError, match="too long"):
        file_store.put("x" * 300, b"two")
    assert [info.key for info in file_store.list()] == ["folder/a"]


@pytest.mark.parametrize("call", ["link", "replace"])
def test_a_folder_removed_during_a_write_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    store = FileStore(f"file://{tmp_path}")
    real, removed = getattr(os, call), []

    def after_a_removal(source: object, target: object) -> None:
        if not removed:
            removed.append(True)
            shutil.rmtree(tmp_path / "a")
        real(source, target)

    monkeypatch.setattr(os, call, after_a_removal)
    store.put("a/b", b"x", if_absent=call == "link")
    assert removed
    assert store.get("a/b") == b"x"

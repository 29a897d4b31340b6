"""URIs go in and come out the same; what no store can hold is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octjob.errors import SpecError
from octjob.storage import check_key, join_uri, parse_uri, split_uri

segments = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/"), min_size=1, max_size=12
).filter(lambda text: text not in (".", ".."))
keys = st.lists(segments, min_size=1, max_size=5).map("/".join)
buckets = st.from_regex(r"[a-z0-9][a-z0-9-]{4,20}[a-z0-9]", fullmatch=True)
roots = st.one_of(
    st.builds(lambda scheme, bucket: f"{scheme}://{bucket}", st.sampled_from(["gs", "b2"]), buckets),
    keys.map(lambda key: f"file:///{key}"),
)


@given(roots, keys)
def test_joining_and_splitting_are_inverse(root: str, key: str) -> None:
    uri = join_uri(root, key)
    assert uri == f"{root}/{key}"
    assert str(parse_uri(uri)) == uri
    assert join_uri(*split_uri(uri)) == uri


@given(roots, st.lists(keys, max_size=4))
def test_parts_join_one_by_one_or_at_once(root: str, parts: list[str]) -> None:
    one_by_one = root
    for part in parts:
        one_by_one = join_uri(one_by_one, f"{part}/")
    assert join_uri(root, *parts) == one_by_one == "/".join([root, *parts])


@pytest.mark.parametrize(
    ("uri", "root", "key"),
    [
        ("gs://bucket/a/b.pt", "gs://bucket", "a/b.pt"),
        ("B2://bucket/b.pt", "b2://bucket", "b.pt"),
        ("file:///a//x/../b/c.pt", "file:///a/b", "c.pt"),
        ("/c.pt", "file:///", "c.pt"),
        ("gs://bucket/100%25 #1?.pt", "gs://bucket", "100%25 #1?.pt"),
    ],
)
def test_splitting(uri: str, root: str, key: str) -> None:
    assert split_uri(uri) == (root, key)
    assert join_uri(root, key) == str(parse_uri(uri))


def test_plain_paths_become_absolute_file_uris(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    here = os.getcwd()
    assert str(parse_uri("runs/out")) == f"file://{here}/runs/out"
    assert str(parse_uri(".")) == f"file://{here}"
    assert str(parse_uri("~/x")) == "file:///home/someone/x"


@pytest.mark.parametrize("uri", ["s3://bucket/x", "http://host/x", "memory://x"])
def test_other_schemes_are_refused_with_those_that_work(uri: str) -> None:
    with pytest.raises(SpecError, match="not supported") as caught:
        parse_uri(uri)
    assert uri in caught.value.message
    assert "file://, gs://, b2://" in caught.value.hint


@pytest.mark.parametrize(
    "uri", ["", "gs://", "gs:///x", "b2://buck et/x", "file://relative", "gs://bucket/a//b"]
)
def test_uris_that_name_nothing_are_refused(uri: str) -> None:
    with pytest.raises(SpecError):
        parse_uri(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "gs://user:canary-0123@bucket/x",
        "b2://canary-0123@bucket",
        "https://user:canary-0123@host/x",
        "gs://bucket/x?X-Goog-Signature=canary-0123",
        "b2://bucket/x.dcm?a=b&Authorization=canary-0123",
        "https://host/x?access_token=canary-0123",
        "file:///folder/x?sig=canary-0123",
        "gs://bucket/canary?key=b",
        "gs://bucket/canary?a=b&Tokens=1",
        "https://host/canary?pass=x",
        "b2://canary:x@bucket/a",
        "b2://canary@bucket/a",
    ],
)
def test_a_uri_that_carries_credentials_is_refused_and_not_repeated(uri: str) -> None:
    for function in (parse_uri, split_uri, join_uri):
        with pytest.raises(SpecError, match="holds a user, a key or a token") as caught:
            function(uri)
        assert "canary" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    "key",
    ["a?token=", "x&author=someone.pt", "keys=1.pt", "user@host/a:b", "monkey?s=123456789"],
)
def test_names_that_only_resemble_credentials_are_keys(key: str) -> None:
    assert split_uri(f"gs://bucket/{key}") == ("gs://bucket", key)


@pytest.mark.parametrize("uri", ["gs://bucket", "gs://bucket/", "gs://bucket/folder/", "/folder/", "/"])
def test_buckets_and_folders_are_no_objects(uri: str) -> None:
    with pytest.raises(SpecError, match="names no object"):
        split_uri(uri)


def test_keys_are_measured_in_bytes() -> None:
    check_key("é" * 512)
    with pytest.raises(SpecError, match="1026 bytes"):
        check_key("é" * 513)
    with pytest.raises(SpecError, match="Unicode"):
        check_key("\udc80")


def test_importing_storage_and_using_files_loads_no_cloud_sdk() -> None:
    code = (
        "import sys, octjob.storage as s; s.open_store('/tmp').exists('a');"
        "print([m for m in sys.modules if m.startswith(('google.cloud', 'b2sdk', 'torch', 'numpy'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

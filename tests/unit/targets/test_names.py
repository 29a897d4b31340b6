"""Kubernetes names and labels: always valid, unique, stable, readable."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octjob.spec.accelerator import SLICES
from octjob.targets.kubernetes.documents.names import derived_names, dns_label, jobset_name, label_value

DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?")
MOST_HOSTS = max(row.hosts for row in SLICES)

own_names = st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,60}[a-z0-9])?", fullmatch=True)
hex8 = st.from_regex(r"[0-9a-f]{8}", fullmatch=True)
run_ids = st.builds(
    lambda checkpoint, config, digest: f"{checkpoint}.{config}-{digest}", own_names, own_names, hex8
)


@given(sweep=own_names, run_id=st.one_of(run_ids, st.text(min_size=1)))
def test_every_name_that_follows_from_a_run_is_valid(sweep: str, run_id: str) -> None:
    name = jobset_name(sweep, run_id)
    assert len(name) <= 40
    for kind, derived in derived_names(name, MOST_HOSTS, slices=256).items():
        assert len(derived) <= 63, kind
        assert DNS_1035.fullmatch(derived), kind


@given(st.lists(st.tuples(own_names, run_ids), min_size=2, max_size=20, unique=True))
def test_different_runs_and_sweeps_have_different_names(pairs: list[tuple[str, str]]) -> None:
    assert len({jobset_name(*pair) for pair in pairs}) == len(pairs)


@given(own_names, own_names, hex8)
def test_runs_that_read_the_same_have_different_names(checkpoint: str, config: str, digest: str) -> None:
    ids = {
        f"{checkpoint}.{config}-{digest}",
        f"{checkpoint}.{config}x-{digest}",
        f"{checkpoint}-{config}-{digest}",
    }
    assert len({jobset_name("s", run_id) for run_id in ids}) == len(ids)
    assert jobset_name("s", min(ids)) != jobset_name("t", min(ids))


def test_names_stay_what_they_are() -> None:
    assert jobset_name("phase3", "multi_domain.linear_probe-0bc93113") == "multi-domain-linear-probe-32f81cf0"
    assert jobset_name("phase3", "2d.x-0bc93113").startswith("r-2d-x-")


@given(st.text())
def test_a_label_value_is_always_valid(text: str) -> None:
    value = label_value(text)
    assert len(value) <= 63
    assert LABEL.fullmatch(value)
    assert label_value(value) == value


@given(run_ids.filter(lambda text: len(text) <= 63))
def test_a_run_id_that_fits_is_its_own_label(run_id: str) -> None:
    assert label_value(run_id) == run_id


@given(st.lists(run_ids, min_size=2, max_size=20, unique=True))
def test_different_texts_have_different_labels(texts: list[str]) -> None:
    assert len({label_value(text) for text in texts}) == len(texts)


def test_a_long_text_keeps_its_readable_beginning_as_label() -> None:
    value = label_value("checkpoint." + "c" * 80)
    assert value.startswith("checkpoint.ccc")
    assert len(value) == 63


@pytest.mark.parametrize(
    ("text", "label"), [("phase3", "phase3"), ("My_Sweep", "my-sweep"), ("3d", "r-3d"), ("--", "r")]
)
def test_dns_labels(text: str, label: str) -> None:
    assert dns_label(text, 40) == label

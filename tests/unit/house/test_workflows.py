"""What GitHub runs is pinned, holds no right it does not need, ends, and calls targets that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
ACTIONS = sorted(GITHUB.glob("actions/*/action.yml"))
USES = re.compile(r"^\s*(?:- )?uses: (?P<what>\S+)(?P<comment>.*)$", re.MULTILINE)
PINNED = re.compile(r"[\w.-]+(?:/[\w.-]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
TARGET = re.compile(r"\bmake (?:--?[a-z]+ )*([a-z][a-z0-9-]*)")
RULE = re.compile(r"^([a-z][a-z0-9-]*):(?!=) *([^#\n]*)", re.MULTILINE)
# What others get: no cache that another job may have written takes part in it.
PUBLISHING = ("image.yml", "release.yml", "site.yml")

workflows = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def loose(text: str) -> list[str]:
    """Every `uses:` that is neither pinned to a commit, with its version beside it, nor a file of this repository."""
    found = [(match["what"], match["what"] + match["comment"]) for match in USES.finditer(text)]
    return [
        line
        for what, line in found
        if not PINNED.fullmatch(line) and not (what.startswith("$/") and local(what).is_file())
    ]


def local(what: str) -> Path:
    """The file that `$/...` means."""
    path = ROOT / what.removeprefix("$/")
    return path if path.suffix == ".yml" else path / "action.yml"


def read(path: Path) -> dict[str, Any]:
    document = yaml.safe_load(path.read_text())
    assert isinstance(document, dict)
    return document


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in read(path)["jobs"].values():
        yield from job.get("steps", [])


def unbounded(document: dict[str, Any]) -> list[str]:
    """The jobs that say nothing of their rights, or of their time where it is theirs to say."""
    return [
        name
        for name, job in document["jobs"].items()
        if "permissions" not in job or ("uses" not in job and "timeout-minutes" not in job)
    ]


def targets(text: str) -> set[str]:
    """The targets of the Makefile that a script calls."""
    return set(TARGET.findall(text))


RULES = {target: set(needs.split()) for target, needs in RULE.findall((ROOT / "Makefile").read_text())}


def with_needs(names: set[str]) -> set[str]:
    """Those targets and all that they stand on."""
    more = names | {need for name in names for need in RULES.get(name, ()) if need in RULES}
    return more if more == names else with_needs(more)


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: str(path.relative_to(GITHUB)))
def test_every_action_is_a_commit_with_its_version(path: Path) -> None:
    assert loose(path.read_text()) == []


def test_an_action_has_one_version_everywhere() -> None:
    lines = {
        match["what"]
        for path in [*WORKFLOWS, *ACTIONS]
        for match in USES.finditer(path.read_text())
        if "@" in match["what"]
    }
    names = [line.partition("@")[0] for line in lines]
    assert len(names) == len(set(names)) > 3


@workflows
def test_a_job_has_the_rights_it_names_and_an_end(path: Path) -> None:
    document = read(path)
    assert document["permissions"] == {}
    assert "concurrency" in document
    assert unbounded(document) == []


@workflows
def test_no_checkout_leaves_its_token_behind(path: Path) -> None:
    checkouts = [step for step in steps(path) if str(step.get("uses", "")).startswith("actions/checkout@")]
    assert [step for step in checkouts if step["with"].get("persist-credentials") is not False] == []


@workflows
def test_every_target_that_is_called_exists(path: Path) -> None:
    called = {target for step in steps(path) for target in targets(step.get("run", ""))}
    assert called - set(RULES) == set()


def test_github_runs_what_stands_before_every_merge_here() -> None:
    called = {
        target for step in steps(GITHUB / "workflows/ci.yml") for target in targets(step.get("run", ""))
    }
    here = targets((ROOT / ".ci/run").read_text())
    assert "check" in here
    assert here - with_needs(called) == set()


def test_our_own_actions_are_asked_for_what_they_know() -> None:
    for path in WORKFLOWS:
        for step in steps(path):
            if str(step.get("uses", "")).startswith("$/"):
                known = read(local(step["uses"]))["inputs"]
                assert set(step.get("with", {})) <= set(known), f"{path.name}: {step}"
                assert step.get("with", {}).get("programs", "all") in ("workflows", "charts", "all")


@pytest.mark.parametrize("name", PUBLISHING)
def test_what_is_published_is_made_without_a_cache(name: str) -> None:
    own = [step for step in steps(GITHUB / "workflows" / name) if "/actions/tools" in step.get("uses", "")]
    assert [step for step in own if step["with"].get("cache") != "false"] == []
    assert "actions/cache@" not in (GITHUB / "workflows" / name).read_text()


def test_a_release_has_an_image_for_tpus_and_one_for_gpus() -> None:
    image, release = (GITHUB / "workflows" / name for name in ("image.yml", "release.yml"))
    builds = {
        name: job.get("with", {}).get("gpu", False)
        for name, job in read(release)["jobs"].items()
        if "image.yml" in job.get("uses", "")
    }
    assert sorted(builds.values()) == [False, True]
    assert set(builds) <= set(read(release)["jobs"]["release"]["needs"])
    (lock,) = re.findall(r"LOCK=requirements/\$\{\{(.*)\}\}\.txt", image.read_text())
    names = re.findall(r"'([a-z-]+)'", lock)
    assert names == ["gpu", "tpu-cpu", "tpu"]
    assert all((ROOT / f"requirements/{name}.txt").is_file() for name in names)
    assert "LOCK=requirements/gpu.txt TAG=octjob:gpu make image" in (ROOT / "docs/image.md").read_text()


def test_what_a_maintainer_must_set_is_on_the_page() -> None:
    page = (ROOT / "docs/releasing.md").read_text()
    text = "\n".join(path.read_text() for path in WORKFLOWS)
    names = set(re.findall(r"\b(?:vars|secrets)\.(\w+)", text))
    names |= set(re.findall(r"^    environment: (\S+)$", text, re.MULTILINE))
    assert "TORCH_CPU_INDEX" in names
    assert [name for name in names if f"`{name}`" not in page] == []


def test_dependabot_looks_wherever_something_is_pinned() -> None:
    updates = {one["package-ecosystem"]: one for one in read(GITHUB / "dependabot.yml")["updates"]}
    assert set(updates) >= {"github-actions", "gomod", "docker"}
    tools = {f"/{path.parent.relative_to(ROOT)}" for path in (ROOT / "tests").rglob("go.mod")}
    assert set(updates["gomod"]["directories"]) == tools
    own = {f"/{path.parent.relative_to(ROOT)}" for path in ACTIONS}
    assert set(updates["github-actions"]["directories"]) == {"/", *own}
    assert all(one["cooldown"]["default-days"] >= 7 and one["groups"] for one in updates.values())


@pytest.mark.parametrize(
    "line",
    [
        "- uses: actions/checkout@v7",
        "- uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1",
        "  uses: actions/checkout@3d3c42e # v7.0.1",
        "- uses: $/.github/actions/nothing",
        "- uses: docker://alpine:3",
    ],
)
def test_an_action_that_is_not_pinned_would_be_noticed(line: str) -> None:
    assert len(loose(line)) == 1


def test_a_job_without_end_or_rights_would_be_noticed() -> None:
    jobs = {
        "a": {"permissions": {}},
        "b": {"timeout-minutes": 1},
        "c": {"uses": "$/x.yml", "permissions": {}},
    }
    assert unbounded({"jobs": jobs}) == ["a", "b"]


def test_a_target_that_is_gone_would_be_noticed() -> None:
    called = targets("make setup\nmake --silent release-walk TAG=1")
    assert called == {"setup", "release-walk"}
    assert called - set(RULES) == {"release-walk"}

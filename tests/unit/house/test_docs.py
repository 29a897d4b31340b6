"""The documentation is true as far as a machine can tell: files load, commands parse, links and names resolve."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest
import yaml

import octjob
from octjob import errors
from octjob.cli import cli
from octjob.evaluate import signal, verdict
from octjob.spec.compose import load_experiment
from octjob.spec.expand import plan_sweep
from octjob.spec.experiment import Experiment
from octjob.spec.original import HINTS
from octjob.spec.sweep import CheckpointEntry, ConfigEntry, Pair, Sweep
from octjob.spec.validate import all_keys, submodel

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
GENERATED = tuple(DOCS / name for name in ("reference/cli.md", "reference/keys.md", "decisions/index.md"))
WRITTEN = sorted({*DOCS.rglob("*.md")} - {*GENERATED})
# At the top of the repository, where GitHub looks for them; the site has them too.
AT_THE_TOP = sorted({*ROOT.glob("[A-Z]*.md")} - {ROOT / "README.md"})
LINKED = [*WRITTEN, *AT_THE_TOP]
BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[a-z ]+) -->\n)?```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(*kinds: str) -> list[tuple[str, str | None, str]]:
    """(where, mark, body) of every fenced block of these kinds in the pages written by hand."""
    found = []
    for path in LINKED:
        text = path.read_text()
        for match in BLOCK.finditer(text):
            if match["kind"] in kinds:
                line = text[: match.start("kind")].count("\n") + 1
                found.append((f"{name_of(path)}:{line}", match["mark"], match["body"]))
    return found


def test_generated_pages_are_fresh() -> None:
    # In a process of its own: click remembers what earlier tests asked of a command.
    command = [sys.executable, "-m", "docs.generate", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_command_is_in_a_page_written_by_hand(generate: ModuleType) -> None:
    text = "\n".join(path.read_text() for path in WRITTEN)
    commands = [" ".join(path) for path, _ in generate.commands(cli, ("octjob",)) if len(path) > 1]
    assert "octjob checkpoint inspect" in commands
    assert [command for command in commands if not re.search(rf"{command}\b", text)] == []


def leaves(model: type, prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        sub = submodel(field.annotation)
        yield from leaves(sub, f"{prefix}{name}.") if sub is not None else [f"{prefix}{name}"]


def test_every_config_key_is_in_the_reference() -> None:
    text = (DOCS / "reference/keys.md").read_text().partition("## Sweep")[0]
    assert [key for key in leaves(Experiment) if f"| `{key}` |" not in text] == []


def test_every_sweep_key_is_explained() -> None:
    text = (DOCS / "sweeps.md").read_text()
    keys = [key[-1] for model in (Sweep, CheckpointEntry, ConfigEntry, Pair) for key in all_keys(model)]
    assert [key for key in keys if f"`{key}`" not in text] == []


def test_every_dotted_key_named_in_a_page_exists() -> None:
    known = {".".join(map(str, key)) for model in (Experiment, Sweep) for key in all_keys(model)}
    sections = {key.partition(".")[0] for key in known if "." in key}
    for path in LINKED:
        # The page about the original's files names keys that are refused; test_migration.py checks each.
        here = {*known, *HINTS} if path.name == "migration.md" else known
        for text in re.findall(r"`([a-z0-9_]+(?:\.[a-z0-9_]+)+)(?::[^`]*)?`", path.read_text()):
            if text.partition(".")[0] in sections - {"checkpoints"}:
                assert text in here, f"{name_of(path)}: {text}"


def test_every_yaml_block_says_what_it_is() -> None:
    marks = {"sweep", "part of a sweep", "config"}
    assert [where for where, mark, _ in blocks("yaml") if mark not in marks] == []


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with configs/ and an empty sweeps/, as in the repository."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (tmp_path / "sweeps").mkdir()
    return tmp_path


BASE_SWEEP = """\
name: example
output: out
checkpoints: {multi_domain: a.pt, single_domain: b.pt}
configs: {linear_probe: ../configs/cls_linear_probe.yaml}
"""


@pytest.mark.parametrize(
    ("mark", "body"),
    [pytest.param(mark, body, id=where) for where, mark, body in blocks("yaml") if mark and "sweep" in mark],
)
def test_every_sweep_in_the_pages_plans(checkout: Path, mark: str, body: str) -> None:
    written = yaml.safe_load(body)
    base = (
        {} if mark == "sweep" else {k: v for k, v in yaml.safe_load(BASE_SWEEP).items() if k not in written}
    )
    path = checkout / "sweeps/example.yaml"
    path.write_text((yaml.safe_dump(base) if base else "") + body)
    plan = plan_sweep(path, checkout)
    assert len(plan.runs) == len({run.run_id for run in plan.runs}) > 0


@pytest.mark.parametrize(
    "body", [pytest.param(body, id=where) for where, mark, body in blocks("yaml") if mark == "config"]
)
def test_every_config_in_the_pages_loads(checkout: Path, body: str) -> None:
    path = checkout / "configs/example.yaml"
    path.write_text(body)
    assert load_experiment(path) != Experiment()


def command_lines(program: str) -> Iterator[tuple[str, list[str]]]:
    for kind in ("bash", "console"):
        for where, _, body in blocks(kind):
            for line in body.replace("\\\n", " ").splitlines():
                if kind == "console" and not line.startswith("$ "):
                    continue  # What a command prints.
                words = shlex.split(re.split(r"[|]|\d?>", line.removeprefix("$ "))[0], comments=True)
                if words[:1] == [program]:
                    yield where, words[1:]


def parse(arguments: list[str]) -> None:
    """Parse as the program would, without running the command; raises `click.ClickException`."""
    command: click.Command = cli
    # With the group's settings: a command keeps the help option that it is first asked for.
    context = click.Context(cli, info_name="octjob", **cli.context_settings)
    while isinstance(command, click.Group):
        found = command.get_command(context, arguments[0])
        if found is None:
            raise click.UsageError(f"no command {arguments[0]!r}")
        command, arguments = found, arguments[1:]
    command.make_context(command.name, list(arguments), parent=context)


@pytest.mark.parametrize(
    "arguments", [pytest.param(words, id=" ".join(words)) for _, words in command_lines("octjob")]
)
def test_every_command_line_in_the_pages_parses(arguments: list[str]) -> None:
    parse(arguments)


@pytest.mark.parametrize(
    "arguments", [["plan", "--matrx", "x"], ["plan"], ["plane"], ["checkpoint", "look", "x"]]
)
def test_a_wrong_command_line_would_be_noticed(arguments: list[str]) -> None:
    with pytest.raises(click.ClickException):
        parse(arguments)


def test_every_make_target_in_the_pages_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for _, words in command_lines("make") for word in words if "=" not in word}
    named |= {word for path in LINKED for word in re.findall(r"`make ([a-z-]+)`", path.read_text())}
    assert {"setup", "demo"} <= named <= targets


def anchors(path: Path) -> set[str]:
    """The headings of a page as mkdocs makes anchors of them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower()) for text in headings}


@pytest.mark.parametrize("path", LINKED, ids=name_of)
def test_every_internal_link_resolves(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        page = (path.parent / file).resolve() if file else path
        assert page.is_file(), target
        assert not anchor or anchor in anchors(page), target


def test_the_site_has_every_page() -> None:
    def files(entry: object) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, list | dict):
            for child in entry.values() if isinstance(entry, dict) else entry:
                yield from files(child)

    nav = list(files(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    pages = {str(path.relative_to(DOCS)) for path in (*WRITTEN, *GENERATED)}
    pages |= {path.name.lower() for path in AT_THE_TOP}
    assert sorted(nav) == sorted(pages)


def test_every_file_and_test_named_in_the_faults_exists() -> None:
    text = (DOCS / "faults.md").read_text()
    tests = re.findall(r"`(test_\w+\.py)::(test_\w+)`", text)
    assert len(tests) > 40
    for file, test in tests:
        texts = [path.read_text() for path in (ROOT / "tests").rglob(file)]
        found = [text for text in texts if re.search(rf"^def {test}\(", text, re.MULTILINE)]
        assert len(found) == 1, f"{file}::{test}"
    assert [f for f in re.findall(r"`(\w+/\w+\.py)`", text) if not (ROOT / "octjob" / f).is_file()] == []
    rows = re.findall(r"^\| (?!fault \|)(?!---)(.+?) \| .+? \| (.*) \|$", text, re.MULTILINE)
    assert [fault for fault, test in rows if "::" not in test] == []


def test_every_test_named_in_a_page_exists() -> None:
    for path in LINKED:
        for file, test in re.findall(r"`(test_\w+\.py)::(test_\w+)`", path.read_text()):
            found = [
                one
                for one in (ROOT / "tests").rglob(file)
                if re.search(rf"^def {test}\(", one.read_text(), re.M)
            ]
            assert found, f"{name_of(path)}: {file}::{test}"


def test_one_version_is_told_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((ROOT / "charts/octjob/Chart.yaml").read_text())
    assert project == octjob.__version__ == chart["appVersion"] == chart["version"]


def test_every_exit_code_is_explained() -> None:
    codes = {one.exit_code for one in vars(errors).values() if isinstance(one, type)}
    text = (DOCS / "exit-codes.md").read_text()
    assert [code for code in {0, *codes} if f"\n| {code} |" not in text] == []


def test_every_environment_variable_of_ours_is_documented() -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "octjob").rglob("*.py"))
    text = "\n".join(path.read_text() for path in WRITTEN)
    names = set(re.findall(r"\"(OCTJOB_[A-Z_]+|B2_[A-Z_]+|AWS_[A-Z_]+)\"", code))
    assert "OCTJOB_DEVICE" in names
    assert [name for name in names if name not in text] == []


@pytest.mark.parametrize(
    "words",
    [
        f"at least {100 * verdict.DOMINANT_SHARE:g} %",
        f"to {verdict.CONSTANT_DIGITS} decimals",
        f"less than {verdict.CONSTANT_OUTPUT_RANGE:.0e}".replace("e-0", "e-"),
        f"at least {signal.MIN_PERMUTATIONS:,} permutations, and {signal.PERMUTATIONS_PER_COMPARISON} for each",
    ],
)
def test_the_rules_of_evaluation_are_those_of_the_code(words: str) -> None:
    assert words in (DOCS / "evaluation.md").read_text()

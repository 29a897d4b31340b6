"""Hostile and unlucky specs: a plan, or one printable line that names the file. `pytest -s` prints the counts.

No traceback, nothing over 5 s, no gigabytes: hand-made files and seeded mutations of those that are shipped.
"""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from octjob.errors import OctjobError
from octjob.spec.expand import plan_sweep
from octjob.spec.yaml import load
from octjob.targets.kubernetes.documents.settings import resolve_settings

ROOT = Path(__file__).parents[2]
MAX_S = 5
MAX_GROWTH = 2**30
MAX_MESSAGE = 600
Count = Callable[[str, str], None]

SWEEP = """\
name: s
output: {out}
checkpoints: {{a: a.pt, b: b.pt}}
configs: {{x: c.yaml}}
data: {{source: bucket}}
"""

# name -> (what the error says, or "plan"; writes sweep.yaml and c.yaml in a folder)
CASES: dict[str, tuple[str, Callable[[Path], None]]] = {}


def case(name: str, says: str, write: Callable[[Path], None]) -> None:
    assert name not in CASES
    CASES[name] = says, write


def sweep(name: str, says: str, added: str, *, without: str = "") -> None:
    """The sweep with some lines more, and without the one that begins with `without`."""

    def write(folder: Path) -> None:
        lines = [line for line in SWEEP.splitlines() if not without or not line.startswith(without)]
        text = "\n".join(lines).format(out=folder / "out")
        (folder / "sweep.yaml").write_bytes(f"{text}\n{added}\n".encode(errors="surrogatepass"))

    case(name, says, write)


def config(name: str, says: str, text: str | bytes) -> None:
    def write(folder: Path) -> None:
        content = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
        (folder / "c.yaml").write_bytes(content)

    case(name, says, write)


def file(name: str, says: str, make: Callable[[Path], object], target: str = "c.yaml") -> None:
    def write(folder: Path) -> None:
        (folder / target).unlink()
        make(folder / target)

    case(name, says, write)


def grid(name: str, says: str, axis: str) -> None:
    sweep(f"grid {name}", says, f"grid: {{{axis}}}")


# What YAML allows and a config is not.
config("nothing", "plan", "")
config("only a comment", "plan", "# nothing\n")
config("a list", "expected a mapping", "- a\n")
config("a text", "expected a mapping", "hello\n")
config("null", "expected a mapping", "~\n")
config("a date as a number", "expected a number, got the text '2025-08-26'", "train: {lr_head: 2025-08-26}\n")
config("a date and time", "expected a number", "train: {lr_head: 2025-08-26 10:00:00.5 +02:00}\n")
config("a broken binary number", "expected a whole number, got the text '0b_'", "train: {epochs: 0b_}\n")
config("a sexagesimal number", "expected a whole number, got the text '1:30'", "train: {epochs: 1:30}\n")
config("5,000 digits", "more than 19 digits", f"train: {{epochs: {'9' * 5000}}}\n")
config("5,000 digits negative", "more than 19 digits", f"train: {{epochs: -{'9' * 5000}}}\n")
config("5,000 digits of a float", "finite", f"train: {{lr_head: {'9' * 5000}.0}}\n")
config("a huge exponent", "finite", "train: {lr_head: 1e999999999}\n")
config("an infinite rate", "finite", "train: {lr_head: .inf}\n")
config("a rate that is no number", "finite", "train: {lr_head: .nan}\n")
config("arabic digits", "expected a whole number", "train: {epochs: 1٣}\n")
config("python object", "tag .* is not read", "a: !!python/object/apply:os.system [id]\n")
config("python name", "tag .* is not read", "a: !!python/name:os.system\n")
config("python tuple", "tag .* is not read", "a: !!python/tuple [1]\n")
config("binary", "tag !!binary is not read", "train: {epochs: !!binary aGVsbG8=}\n")
config("set", "tag !!set is not read", "train: !!set {epochs, lr_head}\n")
config("omap", "tag !!omap is not read", "train: !!omap [epochs: 1]\n")
config("pairs", "tag !!pairs is not read", "train: !!pairs [epochs: 1]\n")
config("timestamp", "tag !!timestamp is not read", "train: {epochs: !!timestamp 2025-08-26}\n")
config("own tag", "tag !x is not read", "train: !x {epochs: 1}\n")
config("long tag", "is not read", f"train: !<{'x' * 5000}> 1\n")
config("int that is none", "is no int", "train: {epochs: !!int x}\n")
config("float that is none", "is no float", "train: {lr_head: !!float x}\n")
config("bool that is none", "is no bool", "log: {wandb: !!bool x}\n")
config("null that is one", "expected a whole number, got nothing", "train: {epochs: !!null x}\n")
config("self-alias in a list", "stands for a part that holds it", "a: &a [*a]\n")
config("self-alias in a mapping", "stands for a part that holds it", "a: &a {b: *a}\n")
config("self-alias at the top", "stands for a part that holds it", "&a {a: *a}\n")
config("self-alias as a key", "keys are names|not valid YAML", "&a {? *a : 1}\n")
config("undefined alias", "undefined alias", "a: *a\n")
config("undefined alias with a long name", "undefined alias", f"a: *{'a' * 5000}\n")
config("anchor twice", "an anchor of this name", "a: &a 1\nb: &a 2\n")
config("deep lists", "more than 32 levels", "a: " + "[" * 10_000)
config("deep mappings", "more than 32 levels", "a: " + "{a: " * 10_000)
config("deep lines", "more than 32 levels", "".join(" " * n + "a:\n" for n in range(500)))
config("deep keys", "more than 32 levels", "? " + "[" * 10_000)
config("many items", "more than 20000 nodes", "a: [" + "1, " * 60_000 + "]")
config("many keys", "more than 20000 nodes", "".join(f"a{n}: 1\n" for n in range(25_000)))
config("many aliases", "more than 100 aliases", "a: &a 1\nb: [" + "*a, " * 60_000 + "]")
LAUGHS = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
config("alias bomb", "more than 20000 nodes", "a0: &a0 [1, 1, 1]\n" + LAUGHS)
MERGES = "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 10))
config("billion merges", "merge keys", "a0: &a0 {b: 1}\n" + MERGES)
config("merge key", "merge keys", "a: &a {epochs: 1}\ntrain: {<<: *a}\n")
config("duplicate key", "train.epochs is set twice", "train: {epochs: 1, epochs: 2}\n")
config("number as key", "keys are names", "1: 2\n")
config("null as key", "keys are names", "~: 2\n")
config("mapping as key", "keys are names", "? {a: 1}\n: 2\n")
config("empty key", "cannot be a name", '"": 1\n')
config("long key", "cannot be a name", f"{'x' * 900}: 1\n")
config("dotted key", "unknown key", "train.epochs: 1\n")
config("bidi key", "cannot be a name", '"\\u202eabc": 1\n')
config("escape in a key", "cannot be a name", '"\\e[31m": 1\n')
config("escape in a value", "a control character", 'project_name: "\\e[31m"\n')
config("bell", "is not allowed", "project_name: \x07\n")
config("NUL", "is not allowed", "project_name: \0\n")
config("NUL escaped", "a control character", 'paths: {labels_tsv: "a\\0b"}\n')
config("half a character", "half a character", 'project_name: "\\ud800"\n')
config("no character", "stands for nothing", 'project_name: "\\UFFFFFFFF"\n')
config("beyond Unicode", "stands for nothing", 'project_name: "\\U00110000"\n')
config("raw half character", "not UTF-8", "project_name: \ud800\n")
config("Latin-1", "c.yaml:1: not UTF-8", "project_name: é\n".encode("latin-1"))
config("UTF-16", "is UTF-16", "train: {epochs: 1}\n".encode("utf-16"))
config("UTF-16 without mark", "is not allowed", "train: {epochs: 1}\n".encode("utf-16-le"))
config("UTF-32", "is UTF-16", "train: {epochs: 1}\n".encode("utf-32"))
config("byte order mark", "plan", "\ufefftrain: {epochs: 1}\n")
config("carriage returns", "plan", "train:\r\n  epochs: 1\r\n")
config("tabs", "cannot start any token", "train:\n\tepochs: 1\n")
config("two documents", "another document", "a: 1\n---\nb: 2\n")
config("version of 5,000 digits", "stands for nothing", f"%YAML {'1' * 5000}.1\n--- {{}}\n")
config("unknown directive", "plan", "%FOO bar\n--- {}\n")
config("open quote", "not valid YAML", 'a: "' + "x" * 100_000)
config("random bytes", "c.yaml", random.Random(0).randbytes(5000))
config("a picture", "not UTF-8", b"\x89PNG\r\n\x1a\n" + bytes(1000))
config("JSON", "plan", '{"train": {"epochs": 3, "lr_head": 1e-3}}')
config("class name of two lines", "cannot be a name", 'classes: {mapping: {"a\\nb": 0, c: 1}}\n')
config("class named like a formula", "plan", 'classes: {mapping: {"=1+1": 0, c: 1}}\n')
config("class index beyond", "less than or equal", f"classes: {{mapping: {{a: 0, b: {10**15}}}}}\n")
config("no class", "class indices", "classes: {mapping: {}}\n")
config("wrong element", "class_weights.1: expected a number", "train: {class_weights: [1, x, 1, 1]}\n")
config("one size too few", "value 3 is missing", "data: {augment: {resize: [8, 8]}}\n")
config("a size of nothing", "resize.0: input should be greater", "data: {augment: {resize: [0, 8, 8]}}\n")
# Files that are none, and files that name each other.
config("defaults itself", "go in a circle", "defaults: [c]\n")
config("defaults itself by another name", "go in a circle", "defaults: [./c]\n")
config("defaults a number", "defaults.0: expected a file name", "defaults: [1]\n")
config("defaults a text", "defaults: expected a list", "defaults: c\n")
config("defaults too many", "more than 50 files", f"defaults: [{', '.join(['d'] * 500)}]\n")
config("defaults that is missing", "no such file", "defaults: [nowhere]\n")
config("defaults a directory", "no such file|is a directory", "defaults: ['..']\n")
config("defaults with a long name", "cannot be read", f"defaults: [{'x' * 3000}]\n")
config("defaults of an absolute device", "not a regular file", "defaults: [d]\n")
file("missing config", "c.yaml: no such file", lambda path: None)
file("a directory as config", "is a directory", Path.mkdir)
file("a pipe as config", "is a pipe", os.mkfifo)
file("/dev/zero as config", "is a device", lambda path: path.symlink_to("/dev/zero"))
file("/dev/stdin as config", "not a regular file|no such file", lambda path: path.symlink_to("/dev/null"))
file("symbolic links in a circle", "cannot be read", lambda path: path.symlink_to(path))
file("1 GB", "larger than 256 KiB", lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 2**30))
file("a pipe as sweep", "is a pipe", os.mkfifo, "sweep.yaml")
file("/dev/zero as sweep", "is a device", lambda path: path.symlink_to("/dev/zero"), "sweep.yaml")
file("missing sweep", "no such file", lambda path: None, "sweep.yaml")
# Sweeps.
sweep("no name", "name: is required", "", without="name")
sweep("no output", "output: is required", "", without="output")
sweep("name with a slash", "cannot be a name", "name: ../../etc", without="name")
sweep("name that is a date", "plan", "name: 2025-08-26", without="name")
sweep("output of nobody", "no such user", "output: ~nosuchuser/x", without="output")
sweep("output elsewhere", "scheme s3:// is not supported", "output: s3://a/b", without="output")
sweep(
    "output with a token", "holds a user, a key or a token", "output: gs://bucket/b?token=x", without="output"
)
sweep("output very long", "output: ", f"output: gs://bucket/{'x' * 3000}", without="output")
sweep("output with a dot", "segment", "output: gs://bucket/a/../b", without="output")
sweep("no checkpoint", "at least 1", "checkpoints: {}", without="checkpoints")
sweep("checkpoint without place", "checkpoints.a", "checkpoints: {a: {}}", without="checkpoints")
sweep("checkpoint with a hostile name", "cannot be a name", "checkpoints: {../a: x}", without="checkpoints")
sweep(
    "section and key",
    "train is set twice",
    "configs: {x: {overrides: {train: 1, train.epochs: 2}}}",
    without="conf",
)
sweep("config elsewhere", "not a regular file", "configs: {x: /dev/zero}", without="configs")
sweep("config in /proc", "proc", "configs: {x: /proc/self/mem}", without="configs")
sweep(
    "config of a fork",
    "larger than|not UTF-8|not allowed|not valid",
    "configs: {x: /proc/self/exe}",
    without="conf",
)
sweep("include twice", "planned already", "include: [{config: x, checkpoint: a}]")
sweep("include a path", "cannot be a name", "include: [{config: x, name: ../../x}]")
sweep("include a formula", "cannot be a name", "include: [{config: x, name: '=1+1'}]")
sweep("exclude everything", "every pair is excluded", "exclude: [{}]")
sweep("exclude with a hard pattern", "matches no pair", f"exclude: [{{config: '{'*a' * 1000}b'}}]")
sweep("exclude too much", "at most 200", f"exclude: [{'{config: x}, ' * 300}]")
sweep("10^9 folds", "less than or equal", "folds: 1000000000")
sweep("10^9 repeats", "less than or equal", "evaluate: {protocol: folds, repeats: 1000000000}")
sweep("a seed of 10^12", "less than or equal", "seeds: [1000000000000]")
sweep(
    "10^9 trainings",
    "more than 10000",
    f"seeds: {[*range(1000)]}\nevaluate: {{protocol: folds, repeats: 1000}}",
)
sweep("a negative seed", "greater than or equal", "seeds: [-1]")
sweep("an accelerator of 5,000 digits", "is no TPU slice", f"compute: {{accelerator: v4-{'9' * 4000}}}")
sweep("a restart too many", "less than or equal", "compute: {max_restarts: 10000000}")
sweep("an endless runtime", "finite", "compute: {max_runtime_hours: .inf}")
sweep("a secret in env", "looks like a credential", "compute: {env: {API_TOKEN: x}}")
grid("with an empty axis", "at least 1 value, got 0", "train.lr_head: []")
grid("with a number as axis", "expected a list", "train.lr_head: 1")
grid(
    "of 10^5 points",
    "more than 10000 runs",
    f"train.epochs: {[*range(1, 318)]}, train.lr_head: {[*range(1, 318)]}",
)
grid("with equal values", "would train the same", "train.lr_head: [1, 1.0]")
grid("of unknown keys", "unknown key", "train.x: [1]")
grid("of empty keys", "unknown key", "'.': [1]")
grid("of sections", "expected a mapping", "train: [1]")
grid("of sections and keys", "is set twice", "train: [{epochs: 3}], train.epochs: [2]")


class OutOfTime(BaseException):
    """No part of the program may catch it."""


@contextmanager
def bounded() -> Iterator[None]:
    """At most 5 s of this process, and a gigabyte more than it has."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGPROF, stop)
    resource.setrlimit(resource.RLIMIT_AS, (size + MAX_GROWTH, limits[1]))
    signal.setitimer(signal.ITIMER_PROF, MAX_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGPROF, before)


def through_the_door(path: Path) -> str:
    """What `octjob plan --offline` and `octjob submit` do before they ask or write anything."""
    try:
        with bounded():
            planned = plan_sweep(path, path.parent)
            if planned.compute.target == "kubernetes":
                resolve_settings(planned.compute, load(path))
    except OctjobError as error:
        check_error(error, path.parent)
        return error.message
    assert len({run.run_id for run in planned.runs}) == len(planned.runs) > 0
    assert all(re.fullmatch(r"[a-z0-9._-]{1,200}", run.run_id) for run in planned.runs)
    return "plan"


def check_error(error: OctjobError, folder: Path) -> None:
    message = error.message
    assert error.exit_code in (2, 3, 4), message
    assert message.isprintable(), message
    assert error.hint.isprintable(), error.hint
    assert len(error.hint) < MAX_MESSAGE + len(str(folder)), error.hint
    assert len(message) - len(str(folder)) * message.count(str(folder)) < MAX_MESSAGE, message
    assert re.match(re.escape(str(folder)) + r"/[^:]*\.yaml(:[0-9]+)?: ", message), message
    assert not re.search(r"expected (.+), got \1$", message), message
    assert "Traceback" not in message


def write_valid(folder: Path) -> None:
    (folder / "sweep.yaml").write_text(SWEEP.format(out=folder / "out"))
    (folder / "c.yaml").write_text("train: {epochs: 3}\n")
    (folder / "d.yaml").symlink_to("/dev/zero")


@pytest.mark.parametrize("name", CASES)
def test_a_hand_made_spec_is_a_plan_or_one_line(name: str, tmp_path: Path, count: Count) -> None:
    says, write = CASES[name]
    write_valid(tmp_path)
    write(tmp_path)
    said = through_the_door(tmp_path / "sweep.yaml")
    assert re.search(says, said), said
    assert not (tmp_path / "out").exists()
    count("specs by hand", "planned" if said == "plan" else "refused")


NASTY = (
    *(
        "null",
        "true",
        "-1",
        "0",
        "1e999",
        ".inf",
        ".nan",
        "9" * 400,
        "x" * 1000,
        "2025-08-26",
        "0b_",
        "yes",
        "1_0",
    ),
    *(
        "[]",
        "{}",
        "[[]]",
        "[1, x]",
        "{a: {b: c}}",
        "{file: [1]}",
        "''",
        '"\\0"',
        '"\\ud800"',
        '"\\u202e"',
        "=1",
        "🦠",
    ),
    *("=1", "🦠", "~x", "../..", "/dev/zero", "gs://x/y?token=z", "gs://bucket/y?token=z", "s3://a"),
    *("*a", "&a x", "!!set {a}", "|", ">", "@", "`", "%", "<<", "- -", "? :"),
)
Mutation = Callable[[random.Random, list[str]], list[str]]


def flip_bytes(rng: random.Random, lines: list[str]) -> list[str]:
    content = bytearray("\n".join(lines).encode(errors="surrogateescape"))
    for _ in range(rng.randint(1, 4)):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return content.decode(errors="surrogateescape").split("\n")


def swap_lines(rng: random.Random, lines: list[str]) -> list[str]:
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    return lines


def on_a_line(change: Callable[[random.Random, str], str]) -> Mutation:
    def mutate(rng: random.Random, lines: list[str]) -> list[str]:
        with_key = [n for n, line in enumerate(lines) if ":" in line and not line.lstrip().startswith("#")]
        if not with_key:
            return lines
        at = rng.choice(with_key)
        return [*lines[:at], change(rng, lines[at]), *lines[at + 1 :]]

    return mutate


def nasty_value(rng: random.Random, line: str) -> str:
    return f"{line.partition(':')[0]}: {rng.choice(NASTY)}"


def rename(rng: random.Random, line: str) -> str:
    key, _, value = line.partition(":")
    name = key.strip()
    at = rng.randrange(len(name)) if name else 0
    new = rng.choice(
        [name[:at] + name[at + 1 :], name + "x", name.upper(), f"{name}.{name}", f"train.{name}", "<<", name]
    )
    return f"{key.removesuffix(name)}{new}:{value}"


def alias(rng: random.Random, line: str) -> str:
    key, _, value = line.partition(":")
    return f"{key}: &a {value.strip()}" if rng.random() < 0.5 else f"{key}: [&a x, *a, *a]"


def indent(rng: random.Random, line: str) -> str:
    return rng.choice(["\t", "  ", " ", "- ", "? "]) + line


def truncate(rng: random.Random, lines: list[str]) -> list[str]:
    text = "\n".join(lines)
    return text[: rng.randrange(len(text))].split("\n")


def repeat_line(rng: random.Random, lines: list[str]) -> list[str]:
    at = rng.randrange(len(lines))
    return [*lines[:at], lines[at], *lines[at:]]


MUTATIONS: tuple[Mutation, ...] = (
    flip_bytes,
    swap_lines,
    on_a_line(nasty_value),
    on_a_line(rename),
    on_a_line(alias),
    on_a_line(indent),
    truncate,
    repeat_line,
)
SHIPPED = [*sorted(ROOT.glob("sweeps/*.yaml")), *sorted(ROOT.glob("configs/*.yaml"))]
NUM_BATCHES = 20
BATCH = 150


@pytest.mark.parametrize("batch", range(NUM_BATCHES))
def test_a_mutated_spec_is_a_plan_or_one_line(batch: int, tmp_path: Path, count: Count) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copytree(ROOT / "sweeps", tmp_path / "sweeps")
    own = tmp_path / "sweeps/own.yaml"
    for number in range(batch * BATCH, (batch + 1) * BATCH):
        rng = random.Random(number)
        source = SHIPPED[number % len(SHIPPED)]
        lines = source.read_text().split("\n")
        for _ in range(rng.choice([1, 1, 1, 2, 5])):
            lines = rng.choice(MUTATIONS)(rng, lines) if any(lines) else lines
        target = tmp_path / source.relative_to(ROOT)
        text = "\n".join(lines)  # where it fails, pytest shows it
        target.write_bytes(text.encode(errors="surrogateescape"))
        own.write_text(
            f"name: own\noutput: out\ncheckpoints: {{a: a.pt}}\nconfigs: {{x: ../configs/{target.name}}}\n"
            "data: {source: bucket}\n"
        )
        said = through_the_door(target if target.parent.name == "sweeps" else own)
        count("specs by mutation", "planned" if said == "plan" else "refused")
        shutil.copyfile(source, target)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (os.mkfifo, "is a pipe, not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device, not a regular file"),
        (lambda path: path.symlink_to(path), "cannot be read"),
        (lambda path: path.write_bytes(b"name: \0"), "is not allowed"),
        (lambda path: path.write_text("a: &a [*a]"), "a part that holds it"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "submit"])
def test_the_command_line_says_the_same(
    command: str, make: Callable[[Path], object], says: str, tmp_path: Path, count: Count
) -> None:
    path = tmp_path / "sweep\x1b[2J.yaml"
    make(path)
    done = subprocess.run(
        [sys.executable, "-m", "octjob", command, "--matrix", path],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert all(line.isprintable() for line in lines)
    assert len(lines) <= 2
    assert done.stdout == ""
    count("specs by command", "refused")

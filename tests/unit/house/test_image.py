"""What the Dockerfile promises before it is built: pinned, small where it can be, nothing that was not meant."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PINNED = re.compile(r"^([a-z0-9._-]+==\S+) \\$", re.M)


def pins(name: str) -> set[str]:
    return set(PINNED.findall((ROOT / "requirements" / name).read_text()))


def test_the_base_is_pinned_and_nothing_else_is_pulled() -> None:
    assert re.search(r"^ARG BASE=python:3\.11-\S+@sha256:[0-9a-f]{64}$", DOCKERFILE, re.M)
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)) == {"${BASE}", "packages"}


def test_what_it_copies_reaches_the_build() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.M):
        copied |= {word.partition("/")[0] for word in line.split()[:-1] if not word.startswith("$")}
    assert copied <= kept
    assert all((ROOT / name).exists() for name in kept)


def test_the_cpu_lock_is_the_plain_one_without_cuda() -> None:
    plain, cpu = pins("tpu.txt"), pins("tpu-cpu.txt")
    assert cpu - plain == {"torch==2.9.0+cpu"}
    gone = plain - cpu
    assert gone == {pin for pin in plain if pin.startswith(("nvidia-", "triton==", "torch=="))}


def test_gpu_and_tpu_images_hold_the_same_versions() -> None:
    assert pins("gpu.txt") <= pins("tpu.txt")
    assert pins("gpu.txt") < pins("backbones.txt")


def test_python_gets_the_signals() -> None:
    assert '\nENTRYPOINT ["octjob"]\n' in DOCKERFILE
    assert "\nUSER 10001:10001\n" in DOCKERFILE

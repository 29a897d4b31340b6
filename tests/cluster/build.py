"""The programs of the control plane, built from the Go module proxy and kept outside the checkout.

`python -m tests.cluster.build [NAME ...]` builds those of the control plane, or the ones named, and prints where they
are. Tests build nothing: a build takes minutes, and a test has a time limit.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

MODULES = Path(__file__).parent / "tools"
KUBERNETES = "1.36.3"
_STRIP = "-s -w"
_CONTAINERD = "github.com/containerd/containerd/v2/cmd"


class BuildError(Exception):
    """A program cannot be had; the message says why and what to do."""


class NoCompilerError(BuildError):
    """There is no Go on the PATH."""


@dataclass(frozen=True)
class Tool:
    """family: the folder with the go.mod that pins it; package: what `go build` builds.

    static: without libc, so that it needs neither a C compiler nor anything else in its image.
    """

    family: str
    package: str
    static: bool = False

    @property
    def ldflags(self) -> str:
        # Without the stamps the API server calls itself v0.0.0, and clients take it for a very old one.
        return f"{_STRIP} {_version_stamps()}" if self.family == "kubernetes" else _STRIP


TOOLS = {
    "kube-apiserver": Tool("kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"),
    "kube-controller-manager": Tool("kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    "kube-scheduler": Tool("kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler"),
    "kubectl": Tool("kubernetes", "k8s.io/kubernetes/cmd/kubectl"),
    "jobset": Tool("kubernetes", "sigs.k8s.io/jobset"),
    "kueue": Tool("kubernetes", "sigs.k8s.io/kueue/cmd/kueue"),
    "kwok": Tool("kubernetes", "sigs.k8s.io/kwok/cmd/kwok"),
    "etcd": Tool("etcd", "go.etcd.io/etcd/server/v3"),
    "helm": Tool("helm", "helm.sh/helm/v4/cmd/helm"),
    "kubeconform": Tool("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform"),
    "promql": Tool("promql", "."),
    "kube-state-metrics": Tool("kube-state-metrics", "k8s.io/kube-state-metrics/v2"),
    "kube-score": Tool("kube-score", "github.com/zegl/kube-score/cmd/kube-score"),
    "argocd-compare": Tool("argocd", "."),
    "kubelet": Tool("kubernetes", "k8s.io/kubernetes/cmd/kubelet"),
    "containerd": Tool("containerd", f"{_CONTAINERD}/containerd", static=True),
    "containerd-shim-runc-v2": Tool("containerd", f"{_CONTAINERD}/containerd-shim-runc-v2", static=True),
    "ctr": Tool("containerd", f"{_CONTAINERD}/ctr", static=True),
    "coredns": Tool("coredns", ".", static=True),
    "pause": Tool("pause", ".", static=True),
    "actionlint": Tool("actionlint", "github.com/rhysd/actionlint/cmd/actionlint"),
}

# What tests/unit renders and checks charts with.
OF_CHARTS = ("helm", "kubeconform", "promql")
# What only tests/pods needs.
OF_PODS = ("kubelet", "containerd", "containerd-shim-runc-v2", "ctr", "coredns", "pause")
# What `make workflows` reads .github with, besides what comes with .venv.
OF_WORKFLOWS = ("actionlint",)
OF_CONTROL_PLANE = tuple(name for name in TOOLS if name not in (*OF_PODS, *OF_WORKFLOWS))
# Modules whose files are read besides their code: charts, schemas, CRDs.
SOURCES = ("k8s.io/kubernetes", "sigs.k8s.io/jobset", "sigs.k8s.io/kueue", "sigs.k8s.io/kwok")


def tool(name: str) -> Path:
    """The program `name`, which must have been built.

    Raises:
        BuildError: it has not, or there is no Go compiler to say which version of it is wanted.
    """
    target = _target(name)
    if not target.exists():
        own = name in OF_PODS
        command = f"{sys.executable} -m tests.cluster.build {name}" if own else "make programs"
        raise BuildError(f"{name} is not built; `{command}` builds it")
    return target


def build(name: str) -> Path:
    """The program `name`, built if it is not there yet. Processes that ask at the same time build it once.

    Raises:
        BuildError: no Go compiler, or the build failed.
    """
    wanted, target = TOOLS[name], _target(name)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _lock(target.with_suffix(".lock")):
        if not target.exists():
            _build(wanted, target)
    return target


@cache
def module_dir(module: str, family: str = "kubernetes") -> Path:
    """Where the sources of a pinned module lie: some carry charts and other files besides code."""
    answer = _go("list", "-m", "-f", "{{.Dir}}", module, family=family)
    if not answer:
        _go("mod", "download", module, family=family)
        answer = _go("list", "-m", "-f", "{{.Dir}}", module, family=family)
    return Path(answer)


def build_all(names: Sequence[str] = OF_CONTROL_PLANE) -> list[Path]:
    """Build what is not there yet, and fetch the sources that tests read with it, saying what takes the time.

    Raises:
        BuildError: no Go compiler, or a build failed.
    """
    paths = []
    for number, name in enumerate(names, 1):
        if not _target(name).exists():
            _say(f"building {name} ({number} of {len(names)}) ...")
        start = time.monotonic()
        paths.append(build(name))
        if (took_s := time.monotonic() - start) > 1:
            _say(f"  {took_s:.0f} s")
    if set(names) - set(OF_WORKFLOWS):
        for module in SOURCES:
            module_dir(module)
    return paths


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _version_stamps() -> str:
    major, minor, _ = KUBERNETES.split(".")
    stamps = {"gitVersion": f"v{KUBERNETES}", "gitMajor": major, "gitMinor": minor}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(f"-X {package}.{key}={value}" for package in packages for key, value in stamps.items())


def _cache_root() -> Path:
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("OCTJOB_TOOLS") or cache_home / "octjob" / "tools")


def _target(name: str) -> Path:
    return _cache_root() / _digest(TOOLS[name]) / name


def _digest(wanted: Tool) -> str:
    """Changes with everything that the program follows from."""
    folder = MODULES / wanted.family
    files = [folder / "go.mod", folder / "go.sum", *sorted(folder.glob("*.go"))]
    parts = [file.read_bytes() for file in files if file.exists()]
    parts += [wanted.ldflags.encode(), _go_version().encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(wanted: Tool, target: Path) -> None:
    partial = target.with_suffix(f".{os.getpid()}")
    flags = ("-trimpath", "-ldflags", wanted.ldflags, "-o", str(partial))
    try:
        env = {"CGO_ENABLED": "0"} if wanted.static else {}
        _go("build", *flags, wanted.package, family=wanted.family, env=env)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@cache
def _go_version() -> str:
    return _go("version", family="kubernetes")


def _go(*arguments: str, family: str, env: Mapping[str, str] = MappingProxyType({})) -> str:
    if shutil.which("go") is None:
        raise NoCompilerError(
            "no Go compiler (`go`) on the PATH; the control plane is built from source.\n"
            "Install Go 1.26 or newer (https://go.dev/dl/), or set OCTJOB_TEST_KUBECONFIG to a cluster that "
            "has JobSet and Kueue."
        )
    done = subprocess.run(
        ["go", *arguments], cwd=MODULES / family, env={**os.environ, **env}, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise BuildError(f"`go {' '.join(arguments)}` in {family}/ failed:\n{done.stderr[-3000:]}")
    return done.stdout.strip()


def main(arguments: list[str]) -> None:
    """A group, `--charts` or `--workflows`, is left out without Go, except where CI is set; `--pods` is not."""
    groups = {"--charts": (OF_CHARTS, "the chart's tests"), "--workflows": (OF_WORKFLOWS, "actionlint")}
    group, skipped = groups.get(" ".join(arguments), ((), ""))
    sets = {"--pods": (*OF_CONTROL_PLANE, *OF_PODS), "": OF_CONTROL_PLANE}
    names = list(group) or list(sets.get(" ".join(arguments), arguments))
    if unknown := sorted(set(names) - set(TOOLS)):
        raise SystemExit(f"error: unknown: {', '.join(unknown)}; known: {', '.join(TOOLS)}")
    try:
        for path in build_all(names):
            sys.stdout.write(f"{path}\n")
    except NoCompilerError:
        if not group or os.environ.get("CI"):
            raise
        _say(f"no Go compiler (`go`) on the PATH: {skipped} will be skipped")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except BuildError as error:
        raise SystemExit(f"error: {error}") from None

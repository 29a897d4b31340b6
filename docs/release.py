"""What a release is made of besides the code: one version everywhere, its section of the changelog, and the chart.

python -m docs.release check TAG                   tag, package, chart and changelog name one version
python -m docs.release notes TAG OWNER/NAME IMAGE  the text of the release on GitHub
python -m docs.release chart IMAGE FOLDER          the chart, with that image in its values

TAG is v0.2.0 or the like, IMAGE names its digest.
"""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TypeVar

import click
import yaml

from docs.problem import ProblemError

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
CHART = "charts/octjob"
_TAG = re.compile(r"v(?P<version>\d+\.\d+\.\d+)")
_IMAGE = re.compile(r"[\w.:/-]+@sha256:[0-9a-f]{64}")
_HEADING = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<day>\S+))?$", re.MULTILINE)
# Links of the changelog are relative to the repository's root; on the release's page they would lead nowhere.
_RELATIVE = re.compile(r"\]\((?!https?://|#)(?P<path>[^)\s]+)\)")


def version_of(tag: str) -> str:
    """`0.2.0` of `v0.2.0`.

    Raises:
        ProblemError: the tag is no version's.
    """
    match = _TAG.fullmatch(tag)
    if match is None:
        raise ProblemError(f"{tag}: a release's tag is v and three numbers, such as v0.2.0")
    return match["version"]


def section(changelog: Path, version: str) -> str:
    """The text below the heading of `version`, without the heading.

    Raises:
        ProblemError: there is no such heading, it has no day, or nothing stands below it.
    """
    text = changelog.read_text()
    headings = list(_HEADING.finditer(text))
    for heading, following in zip(headings, [*headings[1:], None], strict=True):
        if heading["version"] == version:
            _refuse_no_day(changelog.name, version, heading["day"])
            body = text[heading.end() : following.start() if following else len(text)].strip()
            if not body:
                raise ProblemError(f"{changelog.name}: nothing stands below the heading of {version}")
            return body
    raise ProblemError(f"{changelog.name}: no heading `## [{version}] - YEAR-MONTH-DAY`")


def _refuse_no_day(name: str, version: str, day: str | None) -> None:
    try:
        date.fromisoformat(day or "")
    except ValueError:
        raise ProblemError(
            f"{name}: the heading of {version} needs the day, as in `## [{version}] - 2026-12-31`"
        ) from None


def check(root: Path, tag: str) -> None:
    """The versions that a release of `tag` is known by, in all files that tell one.

    Raises:
        ProblemError: one line for each file that tells another, or the changelog has no such section.
    """
    version = version_of(tag)
    chart = yaml.safe_load((root / CHART / "Chart.yaml").read_text())
    init = re.search(r'^__version__ = "(.*)"$', (root / "octjob/__init__.py").read_text(), re.MULTILINE)
    told = {
        "pyproject.toml: version": tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"],
        "octjob/__init__.py: __version__": init[1] if init else None,
        f"{CHART}/Chart.yaml: version": chart["version"],
        f"{CHART}/Chart.yaml: appVersion": chart["appVersion"],
    }
    others = [
        f"{where} is {other}, the tag says {version}" for where, other in told.items() if other != version
    ]
    if others:
        raise ProblemError("\n".join(others))
    section(root / "CHANGELOG.md", version)


def notes(root: Path, tag: str, repository: str, image: str) -> str:
    """The changelog's section in Markdown, with links that lead to the files of that tag, and the image by digest.

    repository: `owner/name` on GitHub.

    Raises:
        ProblemError: the tag is no version's, it has no section, or the image is named without its digest.
    """
    _refuse_no_digest(image)
    files = f"https://github.com/{repository}/blob/{tag}/"
    told = _RELATIVE.sub(
        lambda link: f"]({files}{link['path']})", section(root / "CHANGELOG.md", version_of(tag))
    )
    how = f"[how to verify it]({files}docs/releasing.md#verify-what-is-published)"
    return f"{told}\n\n### Image\n\n`{image}`, signed; {how}."


def _refuse_no_digest(image: str) -> None:
    if _IMAGE.fullmatch(image) is None:
        raise ProblemError(f"{image}: name the image by digest, HOST/NAME@sha256:...")


def stamp_chart(root: Path, image: str, folder: Path) -> Path:
    """A copy of the chart in `folder`, whose default image is `image`; returns where it lies.

    Raises:
        ProblemError: the image is named without its digest, or the chart's values have no empty image to fill.
    """
    _refuse_no_digest(image)
    target = folder / Path(CHART).name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(root / CHART, target)
    values = target / "values.yaml"
    text, count = re.subn(r'^image: ""$', f'image: "{image}"', values.read_text(), flags=re.MULTILINE)
    if count != 1:
        raise ProblemError(f'{CHART}/values.yaml: no line `image: ""`')
    values.write_text(text)
    return target


@click.group()
def release() -> None:
    """Called by the workflows; see docs/releasing.md."""


@release.command("check")
@click.argument("tag")
def _check(tag: str) -> None:
    _or_exit(lambda: check(ROOT, tag))


@release.command("notes")
@click.argument("tag")
@click.argument("repository")
@click.argument("image")
def _notes(tag: str, repository: str, image: str) -> None:
    click.echo(_or_exit(lambda: notes(ROOT, tag, repository, image)))


@release.command("chart")
@click.argument("image")
@click.argument("folder", type=click.Path(path_type=Path))
def _chart(image: str, folder: Path) -> None:
    click.echo(_or_exit(lambda: stamp_chart(ROOT, image, folder)))


def _or_exit(what: Callable[[], T]) -> T:
    try:
        return what()
    except ProblemError as problem:
        for line in str(problem).splitlines():
            click.echo(f"error: {line}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    release()

"""What a release is made of: a tag that disagrees stops it, notes follow the changelog, the chart knows its image."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

import octjob
from docs.problem import ProblemError
from docs.release import check, notes, release, section, stamp_chart
from tests.cluster.charts import helm

ROOT = Path(__file__).parents[3]
IMAGE = f"registry.example.org/owner/octjob@sha256:{'0' * 64}"
CHANGELOG = """\
# Changelog

## [Unreleased]

- Not out yet.

## [0.2.0] - 2026-12-31

### Added

- `octjob fly` ([sweeps](docs/sweeps.md#grid), [elsewhere](https://example.org/a)).

## [0.1.0] - 2026-11-30

- The first.
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository that is ready for the tag v0.2.0."""
    for name in ("pyproject.toml", "octjob/__init__.py", "charts/octjob/Chart.yaml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((ROOT / name).read_text().replace(octjob.__version__, "0.2.0"))
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    return tmp_path


def test_a_tag_that_everything_agrees_with_passes(root: Path) -> None:
    check(root, "v0.2.0")


@pytest.mark.parametrize(
    ("name", "before", "after", "said"),
    [
        ("pyproject.toml", 'version = "0.2.0"', 'version = "0.1.9"', "pyproject.toml: version is 0.1.9"),
        ("octjob/__init__.py", '"0.2.0"', '"0.1.9"', "octjob/__init__.py: __version__ is 0.1.9"),
        ("charts/octjob/Chart.yaml", "\nversion: 0.2.0", "\nversion: 0.1.9", "Chart.yaml: version is 0.1.9"),
        ("charts/octjob/Chart.yaml", 'appVersion: "0.2.0"', 'appVersion: "0.1.9"', "appVersion is 0.1.9"),
        ("CHANGELOG.md", "[0.2.0] - 2026-12-31", "[0.2.1] - 2026-12-31", r"no heading `## \[0.2.0\] - YEAR"),
        ("CHANGELOG.md", "[0.2.0] - 2026-12-31", "[0.2.0]", "needs the day"),
        ("CHANGELOG.md", "2026-12-31", "2026-12-32", "needs the day"),
    ],
)
def test_a_file_that_says_otherwise_is_named(
    root: Path, name: str, before: str, after: str, said: str
) -> None:
    path = root / name
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(ProblemError, match=said):
        check(root, "v0.2.0")


@pytest.mark.parametrize("tag", ["0.2.0", "v0.2", "v0.2.0rc1", "v0.2.0\n"])
def test_a_tag_of_another_form_is_refused(root: Path, tag: str) -> None:
    with pytest.raises(ProblemError, match=r"such as v0\.2\.0"):
        check(root, tag)


def test_a_heading_without_text_is_refused(root: Path) -> None:
    path = root / "CHANGELOG.md"
    path.write_text(re.sub(r"### Added.*?(?=## \[0.1.0\])", "", path.read_text(), flags=re.DOTALL))
    with pytest.raises(ProblemError, match="nothing stands below"):
        section(path, "0.2.0")


def test_notes_are_that_section_with_links_to_the_tag_and_the_image(root: Path) -> None:
    files = "https://github.com/owner/octjob/blob/v0.2.0"
    assert notes(root, "v0.2.0", "owner/octjob", IMAGE) == (
        f"### Added\n\n- `octjob fly` ([sweeps]({files}/docs/sweeps.md#grid), [elsewhere](https://example.org/a)).\n\n"
        f"### Image\n\n`{IMAGE}`, signed; [how to verify it]({files}/docs/releasing.md#verify-what-is-published)."
    )


def test_notes_point_to_a_heading_that_is_there() -> None:
    assert "\n## Verify what is published\n" in (ROOT / "docs/releasing.md").read_text()


def test_the_last_section_ends_with_the_file(root: Path) -> None:
    assert section(root / "CHANGELOG.md", "0.1.0") == "- The first."


@pytest.mark.parametrize("image", ["registry.example.org/octjob:0.2.0", "octjob@sha256:0"])
def test_an_image_without_digest_gets_into_neither_notes_nor_chart(
    root: Path, tmp_path: Path, image: str
) -> None:
    with pytest.raises(ProblemError, match="by digest"):
        notes(root, "v0.2.0", "owner/octjob", image)
    with pytest.raises(ProblemError, match="by digest"):
        stamp_chart(ROOT, image, tmp_path)


def test_a_stamped_chart_differs_in_its_image_alone(tmp_path: Path) -> None:
    stamped = stamp_chart(ROOT, IMAGE, tmp_path)
    values, before = ((path / "values.yaml").read_text() for path in (stamped, ROOT / "charts/octjob"))
    assert yaml.safe_load(values) == {**yaml.safe_load(before), "image": IMAGE}
    changed = [line for line in values.splitlines() if line not in before.splitlines()]
    assert changed == [f'image: "{IMAGE}"']


@pytest.mark.chart
def test_helm_packages_the_stamped_chart_under_its_version(tmp_path: Path) -> None:
    helm("package", stamp_chart(ROOT, IMAGE, tmp_path), "--destination", tmp_path)
    packed = tmp_path / f"octjob-{octjob.__version__}.tgz"
    assert yaml.safe_load(helm("show", "values", packed))["image"] == IMAGE


def test_a_chart_that_has_an_image_already_is_not_stamped_again(tmp_path: Path) -> None:
    shutil.copytree(stamp_chart(ROOT, IMAGE, tmp_path / "once"), tmp_path / "charts/octjob")
    with pytest.raises(ProblemError, match=r"values\.yaml: no line"):
        stamp_chart(tmp_path, IMAGE, tmp_path / "twice")


def test_the_command_ends_with_an_error_line_for_each_file() -> None:
    done = CliRunner().invoke(release, ["check", "v99.0.0"])
    assert done.exit_code == 1
    assert len(re.findall(r"^error: .* is .*, the tag says 99.0.0$", done.stderr, re.MULTILINE)) == 4

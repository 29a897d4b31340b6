"""`octjob report`: the leaderboard as one page to look at, or as a table for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from octjob.cli.complete import complete_target
from octjob.errors import AccessError, SpecError

if TYPE_CHECKING:
    from octjob.spec.experiment import Log
    from octjob.storage.base import ObjectStore

_FORMATS = ("html", "pdf", "md", "tex", "csv")


@click.command()
@click.argument("sweep", shell_complete=complete_target)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write.  [default: <sweep>.<format>]",
)
@click.option(
    "--format", "form", type=click.Choice(_FORMATS), help="Default: by the file's ending, else html."
)
@click.option(
    "--checklist",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write methods and checklists, TRIPOD+AI and CLAIM, as Markdown to this file.",
)
@click.option(
    "--with-images", is_flag=True, help="Show example B-scans, which runs with log.images left; html and pdf."
)
@click.option("--wandb", is_flag=True, help="Also log the file to W&B, in the project of the sweep's runs.")
def report(
    sweep: str,
    output: Path | None,
    form: str | None,
    checklist: Path | None,
    with_images: bool,
    wandb: bool,
) -> None:
    """Draw the leaderboard of SWEEP as one file to look at.

    SWEEP is a sweep's URI or directory, or its YAML file; `octjob collect` must have seen its last result. The page
    says first which checkpoint is best, and whether these data can tell at all. It asks no other file or host for
    anything, so it can be mailed, archived and printed. md and csv are what collect stored, tex is a table for
    booktabs, and pdf is the page, printed by a Chromium of this machine. --checklist writes what a paper's supplement
    needs: methods in words, digests, configurations whole, and what the records answer of two reporting guidelines.
    --with-images shows B-scans of participants: mind where such a page travels. --wandb needs octjob[train], and a
    config of the sweep with log.wandb.

    \b
    Example:
      octjob report sweeps/phase3.yaml -o phase3.html
      octjob report gs://bucket/octjob/phase3 --format tex
      octjob report sweeps/phase3.yaml -o phase3.pdf --checklist supplement.md
      octjob report gs://bucket/octjob/phase3 --with-images -o with-scans.html
      octjob report gs://bucket/octjob/phase3 --wandb
    """
    from octjob.leaderboard.stored import read_leaderboard, sentence
    from octjob.records.find import open_sweep

    store = open_sweep(sweep)
    log = _wandb_settings(store) if wandb else None
    document = read_leaderboard(store)
    form = form or _form_of(output)
    path = output or Path(f"{document['sweep']}.{form}")
    content = _content(store, document, form, with_images)
    _write(path, content, "-o")
    if checklist is not None:
        from octjob.report.supplement import to_supplement

        _write(checklist, to_supplement(document).encode(), "--checklist")
    click.echo(sentence(document))
    click.echo(f"Wrote {path}{f' and {checklist}' if checklist else ''}", err=True)
    if log is not None:
        from octjob.tracking.report import log_report

        facts = {"sweep": store.root, "metric": document["metric"], "headline": sentence(document)}
        log_report(document["sweep"], log, f"report.{form}", content, facts)
        click.echo(f"Logged to W&B project {log.wandb_project}", err=True)


def _write(path: Path, content: bytes, option: str) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise AccessError(
            f"{path}: cannot be written: {error.strerror}", f"Give another file with {option}."
        ) from None


def _wandb_settings(store: ObjectStore) -> Log:
    """Those of the first configuration that has W&B on. Raises `SpecError` where none has."""
    from octjob.records.layout import read_spec, read_sweep
    from octjob.tracking.report import require_wandb

    require_wandb()
    one_each = {run.config: run.run_id for run in reversed(read_sweep(store).runs)}
    for run_id in reversed(one_each.values()):
        log = read_spec(store, run_id).config.log
        if log.wandb:
            return log
    raise SpecError(
        "--wandb: no configuration of the sweep has log.wandb", "Leave --wandb out; the file is all there is."
    )


def _form_of(output: Path | None) -> str:
    if output is None:
        return "html"
    ending = output.suffix.removeprefix(".")
    if ending not in _FORMATS:
        raise SpecError(
            f"-o {output}: no form of a report ends in {output.suffix or 'nothing'}",
            f"End it in .{', .'.join(_FORMATS)}, or say --format.",
        )
    return ending


def _content(store: ObjectStore, document: dict[str, Any], form: str, with_images: bool) -> bytes:
    if with_images and form not in ("html", "pdf"):
        raise SpecError(f"--with-images: {form} has no pictures", "Write html or pdf, or leave it out.")
    if form in ("md", "csv"):
        from octjob.leaderboard.stored import read_beside

        return read_beside(store, document, form)
    if form == "tex":
        from octjob.leaderboard.latex import to_latex

        return to_latex(document).encode()
    from octjob.report.page import to_html

    page = to_html(document, _images(store, document) if with_images else None).encode()
    if form == "html":
        return page
    from octjob.report.pdf import to_pdf

    return to_pdf(page)


def _images(store: ObjectStore, document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The examples of the runs that have some. Raises `SpecError` where none has."""
    from octjob.leaderboard.stored import read_images

    images = read_images(store, document)
    if not images:
        raise SpecError(
            "--with-images: no run of the sweep stored any",
            "Set `log.images` to how many participants to show, and carry the runs out under a new sweep name.",
        )
    return images

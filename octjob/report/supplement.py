"""Methods and checklists as Markdown, for the supplement of a paper."""

from __future__ import annotations

import re

from octjob import __version__
from octjob.errors import one_line
from octjob.report.checklist import FilledGuideline, filled_guidelines
from octjob.report.methods import config_texts, paragraphs, run_texts
from octjob.report.view import Json

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")


def to_supplement(document: Json) -> str:
    """document: `leaderboard.json`. A function of it alone."""
    lines = [f"# {plain(document['sweep'])}: methods and checklists", ""]
    lines += [plain("".join(part["text"] for part in document["headline"]["parts"])), "", "## Methods"]
    for one in paragraphs(document):
        said = [plain(line) for line in one.lines]
        lines += ["", f"### {one.title}", "", *(said if len(said) == 1 else (f"- {line}" for line in said))]
    lines += [
        "",
        "### Of the numbers in the table",
        "",
        *(f"- {plain(text)}" for text in document["footnotes"]),
    ]
    lines += ["", "### Runs", "", *_runs(document), "", "### Configurations"]
    for text in config_texts(document):
        fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text.yaml)), default=0))
        lines += [
            "",
            f"{plain(text.name)}, SHA-256 `{text.sha256}`:",
            "",
            f"{fence}yaml",
            text.yaml.rstrip(),
            fence,
        ]
    for guideline in filled_guidelines(document):
        lines += ["", *_guideline(guideline)]
    return "\n".join([*lines, "", f"Written by octjob {__version__} from {document['schema']}.", ""])


def _runs(document: Json) -> list[str]:
    header = ("run", "spec.json, SHA-256", "configuration, SHA-256", "octjob", "image", "finished")
    rows = [
        (one.run_id, one.spec, one.config, one.octjob, one.image, one.finished) for one in run_texts(document)
    ]
    return [_row(header), _row(["---"] * len(header)), *(_row([plain(cell) for cell in row]) for row in rows)]


def _guideline(guideline: FilledGuideline) -> list[str]:
    return [
        f"## {guideline.name} ({guideline.version})",
        "",
        f"{plain(guideline.citation)}, https://doi.org/{guideline.doi}. Topics are in words of our own."
        f" {guideline.tally}.",
        "",
        _row(["item", "topic", "state", "from the records"]),
        _row(["---"] * 4),
        *(_row([item.number, plain(item.topic), item.state, plain(item.text)]) for item in guideline.rows),
    ]


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def plain(text: str) -> str:
    """A text that means itself in Markdown, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(one_line(text).split()))

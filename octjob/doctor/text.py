"""A diagnosis as text: the first cause in one sentence, then a line a gate."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from typing import Any

from octjob.doctor.finding import Diagnosis, Finding

# Raised where a key of `-o json` goes away or means something else.
DOCTOR_SCHEMA = "octjob.doctor/1"
_WIDTH = 110


def to_text(one: Diagnosis, *, wide: bool = False) -> str:
    """As people read it. wide: with the evidence of every gate, else of the first cause alone."""
    lines = _wrapped(_sentence(one))
    if one.cause is not None and one.cause.cure:
        lines += _wrapped(f"Cure: {one.cause.cure}")
    lines.append("")
    width = max(len(finding.gate) for finding in one.findings)
    for finding in one.findings:
        lines += _gate(finding, width)
        if wide or finding is one.cause:
            lines += [line for told in finding.evidence for line in _indented(told, width)]
        if finding.cure and finding is not one.cause:
            lines += _indented(f"cure: {finding.cure}", width)
    return "\n".join(lines) + "\n"


def to_json(one: Diagnosis) -> str:
    """As programs read it."""
    document: dict[str, Any] = {"schema": DOCTOR_SCHEMA, **asdict(one)}
    return json.dumps(document, indent=1) + "\n"


def _sentence(one: Diagnosis) -> str:
    if one.cause is not None:
        return f"First cause: {one.cause.said} ({one.first_cause})."
    judged = sum(finding.verdict != "not judged" for finding in one.findings)
    runs = "in 1 run" if one.num_runs == 1 else f"in {one.num_runs} runs"
    where = runs if one.num_runs else "before a run"
    return f"Nothing found {where}: {judged} of {len(one.findings)} gates judged, all passed."


def _gate(one: Finding, width: int) -> list[str]:
    start = f"{one.verdict:10}  {one.gate:{width}}  "
    return textwrap.wrap(one.said, _WIDTH, initial_indent=start, subsequent_indent=" " * len(start), **_WHOLE)


def _indented(text: str, width: int) -> list[str]:
    indent = " " * (14 + width)
    return textwrap.wrap(
        text, _WIDTH, initial_indent=indent + "- ", subsequent_indent=indent + "  ", **_WHOLE
    )


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, **_WHOLE)


# A URI or a run's name stays whole, so that it can be copied.
_WHOLE: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}

"""The page itself: one file that asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from octjob import __version__
from octjob.report import charts, predictions, view
from octjob.report.checklist import filled_guidelines
from octjob.report.checkpoints import checkpoints_of, closeness_of
from octjob.report.facts import facts_of
from octjob.report.flow import flows_of
from octjob.report.label_efficiency import learning_of
from octjob.report.many import (
    MAX_CHECKPOINTS,
    detail_notes,
    many_of,
    shortened,
    shorter_guidelines,
    shorter_paragraphs,
)
from octjob.report.maps import KEYS, maps_of
from octjob.report.methods import config_texts, paragraphs, run_texts
from octjob.report.scans import scans_of
from octjob.report.secondary import secondary_of
from octjob.report.steps import steps_of
from octjob.report.view import Json

STYLES = ("page.css", "sections.css", "methods.css")


def to_html(document: Json, images: Mapping[str, Json] | None = None) -> str:
    """A whole page, a function of the document alone. document: `leaderboard.json`.

    images: `examples.json` by run id, which a page with pictures shows besides.
    """
    values, lifts = view.value_scale(document), view.lift_scale(document)
    many = many_of(document, values)
    style = "".join(map(_asset, STYLES if many is None else (*STYLES, "many.css")))
    script = _asset("page.js")
    lines = view.lines_of(document)
    table = lines if many is None else [line for line in lines if line.run_id in many.table.run_ids]
    ranked = [line for line in table if line.ranked]
    unranked = [line for line in table if not line.ranked]
    # What a control answers, class by class, tells nothing of an encoder.
    encoded = [line for line in lines if not line.is_control]
    drawn = encoded if many is None else [line for line in encoded if line.run_id in many.drawn.run_ids]
    ordered = lines if many is None else [line for line in lines if line.run_id in many.panels]
    chance = view.chance_of(document)
    leader = ranked[0] if ranked else None
    guidelines = filled_guidelines(document)
    listed = document if many is None else shortened(document, many)
    context: dict[str, Any] = {
        "document": document,
        "version": __version__,
        "scope": predictions.scope_of(document),
        "reading": view.reading_of(document),
        "prevalence": predictions.prevalence_of(document),
        "number_tick": lambda value: view.number(value, 2).rstrip("0").rstrip("."),
        "signed_tick": lambda value: view.signed(value, 2).rstrip("0").rstrip(".") if value else "0",
        "style": style,
        "script": script,
        "policy": f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}"
        + ("; img-src data:" if images else ""),
        "facts": facts_of(document),
        "first": (ranked + unranked)[: view.FIRST_ROWS],
        "tail": (ranked + unranked)[view.FIRST_ROWS :],
        "lines": table,
        "many": many,
        "notes": detail_notes(document) if many is None else many.notes,
        "remarked": listed["rows"],
        "warnings": listed["warnings"],
        "encoders": listed["methods"]["checkpoints"],
        "unfinished": [row for row in document["rows"] if not row["metrics"]],
        "values": values,
        "lifts": lifts,
        "lift_over": view.lift_over(document),
        "chance": None if chance is None else values.at(chance),
        "chance_value": chance,
        "leader": leader,
        "panels": view.panels_of(document, ordered),
        "checkpoints": {line.checkpoint: line.colour for line in encoded},
        "truth": predictions.truth_of(document),
        "bars": predictions.bars_of(document, drawn),
        "matrices": predictions.matrices_of(document, drawn),
        "scores": predictions.class_scores_of(document, drawn),
        "curves": charts.curve_panels(document, lines),
        "curve_scale": charts.curve_scale(document),
        "calibrations": charts.calibration_panels(document, lines),
        "best_runs": charts.best_runs(document, lines, values),
        "learning": learning_of(document, lines),
        "asked": secondary_of(document, lines),
        "loaded": checkpoints_of(document)[: None if many is None else MAX_CHECKPOINTS],
        "closeness": closeness_of(document),
        "flows": flows_of(document),
        "maps": maps_of(document),
        "keys": KEYS,
        "scans": scans_of(document, images or {}),
        "steps": steps_of(document),
        "methods": paragraphs(document) if many is None else shorter_paragraphs(paragraphs(document)),
        "repeats": run_texts(listed),
        "configs": config_texts(listed),
        "guidelines": guidelines if many is None else shorter_guidelines(guidelines),
        "metric": _label(document["metric"]),
        "number": view.number,
    }
    return _environment().get_template("page.html.j2").render(context)


def _label(metric: str) -> str:
    from octjob.catalog import METRICS

    label = METRICS[metric].label
    return label[0].upper() + label[1:]


def _asset(name: str) -> str:
    return (resources.files("octjob.report") / name).read_text()


def _source(text: str) -> str:
    """What a Content-Security-Policy calls an inline text that it lets pass."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("octjob.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

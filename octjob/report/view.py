"""What the page shows, as plain values for the template: from `leaderboard.json`, without arithmetic of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from octjob.catalog import METRICS
from octjob.report.scale import Scale, scale_over

Json = Mapping[str, Any]

MINUS = "\u2212"
# Rows that the first screen has room for; the others fold.
FIRST_ROWS = 12
# Checkpoints beyond the palette share its last, grey, colour: names tell them apart anyway.
NUM_COLOURS = 6
_MAX_REASON = 60
# Controls that do see an image.
_IS_WHAT = {"pixel_pca": "has no encoder", "target_encoder": "the file\u2019s target encoder"}


@dataclass(frozen=True)
class Mark:
    """A point with an interval on an axis, in per cent of its width, and the same in words."""

    at: float
    low: float | None
    high: float | None
    text: str
    interval: str
    star: bool = False


@dataclass(frozen=True)
class Line:
    """One run in the forest table. standing: leads, tied, behind, or a dash for one without a rank."""

    run_id: str
    checkpoint: str
    config: str
    colour: int
    standing: str
    ranked: bool
    is_control: bool
    reason: str
    value: Mark | None
    lift: Mark | None
    lift_text: str
    value_key: float
    lift_key: float


@dataclass(frozen=True)
class Panel:
    """One configuration: each checkpoint's mark, in the order of the page's checkpoints."""

    config: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Fact:
    """A number that matters beside the table."""

    label: str
    value: str
    text: str
    bad: bool = False


def number(value: float | None, digits: int = 3) -> str:
    """`0.718`, with a true minus; a dash where there is none."""
    return "\u2013" if value is None else f"{value:.{digits}f}".replace("-", MINUS)


def signed(value: float, digits: int = 2) -> str:
    """`+0.23`."""
    return f"{value:+.{digits}f}".replace("-", MINUS)


def runs_of(document: Json) -> list[Json]:
    """The rows of checkpoints' runs; those of controls are the others."""
    return [row for row in document["rows"] if not row.get("control")]


def shown_checkpoint(row: Json) -> str:
    """The checkpoint's name, with how many initialisations the row folds."""
    members = len(row.get("members", ()))
    return f"{row['checkpoint']} ({members})" if members else str(row["checkpoint"])


def has_lifts(document: Json) -> bool:
    """Whether untrained encoders were run; the page's lifts are then over them, and else over the baseline."""
    return any(row.get("lift") or row.get("members") for row in document["rows"])


def lift_over(document: Json) -> str:
    """What the page's lifts are over; empty where there is nothing."""
    return "untrained" if has_lifts(document) else document["baseline"] or ""


def _lift_of(row: Json, of_lifts: bool) -> Json | None:
    """The row's lift, with `difference`, bounds and `p_holm`; None where it has none. of_lifts: `has_lifts`."""
    if of_lifts:
        one = row.get("lift")
        return {**one, "difference": one["value"]} if one else None
    against: Json | None = row["vs_checkpoint"]
    return against if against and against["difference"] is not None else None


def lines_of(document: Json) -> list[Line]:
    """Every run with a result, in the order of the table."""
    rows = [row for row in document["rows"] if row["metrics"]]
    values, lifts = value_scale(document), lift_scale(document)
    colours = colours_of(document)
    of_lifts = has_lifts(document)
    return [_line(document, row, values, lifts, colours, of_lifts) for row in rows]


def colours_of(document: Json) -> dict[str, int]:
    """A colour a checkpoint; the baseline, if there is one, is grey (the last), and so are controls."""
    names = list(dict.fromkeys(row["checkpoint"] for row in runs_of(document)))
    controls = {row["checkpoint"]: NUM_COLOURS - 1 for row in document["rows"] if row.get("control")}
    others = [name for name in names if name != document["baseline"]]
    colours = {name: min(index, NUM_COLOURS - 2) for index, name in enumerate(others)}
    return colours | ({document["baseline"]: NUM_COLOURS - 1} if document["baseline"] else {}) | controls


def chance_of(document: Json) -> float | None:
    """What any predictor that ignores its input scores in the metric ranked by."""
    return METRICS[document["metric"]].chance(len(document["class_names"]))


def value_scale(document: Json) -> Scale:
    """Of the metric ranked by, over every interval and chance."""
    chance = chance_of(document)
    found = [
        bound
        for row in document["rows"]
        if row["metrics"]
        for bound in _bounds(row["metrics"][document["metric"]])
    ]
    centre = chance if chance is not None else (min(found, default=0.0))
    return scale_over(found, centre, centre + 0.1)


def lift_scale(document: Json) -> Scale:
    """Of lifts."""
    of_lifts = has_lifts(document)
    found = [
        bound
        for row in document["rows"]
        if (one := _lift_of(row, of_lifts))
        for bound in _bounds({**one, "value": one["difference"]})
    ]
    return scale_over(found, -0.05, 0.05, max_ticks=3)


def _bounds(estimate: Json) -> list[float]:
    return [estimate[key] for key in ("value", "low", "high") if estimate.get(key) is not None]


def _line(
    document: Json, row: Json, values: Scale, lifts: Scale, colours: Mapping[str, int], of_lifts: bool
) -> Line:
    estimate = row["metrics"][document["metric"]]
    ranked = row["rank"] is not None
    against = _lift_of(row, of_lifts)
    is_reference = bool(row.get("members")) if of_lifts else row["checkpoint"] == document["baseline"]
    lift = _lift(against, lifts) if against else None
    return Line(
        run_id=row["run_id"],
        checkpoint=shown_checkpoint(row),
        config=row["config"],
        colour=colours[row["checkpoint"]],
        standing=standing_of(document, row),
        ranked=ranked,
        is_control=bool(row.get("control")),
        reason="" if ranked else reason_of(document, row),
        value=whole_mark(estimate, values),
        lift=lift,
        lift_text="reference" if is_reference else "" if lift or row.get("control") else "not compared",
        value_key=-9.0 if estimate["value"] is None else estimate["value"],
        lift_key=-9.0 if against is None else against["difference"],
    )


def standing_of(document: Json, row: Json) -> str:
    """How a run stands to the leader."""
    if row["rank"] is None:
        return "\u2013"
    if row["run_id"] == document["headline"]["leader"]:
        return "leads"
    return "tied" if row["vs_leader"]["tied"] else "behind"


def reason_of(document: Json, row: Json) -> str:
    """Why a run has no rank, short: the state, and what comes first in its reasons; how far a control is behind the
    leader."""
    if row.get("members"):
        return "untrained; their mean and range"
    if row.get("control") == "shuffled_labels" and row["metrics"]:
        return "shuffled labels; mean, 2.5 to 97.5 % of the shuffles"
    if row.get("control") and (lead := row["vs_leader"]):
        value, low, high = (signed(lead[key], 2) for key in ("difference", "low", "high"))
        what = _IS_WHAT.get(row["control"], "sees no image")
        return f"{what}; leader {'not ' if lead['low'] <= 0 else ''}ahead: {value} [{low}, {high}]"
    words: str = row["verdict"].replace("_", " ") or row["state"]
    if row["verdict"] == "no_signal":
        return f"{words}: permuted labels do as well (p = {row['signal']['p_holm']:.2g})"
    if row["verdict"] == "collapsed" and (said := _most_answered(document, row)):
        return f"{words}: {shortened(said)}"
    first = row["reasons"][0] if row["reasons"] else ""
    if row["verdict"] == "ok" and first:
        return shortened(first)
    return f"{words}: {shortened(first)}" if first else words


# Below it no class stands for all answers: every seed may have one of its own.
_NEARLY_ALL = 0.9


def _most_answered(document: Json, row: Json) -> str:
    """`answers oral/injectable for everyone`, or for what share; empty where no one class does."""
    counts = row["prediction_counts"]
    most, total = max(counts, default=0), sum(counts)
    if most < _NEARLY_ALL * total or not total:
        return str(row["reasons"][0]).partition(", the first")[0] if row["reasons"] else ""
    who = "everyone" if most == total else f"{min(99, round(100 * most / total))} %"
    return f"answers {document['class_short_names'][counts.index(most)]} for {who}"


def shortened(text: str) -> str:
    """At most a line; the whole text stands further down."""
    return text if len(text) <= _MAX_REASON else f"{text[: _MAX_REASON - 1].rstrip()}\u2026"


def whole_mark(estimate: Json, scale: Scale) -> Mark | None:
    """The mark of an estimate with `value`, `low` and `high`; None where it is not defined."""
    if estimate["value"] is None:
        return None
    low, high = estimate["low"], estimate["high"]
    if low is None or high is None:
        return Mark(scale.at(estimate["value"]), None, None, number(estimate["value"]), "")
    interval = f"[{number(low, 2)}, {number(high, 2)}]"
    return Mark(
        scale.at(estimate["value"]), scale.at(low), scale.at(high), number(estimate["value"]), interval
    )


def _lift(against: Json, scale: Scale) -> Mark:
    low, high = against["low"], against["high"]
    star = against["p_holm"] is not None and against["p_holm"] < 0.05
    bounded = low is not None and high is not None
    return Mark(
        scale.at(against["difference"]),
        scale.at(low) if bounded else None,
        scale.at(high) if bounded else None,
        signed(against["difference"]),
        f"[{signed(low)}, {signed(high)}]" if bounded else "",
        star,
    )


def panels_of(document: Json, lines: Sequence[Line]) -> list[Panel]:
    """A panel a configuration, in the order of their best runs."""
    checkpoints = list(colours_of(document))
    controls = {row["run_id"] for row in document["rows"] if row.get("control")}
    lines = [line for line in lines if line.run_id not in controls]
    configs = list(dict.fromkeys(line.config for line in lines))
    return [
        Panel(
            config,
            tuple(
                sorted(
                    (line for line in lines if line.config == config),
                    key=lambda line: checkpoints.index(line.checkpoint),
                )
            ),
        )
        for config in configs
    ]


def reading_of(document: Json) -> str:
    """How to read the table."""
    label = METRICS[document["metric"]].label
    texts = [
        f"{label[0].upper()}{label[1:]} with its 95 % interval; dotted line: chance; solid line: the leader.",
        "Tied: the interval of the paired difference from the leader, at one level for all pairs, includes zero;"
        " single intervals may overlap although the difference is clear.",
    ]
    if has_lifts(document):
        texts.append(
            "Lift: difference from the mean of untrained encoders under the same configuration; the interval takes"
            " the checkpoint for one more of them. * Holm-adjusted p < 0.05."
        )
    elif document["baseline"]:
        texts.append(
            f"Lift: difference from {document['baseline']} under the same configuration. * Holm-adjusted p < 0.05."
        )
    corrected = document["selection_corrected"]
    if corrected and corrected["num_runs"] > 1:
        texts.append(
            f"Without the luck of being picked from {corrected['num_runs']}, the best is worth"
            f" {number(corrected['value'], 2)}."
        )
    return " ".join(texts)

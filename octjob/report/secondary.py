"""Secondary questions of the best run of each checkpoint, as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from octjob.catalog import METRICS
from octjob.report.view import Json, Line, number, signed

_KEYS = ("first_class", "last_class", "order", "brier_skill", "slope")


@dataclass(frozen=True)
class Cell:
    """A number with its interval; or a dash, with a reason."""

    text: str
    interval: str = ""
    reason: str = ""


@dataclass(frozen=True)
class AskedRun:
    """cells: in the order of `headers`. differences: (which groups, participants, number)."""

    line: Line
    cells: tuple[Cell, ...]
    notes: tuple[str, ...]
    differences: tuple[tuple[str, str, Cell], ...]


@dataclass(frozen=True)
class Asked:
    """headers: of the table, (what, how it is measured). lead: how to read it."""

    headers: tuple[tuple[str, str], ...]
    lead: tuple[str, ...]
    runs: tuple[AskedRun, ...]


def secondary_of(document: Json, lines: Sequence[Line]) -> Asked | None:
    """None where no run is ranked."""
    asked = document["secondary"]
    if not asked["runs"]:
        return None
    by_run = {line.run_id: line for line in lines}
    keys = [key for key in _KEYS if not asked["not_asked"] or key in ("brier_skill", "slope")]
    names = document["class_short_names"]
    headers = {
        "first_class": (f"{names[0]} against all others", "AUROC"),
        "last_class": (f"{names[-1]} against all others", "AUROC"),
        "order": ("order of the classes", "Somers\u2019 D"),
        "brier_skill": ("better than the training shares", "Brier skill score"),
        "slope": ("calibration", "slope"),
    }
    label = METRICS[asked["metric"]].label
    lead = [asked["not_asked"]] if asked["not_asked"] else [_ORDER]
    lead += [_CALIBRATION, _DIFFERENCES.format(label=label)]
    return Asked(
        tuple(headers[key] for key in keys),
        tuple(lead),
        tuple(_run(one, by_run[one["run_id"]], keys, names) for one in asked["runs"]),
    )


_ORDER = (
    "The four classes are ordered by treatment, not by severity. Somers\u2019 D: of two participants of different"
    " classes, how much oftener the expected class is later for the one of the later class than earlier; 0 is"
    " chance, 1 perfect."
)
_CALIBRATION = (
    "Brier skill: 1 is perfect, 0 no better than always answering the training shares. Slope: 1 is well calibrated,"
    " below 1 too sure of itself; intercepts, at slope 1: 0 where a class occurs as often as the probabilities say,"
    " which they cannot where others were scored than trained on."
)
_DIFFERENCES = (
    "Differences between a part of the data and the rest, in {label}: the intervals of one run hold together at 95 %"
    " (max-T). All of it is of runs that were picked on the same participants, and is no test of its own."
)


def _run(one: Json, line: Line, keys: Sequence[str], names: Sequence[str]) -> AskedRun:
    notes = []
    if one["intercepts"]:
        told = (
            f"{name} {cell.text} {cell.interval}"
            for name, cell in zip(names, (_cell(each, plus=True) for each in one["intercepts"]), strict=True)
        )
        notes.append(f"Intercepts: {', '.join(told)}.")
    notes += [
        f"No {what}: {one[key]['reason']}."
        for key, what in (("brier_skill", "Brier skill"), ("slope", "slope"))
        if one[key]["reason"]
    ]
    if not one["at_training_shares"]:
        notes.append("The shares that the loss saw are not known, so nothing was divided out.")
    groups = tuple(
        (_against(each), f"n = {each['n']}, {each['n_rest']}", _difference(each))
        for each in one["differences"]
    )
    return AskedRun(line, tuple(_cell(one[key]) for key in keys), tuple(notes), groups)


def _against(one: Json) -> str:
    """Two groups of a field are each other's rest."""
    return f"{one['name']} against {one['rest']}" if one["rest"] else str(one["name"])


def _difference(one: Json) -> Cell:
    return _cell({**one, "value": one["difference"]}, plus=True)


def _cell(one: Json, *, plus: bool = False) -> Cell:
    value, low, high = one["value"], one["low"], one["high"]
    if value is None:
        return Cell("\u2013", reason=one["reason"])
    told = [signed(x) if plus else number(x, 2) for x in (value, low, high) if x is not None]
    return Cell(told[0], f"[{', '.join(told[1:])}]" if len(told) == 3 else "")

"""The checkpoints as the page shows them: a table of what each says of itself, and matrices of how alike they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from octjob.report.view import Json, colours_of, number

_DIGITS_OF_DIGEST = 12


@dataclass(frozen=True)
class Loaded:
    """One checkpoint: its cells as text, in the order of the table's columns."""

    name: str
    colour: int
    bad: bool
    verdict: str
    cells: tuple[str, ...]
    same: str


@dataclass(frozen=True)
class Closeness:
    """One matrix: names with colours, of rows and columns alike; a cell a pair, as text and shade 0 to 9, None on the
    diagonal. unknown: why cells have no number, empty where all have."""

    title: str
    names: tuple[tuple[str, int], ...]
    rows: tuple[tuple[tuple[str, int] | None, ...], ...]
    unknown: str


def checkpoints_of(document: Json) -> list[Loaded]:
    """Every checkpoint that has a result."""
    colours = colours_of(document)
    return [_loaded(one, colours[one["name"]]) for one in document["checkpoints"]["checkpoints"]]


def _loaded(one: Json, colour: int) -> Loaded:
    moved, parameters = one["from_initialisation"], one["num_parameters"]
    cells = (
        "\u2013" if one["epoch"] is None else str(one["epoch"]),
        one["encoder_taken"] or "\u2013",
        one["coverage_keys"] or "\u2013",
        "\u2013" if parameters is None else f"{parameters / 1e6:.3g}",
        _moved(one["verdict"], moved),
        one["weights_digest"][:_DIGITS_OF_DIGEST] or "\u2013",
    )
    bad = one["verdict"] in ("untrained", "barely trained")
    return Loaded(one["name"], colour, bad, one["verdict"], cells, ", ".join(one["same_weights"]))


def _moved(verdict: str, moved: float | None) -> str:
    """`20 %`; of weights that were never trained it is known without the file's own initialisation."""
    if verdict == "untrained":
        return "not moved"
    return "not in the file" if moved is None else f"{100 * moved:.3g} %"


def closeness_of(document: Json) -> list[Closeness]:
    """How far weights are from each other, and how alike predictions are; nothing with fewer than two checkpoints."""
    if not document["checkpoints"]["pairs"]:
        return []
    return [
        _matrix(
            document,
            "distance",
            "Distance of the weights",
            lambda value: 1 - min(1.0, value / 2**0.5),
            "Not recorded by these runs, or of networks that differ.",
        ),
        _matrix(document, "agreement", "Same class predicted", lambda value: value, _NEVER),
        _matrix(
            document, "correlation", "Correlation of the probabilities", lambda value: max(0.0, value), _NEVER
        ),
    ]


_NEVER = "No configuration in which both predict more than one class for the same participants."


def _matrix(
    document: Json, key: str, title: str, closeness: Callable[[float], float], unknown: str
) -> Closeness:
    """closeness: from a value to 0, nothing in common, to 1, the same; it is the shade."""
    pairs = {frozenset((one["first"], one["second"])): one[key] for one in document["checkpoints"]["pairs"]}
    names = list(
        dict.fromkeys(
            name for one in document["checkpoints"]["pairs"] for name in (one["first"], one["second"])
        )
    )
    colours = colours_of(document)
    rows = tuple(
        tuple(None if a == b else _cell(pairs[frozenset((a, b))], closeness) for b in names) for a in names
    )
    return Closeness(
        title,
        tuple((name, colours[name]) for name in names),
        rows,
        unknown if any(value is None for value in pairs.values()) else "",
    )


def _cell(value: float | None, closeness: Callable[[float], float]) -> tuple[str, int]:
    return (number(value, 2), 0) if value is None else (number(value, 2), min(9, int(10 * closeness(value))))

"""The participant flow as a diagram and as a table, both from the numbers in `leaderboard.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from octjob.report.view import MINUS, Json

# Flows beyond so many are in leaderboard.json only.
MAX_FLOWS = 4
_SPLITS = {"train": "train", "val": "val", "test": "test", "": "no split"}
_POOLED = "cv"
_WIDTH, _BOX, _GAP = 340, 34, 10
_MAIN, _SIDE = 196, 226

Sizes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Box:
    """A rectangle with up to two lines of text, in units of the drawing."""

    x: float
    y: float
    width: float
    height: float
    lines: tuple[str, ...]
    strong: bool = False


@dataclass(frozen=True)
class Row:
    """A line of the table: its letter in the drawing, if it has one, what it is, and a cell a split, then of all."""

    letter: str
    name: str
    cells: tuple[str, ...]
    strong: bool = False


@dataclass(frozen=True)
class Flow:
    """One flow. configs: those it is of, as text. lines: arrows as (x1, y1, x2, y2)."""

    configs: str
    width: int
    height: float
    boxes: tuple[Box, ...]
    lines: tuple[tuple[float, float, float, float], ...]
    splits: tuple[str, ...]
    rows: tuple[Row, ...]
    text: str


def flows_of(document: Json) -> list[Flow]:
    """The flow of most runs first; the names of configurations only where flows differ."""
    several = len(document["flows"]) > 1
    return [_flow(one, several) for one in document["flows"][:MAX_FLOWS]]


def _flow(one: Json, several: bool) -> Flow:
    splits = [split for split in _SPLITS if split in one["listed"]]
    used = {split: one["used"][split] for split in splits if split in one["used"]}
    boxes, lines, height = _drawing(one, splits, used)
    return Flow(
        ", ".join(one["configs"]) if several else "",
        _WIDTH,
        height,
        tuple(boxes),
        tuple(lines),
        tuple(_SPLITS[split] for split in splits),
        _table(one, splits, used),
        _text(one, used),
    )


def _drawing(
    one: Json, splits: Sequence[str], used: Sizes
) -> tuple[list[Box], list[tuple[float, float, float, float]], float]:
    """Boxes downwards: listed, what was left out at the side, the splits, who was scored."""
    boxes = [Box(0, 0, _MAIN, _BOX, ("listed", _short(_total(one["listed"]))))]
    lines: list[tuple[float, float, float, float]] = []
    middle, y = _MAIN / 2, float(_BOX + _GAP)
    for letter, step in zip(_letters(one), one["steps"], strict=True):
        participants, _, volumes = _total(step["lost"])
        told = f"{letter}  {_minus(participants)} · {_minus(volumes)} vol."
        boxes.append(Box(_SIDE, y, _WIDTH - _SIDE, 20, (told,)))
        lines.append((middle, y + 10, _SIDE, y + 10))
        y += 20 + _GAP / 2
    y += _GAP / 2
    left = {split: _left(one, split) for split in splits if split in used or any(_left(one, split))}
    lines.append((middle, _BOX, middle, y))
    width = (_WIDTH - _GAP * (len(left) - 1)) / max(1, len(left))
    for number, (split, size) in enumerate(left.items()):
        x = number * (width + _GAP)
        note = _short(size)
        name = _SPLITS[split] + ("" if split in used else ", not used")
        boxes.append(Box(x, y + 14, width, _BOX, (name, note)))
        lines += [
            (min(middle, x + width / 2), y, max(middle, x + width / 2), y),
            (x + width / 2, y, x + width / 2, y + 14),
        ]
    y += 14 + _BOX
    for scored, size in one["scored"].items():
        sources = list(used) if scored == _POOLED else [split for split in used if split == scored]
        for split in sources:
            x = list(left).index(split) * (width + _GAP) + width / 2
            lines.append((x, y, x, y + 16))
        names = [list(left).index(split) for split in sources] or [0]
        start, end = min(names) * (width + _GAP), max(names) * (width + _GAP) + width
        boxes.append(Box(start, y + 16, end - start, _BOX, ("scored", _short(size)), True))
    return boxes, lines, y + 16 + _BOX


def _table(one: Json, splits: Sequence[str], used: Sizes) -> tuple[Row, ...]:
    def cells(sizes: Sizes) -> tuple[str, ...]:
        own = [_cell(sizes[split]) if split in sizes else "" for split in splits]
        return (*own, _cell(_total(sizes)))

    steps = [
        Row(letter, step["reason"], cells(step["lost"]))
        for letter, step in zip(_letters(one), one["steps"], strict=True)
    ]
    scored = {split: size for split, size in one["scored"].items() if split in splits}
    total = Row("", "scored", cells(scored or one["scored"]), True)
    return (
        Row("", "listed", cells(one["listed"]), True),
        *steps,
        Row("", "used", cells(used), True),
        total,
    )


def _text(one: Json, used: Sizes) -> str:
    """The diagram in words, for who does not see it."""
    parts = [f"Listed: {_told(_total(one['listed']))}"]
    parts += [f"left out, {step['reason']}: {_told(_total(step['lost']))}" for step in one["steps"]]
    parts += [f"used in {_SPLITS[split]}: {_told(size)}" for split, size in used.items()]
    parts += [f"scored: {_told(size)}" for size in one["scored"].values()]
    return "; ".join(parts)


def _left(one: Json, split: str) -> list[int]:
    """Listed less every step."""
    lost = [step["lost"].get(split, (0, 0, 0)) for step in one["steps"]]
    return [size - sum(sizes) for size, *sizes in zip(one["listed"][split], *lost, strict=True)]


def _total(sizes: Sizes) -> list[int]:
    return [sum(column) for column in zip(*sizes.values(), strict=True)] or [0, 0, 0]


def _told(size: Sequence[int]) -> str:
    participants, eyes, volumes = size
    return (
        f"{participants} participant{'' if participants == 1 else 's'}, {eyes} eye{'' if eyes == 1 else 's'}, "
        f"{volumes} volume{'' if volumes == 1 else 's'}"
    )


def _short(size: Sequence[int]) -> str:
    return f"{size[0]} · {size[2]} vol."


def _minus(count: int) -> str:
    return f"{MINUS}{count}" if count else "0"


def _cell(size: Sequence[int]) -> str:
    return " / ".join(map(str, size))


def _letters(one: Json) -> list[str]:
    """a, b, c, ... for the steps; there are fewer reasons than letters."""
    return [chr(ord("a") + number) for number in range(len(one["steps"]))]

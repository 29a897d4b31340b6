"""Feature maps as small multiples: the same points by class, by device and by site, in shapes as well as colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from octjob.report.view import Json, colours_of

# Maps of more checkpoints are in leaderboard.json only.
MAX_MAPS = 6
NUM_STYLES = 6
# How many times what chance gives a share has to be to be spoken of.
_SEEN = 2
_KINDS = ("class", "device", "site")


@dataclass(frozen=True)
class Group:
    """The points of one group as one path in a square of 100, and its style, 0 to 5: a colour and a shape."""

    name: str
    style: int
    count: int
    path: str


@dataclass(frozen=True)
class MapPanel:
    """The points by one kind of group. text: what the kind explains, in words."""

    kind: str
    groups: tuple[Group, ...]
    text: str


@dataclass(frozen=True)
class Map:
    """One checkpoint. missing: why there are no panels, else empty. axes, text: in words."""

    checkpoint: str
    config: str
    colour: int
    missing: str
    panels: tuple[MapPanel, ...]
    axes: str
    text: str


def maps_of(document: Json) -> list[Map]:
    """Those of the first checkpoints."""
    colours = colours_of(document)
    names = document["class_short_names"]
    return [_map(one, colours[one["checkpoint"]], names) for one in document["feature_maps"][:MAX_MAPS]]


def _map(one: Json, colour: int, class_names: Sequence[str]) -> Map:
    if one["missing"]:
        return Map(one["checkpoint"], "", colour, one["missing"], (), "", "")
    named = {
        "class": (one["label"], class_names),
        "device": (one["device"], one["devices"]),
        "site": (one["site"], one["sites"]),
    }
    panels = tuple(_panel(one, kind, *named[kind]) for kind in _KINDS)
    axes = " and ".join(f"{100 * share:.0f} %" for share in one["axes"])
    what = f"{one['num_volumes']} held-out volumes, {one['num_features']} features ({one['features']})"
    return Map(
        one["checkpoint"],
        one["config"],
        colour,
        "",
        panels,
        f"{what}; the axes hold {axes} of their variance.",
        _reading(one["explained"]),
    )


def _panel(one: Json, kind: str, index: Sequence[int], names: Sequence[str]) -> MapPanel:
    groups = []
    for number, name in enumerate(names):
        at = [(one["x"][i], one["y"][i]) for i, which in enumerate(index) if which == number]
        style = min(number, NUM_STYLES - 1)
        if at:
            groups.append(
                Group(name, style, len(at), "".join(_SHAPES[style](*_place(*point)) for point in at))
            )
    explained = one["explained"].get(kind)
    return MapPanel(kind, tuple(groups), _told(kind, explained) if explained else "")


def _told(kind: str, one: Json) -> str:
    if one["num_groups"] < 2:
        return f"one {kind} only"
    return f"{kind}: {_percent(one['share'])} of the variance ({_percent(one['expected'])} by chance)"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"


def _reading(explained: Json) -> str:
    """Which of the groups is seen most, beyond what chance gives; less than twice that is nothing to speak of."""
    known = {kind: one for kind, one in explained.items() if one["num_groups"] > 1}
    if "class" not in known:
        return ""
    excess = {
        kind: one["share"] - one["expected"] if one["share"] >= _SEEN * one["expected"] else 0.0
        for kind, one in known.items()
    }
    ahead = [kind for kind in ("device", "site") if excess.get(kind, 0.0) > excess["class"]]
    if ahead:
        seen = " and ".join(
            {"device": "what the eye was scanned with", "site": "where"}[kind] for kind in ahead
        )
        separate = f"The {' and the '.join(ahead)} separate{'s' if len(ahead) == 1 else ''}"
        return f"{separate} these features more than the class does: what is seen first is {seen}, not the disease."
    if excess["class"] > 0:
        return "The class separates these features more than device or site do."
    return "Neither class, device nor site separates these features much more than chance would."


def _place(x: float, y: float) -> tuple[float, float]:
    """From -1..1, y upwards, into a square of 100 with room for a shape."""
    return round(50 + 45 * x, 1), round(50 - 45 * y, 1)


def _path(outline: str) -> Callable[[float, float], str]:
    return lambda x, y: f"M{x:g} {y:g}{outline}"


# About a point, in the square's units: disc, square, triangle, diamond, plus, cross.
_SHAPES = tuple(
    _path(outline)
    for outline in (
        "m-1.6 0a1.6 1.6 0 1 0 3.2 0a1.6 1.6 0 1 0-3.2 0",
        "m-1.5-1.5h3v3h-3z",
        "m0-2l1.9 3.4h-3.8z",
        "m0-2.1l2.1 2.1-2.1 2.1-2.1-2.1z",
        "m-1.9-.6h1.3v-1.3h1.2v1.3h1.3v1.2h-1.3v1.3h-1.2v-1.3h-1.3z",
        "m-1.7-1l.7-.7 1 1 1-1 .7.7-1 1 1 1-.7.7-1-1-1 1-.7-.7 1-1z",
    )
)
# The same as keys of a legend, in the middle of a square of 10.
KEYS = tuple(shape(5, 5) for shape in _SHAPES)

"""Places nodes on floors with few crossings: the layered drawing of Sugiyama, Tagawa and Toda (1981), kept small.

An edge that spans floors gets a narrow lane through each floor between; boxes and lanes of a floor are sorted by the
mean position of their neighbours, up and down in turns, and the order with the fewest crossings is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

LANE = 22.0
_SWEEPS = 24


@dataclass(frozen=True)
class Node:
    """A box or, without a name, a lane: `x` is its middle."""

    name: str
    floor: int
    x: float


Order = list[list[str]]
Links = list[tuple[int, str, str]]


def place(
    floors: Sequence[Sequence[str]], edges: frozenset[tuple[str, str]], box: float, width: float
) -> tuple[list[list[Node]], list[Node]]:
    """Each edge as the nodes it passes, from its start to its end, and the boxes alone."""
    floor_of = {name: index for index, floor in enumerate(floors) for name in floor}
    order: Order = [list(floor) for floor in floors]
    paths = []
    for start, end in sorted(edges):
        lanes = [f"{start}>{end}@{index}" for index in range(floor_of[start] + 1, floor_of[end])]
        for index, lane in enumerate(lanes, floor_of[start] + 1):
            order[index].append(lane)
        paths.append([start, *lanes, end])
    links = [(floor_of[path[0]] + i, a, b) for path in paths for i, (a, b) in enumerate(pairwise(path))]
    order = _untangled(order, links)
    where = {node.name: node for floor, names in enumerate(order) for node in _row(names, floor, box, width)}
    return [[where[name] for name in path] for path in paths], [
        node for name, node in where.items() if name in floor_of
    ]


def _untangled(order: Order, links: Links) -> Order:
    best, fewest = order, crossings(order, links)
    for sweep in range(_SWEEPS):
        order = _swept(order, links, down=sweep % 2 == 0)
        if (now := crossings(order, links)) < fewest:
            best, fewest = order, now
    return best


def _swept(order: Order, links: Links, down: bool) -> Order:
    """Every floor sorted by where its neighbours on the floor before are."""
    order = [list(floor) for floor in order]
    for floor in range(1, len(order)) if down else range(len(order) - 2, -1, -1):
        there, here = _shares(order[floor - 1 if down else floor + 1]), _shares(order[floor])
        ends = (
            [(b, a) for at, a, b in links if at == floor - 1]
            if down
            else [(a, b) for at, a, b in links if at == floor]
        )
        means = {
            name: _mean([there[end] for start, end in ends if start == name], share)
            for name, share in here.items()
        }
        order[floor] = sorted(here, key=means.__getitem__)
    return order


def _shares(names: Sequence[str]) -> Mapping[str, float]:
    """Where each stands on its floor, from 0 to 1."""
    return {name: (i + 0.5) / len(names) for i, name in enumerate(names)}


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def crossings(order: Order, links: Links) -> int:
    """Pairs of edges between two floors that cross."""
    at = {name: i for floor in order for i, name in enumerate(floor)}
    return sum(
        (at[a] - at[c]) * (at[b] - at[d]) < 0
        for i, (floor, a, b) in enumerate(links)
        for other, c, d in links[:i]
        if floor == other
    )


def _row(names: Sequence[str], floor: int, box: float, width: float) -> list[Node]:
    """Boxes and lanes side by side, the free room shared out between them."""
    sizes = [LANE if "@" in name else box for name in names]
    gap = (width - sum(sizes)) / (len(names) + 1)
    left, nodes = gap, []
    for name, size in zip(names, sizes, strict=True):
        nodes.append(Node(name, floor, round(left + size / 2, 1)))
        left += size + gap
    return nodes

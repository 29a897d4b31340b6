"""The rooms of octjob, drawn from the rules in pyproject.toml and the imports that are really there.

An arrow is an import. Those that a path of other arrows implies are left out, and those to the ground floor, where
everyone goes.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from docs.layout import Node, place
from docs.problem import ProblemError
from docs.svg import Drawing, wrap

ROOT = Path(__file__).parents[1]
PACKAGE = "octjob"

Edges = frozenset[tuple[str, str]]


class RoomError(ProblemError):
    """The rules, the folders and the page do not speak of the same rooms."""


@dataclass(frozen=True)
class House:
    """Floors from the top down, the imports between rooms, and the sides that the contracts keep apart."""

    floors: tuple[tuple[str, ...], ...]
    imports: Edges
    launcher: frozenset[str]
    trainer: frozenset[str]


def read_house(root: Path = ROOT) -> House:
    """The house as pyproject.toml and the source draw it.

    Raises `RoomError` where a folder of the package has no floor, or a room imports from none below its own.
    """
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    floors = tuple(tuple(_room(name) for name in re.split(r" [:|] ", layer)) for layer in layers)
    known = {room for floor in floors for room in floor}
    folders = {path.parent.name for path in (root / PACKAGE).glob("*/__init__.py")}
    if homeless := sorted(folders - known):
        raise RoomError(f"pyproject.toml: no floor in `layers` for {', '.join(homeless)}")
    imports = frozenset((a, b) for a, b in room_imports(root / PACKAGE) if {a, b} <= known)
    floor_of = {room: index for index, floor in enumerate(floors) for room in floor}
    if wrong := sorted((a, b) for a, b in imports if floor_of[a] >= floor_of[b]):
        told = ", ".join(f"{a} imports {b}" for a, b in wrong)
        raise RoomError(f"pyproject.toml: `layers` allows imports from floors below only, but {told}")
    return House(floors, imports, _kept_from(contracts, "torch"), _kept_from(contracts, "kubernetes"))


def _room(module: str) -> str:
    return module.strip().split(".")[1]


def _kept_from(contracts: Iterable[dict[str, object]], module: str) -> frozenset[str]:
    """The rooms that a contract forbids to import `module`."""
    return frozenset(
        _room(str(source))
        for contract in contracts
        if module in _strings(contract.get("forbidden_modules"))
        for source in _strings(contract.get("source_modules"))
    )


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def room_imports(package: Path) -> set[tuple[str, str]]:
    """(importing room, imported room) of every import anywhere in the package, lazy and typing ones included."""
    found = set()
    for path in package.rglob("*.py"):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            found |= {(room, target) for target in _targets(node, package.name)}
    return {(a, b) for a, b in found if a != b}


def _targets(node: ast.AST, package: str) -> set[str]:
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
        names = (
            [f"{package}.{alias.name}" for alias in node.names] if node.module == package else [node.module]
        )
    return {name.split(".")[1] for name in names if name.startswith(f"{package}.")}


def implied(edges: Edges) -> Edges:
    """The edges that a longer path says already."""
    after: dict[str, set[str]] = {}
    for a, b in edges:
        after.setdefault(a, set()).add(b)

    def reaches(start: str, end: str) -> bool:
        return any(step == end or reaches(step, end) for step in after.get(start, ()))

    return frozenset((a, b) for a, b in edges if any(reaches(step, b) for step in after[a] - {b}))


def purposes(page: Path) -> dict[str, str]:
    """What each room is for, from the table of the page: `| `room` | purpose | ...`."""
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", page.read_text(), re.MULTILINE))


WIDTH, BOX, HEIGHT, GAP = 1000, 200, 66, 46


def rooms_svg(house: House, purpose: dict[str, str]) -> str:
    """The picture. Raises `RoomError` where the page does not say what a room is for, or names one that is gone."""
    rooms = {room for floor in house.floors for room in floor}
    if difference := sorted(rooms ^ purpose.keys()):
        raise RoomError(f"docs/architecture.md: its table and the rooms differ in {', '.join(difference)}")
    ground = set(house.floors[-1])
    edges = frozenset((a, b) for a, b in house.imports if b not in ground)
    routes, nodes = place(house.floors, edges - implied(edges), BOX, WIDTH)
    drawing = Drawing(
        WIDTH,
        40 + len(house.floors) * (HEIGHT + GAP),
        "The rooms of octjob, floor by floor; an arrow is an import",
    )
    for route in routes:
        drawing.arrow([_foot(route[0]), *_middle(route[1:-1]), _head(route[-1])])
    for node in nodes:
        side = "launcher" if node.name in house.launcher else "trainer" if node.name in house.trainer else ""
        drawing.box(node.x - BOX / 2, _top(node), BOX, HEIGHT, node.name, wrap(purpose[node.name], 30), side)
    for x, side, text in (
        (28, "launcher", "imports no torch"),
        (200, "trainer", "imports no kubernetes"),
        (420, "", "bound by neither rule"),
    ):
        drawing.key(x, drawing.height - 26, side, text)
    return drawing.text()


def _top(node: Node) -> float:
    return 20 + node.floor * (HEIGHT + GAP)


def _foot(node: Node) -> tuple[float, float]:
    return node.x, _top(node) + HEIGHT


def _head(node: Node) -> tuple[float, float]:
    return node.x, _top(node)


def _middle(passed: list[Node]) -> list[tuple[float, float]]:
    """Straight through the floors between."""
    return [point for node in passed for point in (_head(node), _foot(node))]

"""The map of the house: every name in it exists, and its picture shows the imports that are there."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docs.layout import crossings, place
from docs.rooms import House, RoomError, implied, purposes, read_house, rooms_svg

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/architecture.md"
NAMED = sorted(set(re.findall(r"`((?:\w+/)*\w+\.(?:py|yaml))(?::([\w.]+))?`", PAGE.read_text())))


def definition(tree: ast.AST, name: str) -> ast.AST | None:
    """The function or class of that qualified name."""
    found: ast.AST | None = tree
    for part in name.split("."):
        members = [] if found is None else found.body  # type: ignore[attr-defined]
        found = next((member for member in members if getattr(member, "name", None) == part), None)
    return found


@pytest.mark.parametrize(("file", "name"), [pytest.param(*one, id=":".join(one)) for one in NAMED])
def test_every_file_and_function_named_in_the_page_exists(file: str, name: str) -> None:
    path = ROOT / "octjob" / file
    assert path.is_file()
    assert not name or definition(ast.parse(path.read_text()), name) is not None, f"{file} has no {name}"


def test_a_function_that_is_gone_would_be_noticed() -> None:
    tree = ast.parse("class Loop:\n    def run(self): ...")
    assert definition(tree, "Loop.run") is not None
    assert definition(tree, "Loop.walk") is None
    assert definition(tree, "Hoop.run") is None


def test_the_picture_has_a_box_for_every_folder_of_the_package() -> None:
    picture = ElementTree.fromstring((ROOT / "docs/pictures/rooms.svg").read_text())
    boxes = {
        text.text for text in picture.iter("{http://www.w3.org/2000/svg}text") if text.get("class") == "name"
    }
    folders = {path.parent.name for path in (ROOT / "octjob").glob("*/__init__.py")}
    assert {"cli", "train"} <= folders <= boxes


def test_a_folder_without_a_floor_is_an_error_that_names_it(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "octjob/cellar").mkdir(parents=True)
    (tmp_path / "octjob/cellar/__init__.py").touch()
    with pytest.raises(RoomError, match=r"pyproject.toml.*cellar"):
        read_house(tmp_path)


def test_an_import_is_seen_wherever_it_stands(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    room = tmp_path / "octjob/train"
    room.mkdir(parents=True)
    (room / "loop.py").write_text(
        "from octjob.data import table\ndef late():\n    import octjob.models.heads\n    from octjob import errors\n"
    )
    assert read_house(tmp_path).imports == {("train", "data"), ("train", "models"), ("train", "errors")}


@pytest.mark.parametrize("target", ["run", "features"], ids=["upwards", "sideways"])
def test_an_import_that_leads_to_no_floor_below_is_an_error_that_names_it(
    tmp_path: Path, target: str
) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "octjob/train").mkdir(parents=True)
    (tmp_path / "octjob/train/loop.py").write_text(f"from octjob.{target} import x\n")
    with pytest.raises(RoomError, match=f"train imports {target}"):
        read_house(tmp_path)


@pytest.mark.parametrize("change", ["one too many", "one too few"])
def test_a_table_of_other_rooms_is_an_error_that_names_the_room(change: str) -> None:
    purpose = purposes(PAGE)
    if change == "one too many":
        purpose["cellar"] = "wine"
    else:
        del purpose["train"]
    with pytest.raises(RoomError, match="cellar" if change == "one too many" else "train"):
        rooms_svg(read_house(), purpose)


def reachable(edges: frozenset[tuple[str, str]]) -> set[tuple[str, str]]:
    closed = set(edges)
    while more := {(a, d) for a, b in closed for c, d in closed if b == c} - closed:
        closed |= more
    return closed


# Acyclic, as import-linter keeps it: from a smaller number to a greater one.
dags = st.frozensets(
    st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda edge: edge[0] < edge[1]), max_size=20
).map(lambda edges: frozenset((str(a), str(b)) for a, b in edges))


@given(dags)
def test_arrows_that_are_left_out_follow_from_those_that_stay(edges: frozenset[tuple[str, str]]) -> None:
    kept = edges - implied(edges)
    assert reachable(kept) == reachable(edges)
    assert all(edge not in reachable(kept - {edge}) for edge in kept)


@given(dags)
def test_every_arrow_goes_down_and_no_box_covers_another(edges: frozenset[tuple[str, str]]) -> None:
    floors = [("0", "1"), ("2", "3", "4"), ("5",), ("6", "7")]
    floor_of = {name: i for i, floor in enumerate(floors) for name in floor}
    down = frozenset((a, b) for a, b in edges if floor_of[a] < floor_of[b])
    routes, nodes = place(floors, down, box=100, width=1000)
    assert {(route[0].name, route[-1].name) for route in routes} == down
    for route in routes:
        assert [node.floor for node in route] == list(range(route[0].floor, route[-1].floor + 1))
    for i, node in enumerate(nodes):
        assert all(abs(node.x - other.x) >= 100 for other in nodes[:i] if other.floor == node.floor)


def test_two_lines_that_can_be_untangled_are() -> None:
    routes, _ = place([("a", "b"), ("c", "d")], frozenset({("a", "d"), ("b", "c")}), box=100, width=1000)
    left, right = sorted(routes, key=lambda route: route[0].x)
    assert left[-1].x < right[-1].x
    assert crossings([["a", "b"], ["c", "d"]], [(0, "a", "d"), (0, "b", "c")]) == 1


def test_sides_are_those_of_the_contracts() -> None:
    house: House = read_house()
    assert "storage" in house.launcher - house.trainer
    assert "train" in house.trainer - house.launcher

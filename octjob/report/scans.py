"""Example B-scans with what their patches have to do with the answer, as pictures within the page."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from octjob.report.png import data_uri, grey, rgba
from octjob.report.view import Json, colours_of, number

# Of all pictures together, as text: the page stays below 5 MB.
MAX_CHARACTERS = 4_000_000
# Blue for against, orange for towards: told apart by everyone, and from grey tissue.
_TOWARDS, _AGAINST = (255, 140, 20), (60, 140, 255)
_MOST_OPAQUE = 150
_EYES = {"L": "left", "R": "right"}


@dataclass(frozen=True)
class Scan:
    """One example. picture, overlay: data URIs, the latter empty without a map. alt: what is to be seen, in words."""

    picture: str
    overlay: str
    alt: str
    right: bool
    title: str
    answer: str
    relevance: str


@dataclass(frozen=True)
class Scans:
    """The examples of one checkpoint. left_out: how many there was no room for. reason: why there are no maps."""

    checkpoint: str
    config: str
    colour: int
    how: str
    scans: tuple[Scan, ...]
    left_out: int
    reason: str


_HOW = {
    "contribution": "Orange patches speak for the predicted class, blue ones against it: each is its exact part "
    "of the class\u2019s logit over the mean of all classes.",
    "attention": "Orange: where the attentive head looks, mean over its attention heads.",
    "none": "",
}


def scans_of(document: Json, stored: Mapping[str, Json]) -> list[Scans]:
    """stored: `examples["json"]` by run id, as far as they are to be shown."""
    colours, room = colours_of(document), MAX_CHARACTERS
    found = []
    for one in document["examples"]:
        if one["run_id"] not in stored:
            continue
        examples = stored[one["run_id"]]
        scans = []
        for scan in (_scan(example, document["class_short_names"]) for example in examples["examples"]):
            room -= len(scan.picture) + len(scan.overlay)
            if room < 0:
                break
            scans.append(scan)
        kinds = {example["kind"] for example in examples["examples"]} - {"none"}
        how = _HOW[kinds.pop()] if len(kinds) == 1 else ""
        left_out = len(examples["examples"]) - len(scans)
        colour = colours[one["checkpoint"]]
        found.append(
            Scans(one["checkpoint"], one["config"], colour, how, tuple(scans), left_out, examples["reason"])
        )
    return found


def _scan(example: Json, class_names: Sequence[str]) -> Scan:
    truth, predicted = (
        class_names[k] if k < len(class_names) else f"class {k}"
        for k in (example["label"], example["predicted"])
    )
    title = f"{example['participant']}, {_EYES.get(example['eye'], example['eye'])} eye, {example['device']}"
    answer = f"{predicted} with {number(example['probability'], 2)}, truth {truth}"
    relevance = _told(example) if example["relevance"] else ""
    overlay = "" if not example["relevance"] else data_uri(_overlay(example))
    return Scan(
        data_uri(grey(b64decode(example["pixels"]), example["rows"], example["columns"])),
        overlay,
        f"Central B-scan of {title}: {answer}. {relevance}".strip(),
        example["label"] == example["predicted"],
        title,
        answer,
        relevance,
    )


def _overlay(example: Json) -> bytes:
    pixels = bytearray()
    for value in example["relevance"]:
        colour = _TOWARDS if value > 0 else _AGAINST
        pixels += bytes((*colour, round(_MOST_OPAQUE * abs(value))))
    return rgba(bytes(pixels), example["map_rows"], example["map_columns"])


def _told(example: Json) -> str:
    """Where the strongest patch is, and how much of the volume's relevance this B-scan shows."""
    strongest = max(range(len(example["relevance"])), key=lambda i: abs(example["relevance"][i]))
    row, column = divmod(strongest, example["map_columns"])
    down = 100 * (row + 0.5) / example["map_rows"]
    across = 100 * (column + 0.5) / example["map_columns"]
    word = "Strongest, and against it," if example["relevance"][strongest] < 0 else "Strongest"
    return (
        f"{word} at {down:.0f} % of the depth and {across:.0f} % of the width; "
        f"{100 * example['share']:.0f} % of the volume\u2019s relevance lies in this layer."
    )

"""What to do next, for the page: texts with the pieces of them that are to be typed."""

from __future__ import annotations

from dataclasses import dataclass

from octjob.report.view import Json

# For the line on the first screen, by kind.
_SHORT = {
    "finish": "finish {number} of the runs",
    "diagnose": "ask for the first cause",
    "inspect": "look into a checkpoint",
    "participants": "score about {number} participants",
    "equal": "take the two for equal",
    "training sets": "deal the folds {number} times",
    "seeds": "train with {number} seeds",
    "folds": "train on several training sets",
    "choose": "take the cheapest of the tied configurations",
    "leave out": "leave out what collapsed",
    "test split": "score the one run on the test split, once",
    "baseline": "compare with untrained encoders",
}


@dataclass(frozen=True)
class StepText:
    """short: in a few words. pieces: (text, whether it is code), in order. command: empty where there is none."""

    short: str
    pieces: tuple[tuple[str, bool], ...]
    command: str


def steps_of(document: Json) -> list[StepText]:
    """In the order in which to take them."""
    return [
        StepText(_SHORT[step["kind"]].format(number=step["number"]), _pieces(step["text"]), step["command"])
        for step in document["next_steps"]
    ]


def _pieces(text: str) -> tuple[tuple[str, bool], ...]:
    """What stands between backticks is code; a lone backtick is one."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return ((text, False),)
    return tuple((part, number % 2 == 1) for number, part in enumerate(parts) if part)

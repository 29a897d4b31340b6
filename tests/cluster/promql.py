"""PromQL by Prometheus' own engine."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from tests.cluster.build import tool


@dataclass(frozen=True)
class Answer:
    """What an expression gives. metrics: those it asks for. values: by its labels' values, sorted by their names."""

    error: str
    metrics: tuple[str, ...]
    values: dict[tuple[str, ...], float]


def evaluate(series: Sequence[str], at_s: int, expressions: Sequence[str]) -> list[Answer]:
    """Expressions at a moment. series: with a value each minute from 0, as `up{job="a"} 1+0x60`."""
    load = "load 1m\n" + "".join(f"  {one}\n" for one in series)
    request = json.dumps({"series": load, "at": at_s, "expressions": list(expressions)})
    done = subprocess.run([tool("promql")], input=request, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [
        Answer(
            one["error"],
            tuple(one["metrics"] or ()),
            {
                tuple(value for _, value in sorted(each["labels"].items())): each["value"]
                for each in one["result"] or ()
            },
        )
        for one in json.loads(done.stdout)
    ]

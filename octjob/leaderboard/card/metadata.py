"""The card's front matter: what the hub reads of it."""

from __future__ import annotations

from typing import Any

import yaml

from octjob.catalog import METRICS, RANKING
from octjob.leaderboard.card.data_set import data_set_of
from octjob.leaderboard.card.words import Json, interval
from octjob.records.schema import Result
from octjob.spec.run import Run

# The hub's own names, where it has one for the very thing.
_TYPES = {"macro_auroc": "roc_auc", "macro_f1": "f1"}
_TAGS = ("medical", "ophthalmology", "oct", "volumes", "vit", "octjob")


def front_matter(document: Json, row: Json, result: Result, run: Run) -> str:
    """YAML between its two lines. No metric that is not defined is in it."""
    # A line of its own could be taken for the end of the front matter.
    name = " ".join(f"{document['sweep']}/{row['checkpoint']}.{row['config']}".split())
    data_set = data_set_of(run)
    scored = {
        "task": {"type": "image-classification", "name": data_set.task},
        "dataset": {
            "type": data_set.type,
            "name": data_set.name,
            "split": str(result.evaluation.get("split", "")),
        },
        "metrics": [_metric(name, row["metrics"][name]) for name in _ranked_by_first(document, row)],
    }
    data: dict[str, Any] = {
        # The hub's word for one that is none of its list: only the owner of the weights can say which.
        "license": "other",
        "library_name": "octjob",
        "pipeline_tag": "image-classification",
        "tags": [
            *_TAGS,
            result.mode,
            *([] if row["verdict"] == "ok" else [row["verdict"].replace("_", "-")]),
        ],
        "model-index": [{"name": name, "results": [scored]}],
    }
    return "---\n" + yaml.safe_dump(data, sort_keys=False, width=1000) + "---\n"


def _ranked_by_first(document: Json, row: Json) -> list[str]:
    names = [document["metric"], *(name for name in RANKING if name != document["metric"])]
    return [name for name in names if row["metrics"][name]["value"] is not None]


def _metric(name: str, estimate: Json) -> Json:
    words = METRICS[name].label
    if estimate["low"] is not None and estimate["high"] is not None:
        words += f" (95 % interval {interval(estimate)})"
    return {"type": _TYPES.get(name, name), "value": round(estimate["value"], 6), "name": words}

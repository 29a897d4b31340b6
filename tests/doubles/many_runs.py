"""A leaderboard of thousands of runs, grown from one of twelve, whose intervals and reasons they repeat."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from doubles.boards import document

NUM_CONFIGS = 40
NUM_DETAILED = 60
# Of ten runs three have no signal, one collapsed, as sweeps over learning rates have it.
_SHARES = {"no_signal": 0.3, "collapsed": 0.1}
_OF_REFERENCE = ("vs_checkpoint", "vs_config")


def many_runs(count: int, num_configs: int = NUM_CONFIGS, num_unfinished: int = 0) -> dict[str, Any]:
    """`leaderboard.json` of `count` runs, `num_configs` for each checkpoint, the last of them without a result.

    Ranked runs first, by falling value from 0.9 to 0.6; every fourth checkpoint has none.
    """
    small = document()
    examples = _examples(small)
    pairs = [(f"c{number // num_configs}", f"k{number % num_configs}") for number in range(count)]
    finished, open_ = pairs[: count - num_unfinished], pairs[count - num_unfinished :]
    ordered: dict[str, list[tuple[str, str]]] = {"ok": [], "no_signal": [], "collapsed": []}
    for checkpoint, config in finished:
        ordered[_verdict(int(checkpoint[1:]), int(config[1:]), num_configs)].append((checkpoint, config))
    rows = []
    for verdict, found in ordered.items():
        for place, pair in enumerate(found):
            value = 0.9 - 0.3 * place / len(found) if verdict == "ok" else 0.55 - 0.05 * place / len(found)
            rows.append(_row(examples[verdict][place % len(examples[verdict])], pair, value))
    rows += [_unfinished(small["rows"][0], pair, place) for place, pair in enumerate(open_)]
    return _grown(small, rows)


def _examples(small: Mapping[str, Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in small["rows"]:
        found.setdefault(row["verdict"], []).append(row)
    return found


def _verdict(checkpoint: int, config: int, num_configs: int) -> str:
    """By the configuration, as a learning rate that is too high collapses every checkpoint."""
    place = config / num_configs
    if place < _SHARES["collapsed"]:
        return "collapsed"
    return "no_signal" if checkpoint % 4 == 3 or place < sum(_SHARES.values()) else "ok"


def _row(example: Mapping[str, Any], pair: tuple[str, str], value: float) -> dict[str, Any]:
    estimate = {
        **example["metrics"]["macro_auroc"],
        "value": value,
        "low": value - 0.06,
        "high": value + 0.06,
    }
    row = {
        **example,
        "checkpoint": pair[0],
        "config": pair[1],
        "run_id": f"{pair[0]}.{pair[1]}-0000abcd",
        "metrics": {**example["metrics"], "macro_auroc": estimate},
    }
    if row["rank"]:
        row["rank"] = {**row["rank"], "best": 1, "worst": 4000}
        row["vs_leader"] = {
            "difference": 0.9 - value,
            "low": 0.8 - value,
            "high": 1.0 - value,
            "tied": value > 0.8,
        }
    for family in _OF_REFERENCE:
        if row[family]:
            row[family] = {**row[family], "reference_run": f"c0.{pair[1]}-0000abcd"}
    return row


def _unfinished(example: Mapping[str, Any], pair: tuple[str, str], place: int) -> dict[str, Any]:
    row = _row(example, pair, 0.5)
    failed = place % 3 > 0
    empty = dict.fromkeys(("rank", "n", "num_models", "signal", "metrics", "vs_leader", *_OF_REFERENCE))
    said = "out of memory on the chip" if failed else ""
    return row | empty | {
        "verdict": "", "state": "Failed" if failed else "Pending", "error": said, "weights": "", "prevalence": [],
        "per_class_f1": [], "per_class_auprc": [], "prediction_counts": [], "confusion": [], "reasons": [],
    }  # fmt: skip


def _grown(small: Mapping[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    ids, first = [row["run_id"] for row in rows], rows[0]
    checkpoints = list(dict.fromkeys(row["checkpoint"] for row in rows))
    configs = list(dict.fromkeys(row["config"] for row in rows))
    methods, loaded = small["methods"], small["checkpoints"]["checkpoints"][0]
    made = copy.deepcopy(dict(small))
    made |= {"sweep": "many", "rows": rows, "baseline": checkpoints[0], "baseline_config": None}
    made["headline"] |= {
        "leader": ids[0],
        "rival": next(row["run_id"] for row in rows if row["checkpoint"] != first["checkpoint"]),
    }
    made["methods"] |= {
        "runs": [
            {**methods["runs"][k % len(methods["runs"])], "run_id": run_id} for k, run_id in enumerate(ids)
        ],
        "checkpoints": [{**methods["checkpoints"][0], "name": name} for name in checkpoints],
        "configurations": [
            {**methods["configurations"][k % 4], "name": name} for k, name in enumerate(configs)
        ],
    }
    made["details"] = _details(small, rows)
    best = [one["run_id"] for one in made["details"] if one["variance"]]
    answered = small["secondary"]["runs"][0]
    made["secondary"]["runs"] = [{**answered, "run_id": run_id} for run_id in best]
    made["checkpoints"] = {"checkpoints": [{**loaded, "name": name} for name in checkpoints], "pairs": []}
    made["feature_maps"] = [{**small["feature_maps"][0], "checkpoint": name} for name in checkpoints[:12]]
    made["examples"] = []
    return made


def _details(small: Mapping[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the first rows; variance and subgroups of each checkpoint's best."""
    seen: set[str] = set()
    found = []
    best = next(one for one in small["details"] if one["variance"])
    for k, row in enumerate(rows[:NUM_DETAILED]):
        one = {**small["details"][k % len(small["details"])], "run_id": row["run_id"]}
        parts = (
            best if row["checkpoint"] not in seen else {"variance": None, "subgroups": [], "groupings": []}
        )
        found.append({**one, **{key: parts[key] for key in ("variance", "subgroups", "groupings")}})
        seen.add(row["checkpoint"])
    return found

"""What the records answer of a reporting guideline's questions, one sentence or two each, by a key."""

from __future__ import annotations

from collections.abc import Callable

from octjob.catalog import METRICS
from octjob.report.charts import MAX_CALIBRATED
from octjob.report.excerpt import MANY
from octjob.report.methods import UNKNOWN, paragraphs
from octjob.report.predictions import scope_of
from octjob.report.training import counted
from octjob.report.view import Json, number, runs_of


def answers(document: Json) -> dict[str, str]:
    """By key; empty where the records say nothing of it."""
    written: dict[str, Callable[[Json], str]] = {
        "kind": _kind,
        "objective": _objective,
        "sites": _sites,
        "selection": _selection,
        "outcome": _outcome,
        "predictors": lambda _: "One retinal OCT volume; no clinical or demographic variable enters a model.",
        "sample size": _sample_size,
        "missing": _missing,
        "model": _model,
        "initial weights": _initial_weights,
        "trainings": _training,
        "chosen epoch": _chosen_epoch,
        "chosen run": _chosen_run,
        "ensembles": _ensembles,
        "output": lambda _: (
            "A probability for each class; the most probable one is the answer, no threshold was chosen."
        ),
        "calibration": _calibration,
        "subgroups": _subgroups,
        "variance": _variance,
        "result": lambda document: "".join(part["text"] for part in document["headline"]["parts"]),
        "table": _table,
        "failures": _failures,
        "limits": lambda document: " ".join(document["warnings"]),
        "next": lambda document: " ".join(step["text"] for step in document["next_steps"]),
        "code": _code,
        "no updating": lambda _: "No model was updated or recalibrated after its training.",
        "no assessors": lambda _: "Voxels are read as the scanner wrote them; nobody interprets them.",
        "no annotation": lambda _: "Labels are the data set's own; none was added.",
        "no explanation": lambda _: (
            "Where runs stored it, octjob report --with-images shows each patch's part in the answer; nothing else of"
            " the kind was computed."
        ),
        "no other data": lambda _: "No other data set was scored.",
        "test split": _test_split,
    }
    of_methods = {
        one.key: "" if one.lines == UNKNOWN else " ".join(one.lines) for one in paragraphs(document)
    }
    return {**of_methods, **{key: text(document) for key, text in written.items()}}


def _kind(document: Json) -> str:
    return f"A comparison of pretrained 3D encoders of retinal OCT by what is trained on them: {scope_of(document)}."


def _objective(document: Json) -> str:
    label = METRICS[document["metric"]].label
    return f"Which pretrained checkpoint gives the highest {label}, under which configuration; can these data tell?"


def _sites(document: Json) -> str:
    for data in document["methods"]["data"]:
        by_name: dict[str, int] = {}
        for site in data["sites"]:
            by_name[site["name"]] = by_name.get(site["name"], 0) + site["found"]
        if by_name:
            return f"{counted(len(by_name), 'site')}: {', '.join(f'{name} ({n})' for name, n in by_name.items())}."
    return ""


def _selection(document: Json) -> str:
    if not document["methods"]["data"]:
        return ""
    return (
        "Participants of the manifest with an eligible volume and one of the classes. What was selected of them"
        " stands under `data` of each configuration; the flow of participants, where runs recorded it, tells who was"
        " left out."
    )


def _outcome(document: Json) -> str:
    return f"The study group that the data set assigns: {', '.join(document['class_names'])}."


def _sample_size(document: Json) -> str:
    n = max((row["n"] or 0 for row in runs_of(document)), default=0)
    if not n:
        return ""
    parts = [f"What the data set has: {n} scored."]
    if document["headline"]["detectable"] is not None:
        parts.append(
            f"A lead of {number(document['headline']['detectable'], 2)} would be recognised 4 times in 5."
        )
    parts += [
        step["text"] for step in document["next_steps"] if step["kind"] in ("participants", "equal", "choose")
    ]
    return " ".join(parts)


def _missing(document: Json) -> str:
    for data in document["methods"]["data"]:
        if data["num_expected"] is not None:
            lacking = counted(data["num_expected"] - data["num_found"], "expected participant")
            unread = counted(data["num_quarantined"] or 0, "volume")
            return f"{lacking} had no volume and {unread} could not be read: left out, nothing was imputed."
    return ""


def _model(document: Json) -> str:
    used = document["methods"]
    if not used["checkpoints"]:
        return ""
    return (
        f"Volume to tokens by {counted(len(used['checkpoints']), 'pretrained 3D encoder')} (Methods, Encoders),"
        " pooled, and a head on top (Methods, Heads and training)."
    )


def _initial_weights(document: Json) -> str:
    names = ", ".join(f"{one['name']} ({one['weights']})" for one in document["methods"]["checkpoints"])
    return f"Encoders: the checkpoints' weights, {names}. Heads: random, by the seed." if names else ""


def _training(document: Json) -> str:
    used = document["methods"]["configurations"]
    models = sum(row["num_models"] or 0 for row in runs_of(document))
    if not used:
        return ""
    return (
        f"{counted(len(used), 'configuration')}, {counted(models, 'trained model')} in all: Methods, Heads and"
        " training, and each configuration whole."
    )


def _chosen_epoch(document: Json) -> str:
    told = [
        f"{one['name']}: {one['selection']}"
        for one in document["methods"]["configurations"]
        if one["selection"]
    ]
    return f"Epoch that is scored: {'; '.join(told)}." if told else ""


def _chosen_run(document: Json) -> str:
    corrected = document["selection_corrected"]
    if not corrected:
        return ""
    return (
        f"The run with the highest {METRICS[document['metric']].label}; without the luck of being picked from"
        f" {corrected['num_runs']} it is worth {number(corrected['value'])}."
    )


def _ensembles(document: Json) -> str:
    if not any(row["metrics"] for row in runs_of(document)):
        return ""
    return "None: a run's value is the mean over its trained models, whose predictions are not pooled."


def _calibration(document: Json) -> str:
    found = {one["run_id"]: one["calibration"]["error"] for one in document["details"]}
    leader = document["headline"]["leader"]
    if leader not in found:
        return ""
    said = f"The leader's expected calibration error is {number(found[leader])}; {_drawn(document)}."
    slope = next((one["slope"] for one in document["secondary"]["runs"] if one["run_id"] == leader), None)
    if slope is None or slope["value"] is None:
        return said
    low, high = number(slope["low"], 2), number(slope["high"], 2)
    return f"{said} Its recalibration slope is {number(slope['value'], 2)} [{low}, {high}]."


def _drawn(document: Json) -> str:
    """Whose calibration the page draws."""
    few = sum(row["rank"] is not None for row in document["rows"]) <= MAX_CALIBRATED
    whose = "every ranked run's" if few else f"the first {MAX_CALIBRATED} ranked runs'"
    return f"the page draws {whose}"


def _subgroups(document: Json) -> str:
    fields = {group["field"] for one in document["details"] for group in one["subgroups"]}
    if not fields:
        return ""
    return (
        f"The best run of each checkpoint by {', '.join(sorted(fields))}, unadjusted; differences between a part and"
        " the rest at one level for those of a run."
    )


def _variance(document: Json) -> str:
    found = next((one["variance"] for one in document["details"] if one["variance"]), None)
    if found is None:
        return ""
    parts = [f"who is scored {number(found['participants'])}"]
    parts += [f"the seed {number(found['seeds'])}"] if found["seeds"] is not None else []
    parts += (
        [f"the training set {number(found['training_sets'])}"] if found["training_sets"] is not None else []
    )
    return (
        f"Standard deviation of the best run's value by {', '.join(parts)}. {document['headline']['order']}"
    )


def _table(document: Json) -> str:
    ranked = sum(row["rank"] is not None for row in runs_of(document))
    if not ranked:
        return ""
    where = "the table" if len(document["rows"]) <= MANY else "leaderboard.csv"
    return f"Every run with its 95 % interval: {where} of {len(runs_of(document))} runs, {ranked} of them ranked."


def _failures(document: Json) -> str:
    if not any(row["confusion"] for row in runs_of(document)):
        return ""
    unranked = sum(row["rank"] is None for row in runs_of(document))
    where = "" if len(document["rows"]) <= MANY else " in leaderboard.json"
    return f"Confusion of every run{where}; {counted(unranked, 'run')} without a rank, each with its reason."


def _code(document: Json) -> str:
    versions = {run["environment"].get("octjob") for run in document["methods"]["runs"]} - {None}
    if not versions:
        return ""
    named = ", ".join(sorted(map(str, versions)))
    return f"octjob {named} (Apache-2.0); the digest of every run's spec, with which it can be repeated, is listed."


def _test_split(document: Json) -> str:
    opened = document["methods"]["num_openings"]
    if not opened:
        return "The test split was not opened."
    return f"The test split was opened {'once' if opened == 1 else f'{opened} times'}, on the record."

"""How it was all made, in the words a paper's methods section needs: from the stored records alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from octjob.catalog import METRICS, RANKING
from octjob.evaluate.signal import num_permutations
from octjob.report.training import counted, preprocessing_of, training_of, weights_of
from octjob.report.view import Json, runs_of
from octjob.spec.experiment import Experiment

NOT_RECORDED = "not recorded"
# The line of a paragraph that no record has anything for.
UNKNOWN = ("Not recorded.",)
# Names of others may hold line breaks, so that lines are never joined into one text.
Lines = list[str]
# Digests in a sentence; the tables have them whole.
_SHORT = 12
# At the end of a method's name, the counts that differ from run to run.
_COUNTS = re.compile(r", \d+ of \d+$")


@dataclass(frozen=True)
class Paragraph:
    """A heading of the section and its lines; key names it in an address."""

    key: str
    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class ConfigText:
    """A configuration as it was resolved, as YAML."""

    name: str
    sha256: str
    yaml: str


@dataclass(frozen=True)
class RunText:
    """What repeats a run: the digests of its spec and configuration, and what carried it out."""

    run_id: str
    spec: str
    config: str
    octjob: str
    image: str
    finished: str


def paragraphs(document: Json) -> list[Paragraph]:
    """In the order of a paper; each says so where the records do not hold it."""
    written: tuple[tuple[str, str, Callable[[Json], Lines]], ...] = (
        ("participants", "Participants", participants),
        ("splits", "Data and splits", splits),
        ("preprocessing", "Preprocessing", preprocessing),
        ("encoders", "Encoders", encoders),
        ("training", "Heads and training", training),
        ("imbalance", "Class imbalance", imbalance),
        ("metrics", "Metrics", metrics),
        ("uncertainty", "Intervals and tests", uncertainty),
        ("multiplicity", "Multiplicity", multiplicity),
        ("software", "Software", software),
    )
    whole = _with_defaults(document)
    return [Paragraph(key, title, tuple(lines_of(whole)) or UNKNOWN) for key, title, lines_of in written]


def _with_defaults(document: Json) -> Json:
    """The document with every key in its configurations: one that came later had no effect then."""
    made = document["methods"]
    filled = [
        {**one, "config": Experiment.model_validate(one["config"]).model_dump(mode="json")}
        for one in made["configurations"]
    ]
    return {**document, "methods": {**made, "configurations": filled}}


def participants(document: Json) -> Lines:
    """Who was found of those expected, by split, class and site."""
    data = _data(document)
    if data is None:
        return []
    layouts = {one["config"]["data"]["layout"] for one in document["methods"]["configurations"]}
    parts = [
        "Retinal OCT of a data set of the group's own, listed in a table."
        if layouts == {"table"}
        else "AI-READI retinal OCT, taken from the data set's manifest."
    ]
    if data["num_expected"] is not None:
        parts.append(
            f"{data['num_found']} of {data['num_expected']} expected participants were found with a volume."
        )
    if data["num_quarantined"] is not None:
        was = "was" if data["num_quarantined"] == 1 else "were"
        parts.append(f"{counted(data['num_quarantined'], 'volume')} could not be read and {was} left out.")
    classes = ", ".join(document["class_short_names"])
    for split in data["splits"]:
        counts = " / ".join(map(str, split["participants"]))
        parts.append(f"{_capital(split['name'])}: {sum(split['participants'])} participants ({counts}).")
    if data["splits"]:
        parts.append(f"Classes in this order: {classes}.")
    return [" ".join(parts + _selection(document, data))]


def _selection(document: Json, data: Json) -> list[str]:
    sites = sorted({site["name"] for site in data["sites"]})
    parts = [f"Sites: {', '.join(sites)}."] if sites else []
    chosen = {_chosen(one["config"]["data"]) for one in document["methods"]["configurations"]} - {""}
    parts += [f"Selected: {'; '.join(sorted(chosen))}."] if chosen else []
    if len(document["methods"]["data"]) > 1:
        parts.append("Some runs used other data than these; their configurations say which.")
    return parts


def _chosen(data: Json) -> str:
    parts = [f"{key} {', '.join(data[key])}" for key in ("sites", "devices", "regions") if data[key]]
    parts += [f"{data['laterality']} eyes"] if data["laterality"] != "both" else []
    parts += ["one volume a participant"] if data["volumes"] == "one" else []
    return ", ".join(parts)


def _left_out(used: Json) -> str:
    if used["leave_out"] == "site":
        return "Train and val were scored together, each site by models that were trained on the other sites."
    return (
        f"Train and val were scored together, dealt once to {used['folds']} folds, by participant, stratified on"
        f" class and site (seed {used['fold_seed']}): the volumes of each device by models that saw neither that"
        " device nor these participants."
    )


def splits(document: Json) -> Lines:
    """How training and scoring were kept apart."""
    data, used = _data(document), document["methods"]["configurations"]
    if data is None:
        return []
    n = max((row["n"] or 0 for row in document["rows"]), default=0)
    left_out = next((one for one in used if one["leave_out"]), None)
    folded = next((one for one in used if one["folds"]), None)
    if left_out is not None:
        how = _left_out(left_out)
    elif folded is not None:
        times = "once" if folded["repeats"] == 1 else f"{folded['repeats']} times"
        how = (
            f"Train and val were dealt {times} to {folded['folds']} folds, by participant, stratified on class and"
            f" site (seed {folded['fold_seed']}), the same for all runs; each participant was scored by models that"
            " did not see it."
        )
    else:
        how = f"The data set's own splits, by participant: train to train, {data['scored']} to score."
    if parts := next((one for one in used if one["shares"]), None):
        shares = ", ".join(f"{100 * share:g} %" for share in parts["shares"])
        how += (
            f" Besides, models were trained on {shares} of the training participants of each class, at least 5,"
            f" {counted(parts['draws'], 'draw')} of each (seed {parts['fold_seed']}), a smaller within the larger."
        )
    unit = (
        "participant, by the mean probability over its volumes" if data["unit"] == "participant" else "volume"
    )
    opened = document["methods"]["num_openings"]
    test = "The test split was not opened" if not opened else f"The test split was opened {_times(opened)}"
    return [f"{how} One sample is one {unit}; n = {n}. No participant is on both sides. {test}."]


def preprocessing(document: Json) -> Lines:
    """Of each configuration, where they differ."""
    used = document["methods"]["configurations"]
    sizes = {tuple(one["geometry"].get("volume_size", ())) for one in document["methods"]["checkpoints"]} - {
        ()
    }
    told = _by_text(used, lambda one: preprocessing_of(one["config"]))
    shapes = ", ".join(_size(size) for size in sorted(sizes))
    resized = f"Resized to the checkpoint's own {shapes} voxels (B-scans, rows, columns)."
    return [*told, resized] if told and sizes else told


def _size(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))


def encoders(document: Json) -> Lines:
    """What was loaded, a line each, with the beginnings of the digests."""
    used = document["methods"]["checkpoints"]
    shapes = list(dict.fromkeys(map(_shape, used)))
    lines = [f"All: {shapes[0]}."] if len(shapes) == 1 and len(used) > 1 else []
    for one in used:
        epoch = "" if one["epoch"] is None else f", saved in epoch {one['epoch']}"
        shape = "" if lines and len(shapes) == 1 else f" {_shape(one)};"
        lines.append(
            f"{one['name']} ({one['weights']}{epoch}):{shape} the file's {one['encoder_taken'] or NOT_RECORDED}"
            f" encoder; SHA-256 of the file {_digest(one['sha256'])}, of the weights {_digest(one['weights_digest'])}"
        )
    return lines


def _shape(one: Json) -> str:
    shape = one["geometry"]
    if shape.keys() >= {"embed_dim", "grid"}:
        size = f"{_size(shape['grid'])} tokens, {one['num_parameters'] or 0:,} parameters"
        return f"an encoder of others, width {shape['embed_dim']}, {size}"
    if not (shape.keys() >= {"embed_dim", "depth", "num_heads", "patch_size"} and one["num_parameters"]):
        return f"geometry {NOT_RECORDED}"
    return (
        f"3D vision transformer, width {shape['embed_dim']}, depth {shape['depth']}, {shape['num_heads']} heads,"
        f" patches of {_size(shape['patch_size'])}, {one['num_parameters']:,} parameters"
    )


def _digest(text: str) -> str:
    return f"{text[:_SHORT]}\u2026" if text else NOT_RECORDED


def training(document: Json) -> Lines:
    """A line a configuration."""
    return [f"{one['name']}: {training_of(one)}" for one in document["methods"]["configurations"]]


def imbalance(document: Json) -> Lines:
    """A line a configuration, or for those that do the same."""
    used = document["methods"]["configurations"]
    if not used:
        return []
    told = _by_text(used, lambda one: weights_of(one) or "nothing was done about it")
    return [*told, "Calibration is shown after the training shares of the classes are divided out."]


def metrics(document: Json) -> Lines:
    """The one ranked by, first."""
    ranked = METRICS[document["metric"]].label
    others = ", ".join(METRICS[name].label for name in RANKING if name != document["metric"])
    constant = METRICS[document["metric"]].chance(len(document["class_names"]))
    chance = "" if constant is None else f" (a predictor that ignores its input: {constant:.2f})"
    return [
        f"Ranked by {ranked}{chance}; also {others}, F1 and area under precision and recall of each class, confusion"
        " and calibration. Macro: mean over the classes that occur, one against the rest. With several seeds or deals"
        " of the folds a metric is the mean over them. All are computed from the stored predictions."
    ]


def uncertainty(document: Json) -> Lines:
    """Names of intervals and tests with their numbers of draws."""
    made = document["methods"]
    if not any(row["metrics"] for row in document["rows"]):
        return []
    found = (one["method"] for row in document["rows"] if row["metrics"] for one in row["metrics"].values())
    named = list(dict.fromkeys(_COUNTS.sub("", method) for method in found if method))
    compared = [row["vs_checkpoint"] or row["vs_config"] for row in document["rows"]]
    folds = any(one and one["speaks_of"] == "training" for one in compared)
    test = (
        "corrected resampled t over the folds' training sets (Nadeau and Bengio)"
        if folds
        else "paired permutation by participant, two-sided, with a paired bootstrap interval"
    )
    parts = [
        f"Intervals at 95 %: {'; '.join(named)}.",
        f"Leads and ranks: paired differences in {made['num_draws']} draws of the participants within each class, the"
        " same draws for all runs.",
        f"Signal: {made['num_permutations']} permutations of each run's labels within site, one-sided.",
    ]
    if any(compared):
        counts = [count for count in made["num_compared"].values() if count]
        num = num_permutations(len(counts) * min(counts, default=0))
        parts.append(
            f"Comparisons with a reference: {test}{'' if folds else f', at least {num} permutations'}."
        )
    return [" ".join(parts)]


def multiplicity(document: Json) -> Lines:
    made = document["methods"]
    finished = sum(bool(row["metrics"]) for row in runs_of(document))
    if not finished:
        return []
    asked = {
        "checkpoint": f"checkpoints against {document['baseline']}",
        "config": f"configurations against {document['baseline_config']}",
    }
    counts = [
        f"{asked[key]}, {counted(num, 'comparison')}" for key, num in made["num_compared"].items() if num
    ]
    parts = [
        "Leads and ranks hold at one 95 % level for all pairs of ranked runs together (max-T).",
        f"Signal is Holm-adjusted over {counted(finished, 'run')}, 5 %.",
    ]
    if counts:
        times = f" and multiplied by {len(counts)}, for the families" if len(counts) > 1 else ""
        parts.append(f"p-values are Holm-adjusted within each family ({'; '.join(counts)}){times}.")
    return [" ".join([*parts, _LOOKS])]


_LOOKS = (
    "Subgroups are looks: nothing is adjusted for them. Differences between a subgroup and the rest hold together"
    " within a run (max-T); nothing is adjusted for the secondary questions and the runs they are asked of."
)


def software(document: Json) -> Lines:
    """Every version that any run was made with."""
    found: dict[str, list[str]] = {}
    for run in document["methods"]["runs"]:
        for key, value in run["environment"].items():
            found.setdefault(key, [])
            if str(value) not in found[key]:
                found[key].append(str(value))
    if not found:
        return []
    told = [
        f"{key} {', '.join(found[key])}" for key in found if key not in ("image", "num_devices", "num_hosts")
    ]
    image = (
        f"Images: {', '.join(found['image'])}." if "image" in found else "The runs' images are not recorded."
    )
    return [f"{'; '.join(told)}. {image}"]


def config_texts(document: Json) -> list[ConfigText]:
    """The configurations, whole, in the order of the sweep."""
    return [
        ConfigText(
            one["name"], one["sha256"], yaml.safe_dump(_plain(one["config"]), sort_keys=False, width=100)
        )
        for one in document["methods"]["configurations"]
    ]


def run_texts(document: Json) -> list[RunText]:
    """Every run of the sweep, in the order of the table."""
    by_id = {one["run_id"]: one for one in document["methods"]["runs"]}
    return [_run_text(by_id[row["run_id"]]) for row in document["rows"]]


def _run_text(used: Json) -> RunText:
    environment, at = used["environment"], used["finished_at"]
    version = " ".join(str(environment[key]) for key in ("octjob", "revision") if key in environment)
    return RunText(
        used["run_id"],
        used["spec_sha256"] or NOT_RECORDED,
        used["config_sha256"] or NOT_RECORDED,
        version or NOT_RECORDED,
        str(environment.get("image", NOT_RECORDED)),
        "not finished" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}",
    )


def _plain(value: Any) -> Any:
    """As YAML writes it without tags."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _data(document: Json) -> Json | None:
    found: list[Json] = document["methods"]["data"]
    return found[0] if found else None


def _by_text(used: Iterable[Json], text: Callable[[Json], str]) -> Lines:
    """`a, b: text. c: another.`; the names are left out where all have one text."""
    names: dict[str, list[str]] = {}
    for one in used:
        names.setdefault(text(one), []).append(one["name"])
    if len(names) == 1:
        return [f"{_capital(next(iter(names)))}."]
    return [f"{', '.join(who)}: {what}." for what, who in names.items()]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"

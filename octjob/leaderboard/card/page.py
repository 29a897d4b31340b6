"""The card: front matter and text, from records alone."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from octjob import __version__
from octjob.catalog import METRICS, RANKING
from octjob.errors import AccessError, SpecError
from octjob.leaderboard.card.data_set import data_set_of
from octjob.leaderboard.card.loading import loading
from octjob.leaderboard.card.metadata import front_matter
from octjob.leaderboard.card.words import NOT_RECORDED, Json, fenced, interval, number, plain, table
from octjob.leaderboard.stored import read_leaderboard, sentence
from octjob.records.find import find_run
from octjob.records.layout import read_result, read_spec
from octjob.records.schema import Result
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore


def card_of(store: ObjectStore, name: str) -> str:
    """The card of a run of the sweep at the store's root. name: an id, CHECKPOINT.CONFIG or a beginning.

    Raises:
        AccessError: no such run, no result of it, or a leaderboard that is missing or older than its result.
        SpecError: several runs begin so, or it is a control.
        DataError: a record that is damaged.
    """
    run_id = find_run(store, name)
    result = read_result(store, run_id)
    if result is None:
        raise AccessError(
            f"run {run_id} has no result yet, so there is nothing to say of it",
            f"`octjob status {store.root}` shows where it stands.",
        )
    if result.control is not None:
        raise SpecError(
            f"run {run_id} is a control: it is there to be compared with, and no model to make a card of",
            f"`octjob status {store.root}` shows the runs.",
        )
    document = read_leaderboard(store)
    row = next(row for row in document["rows"] if row["run_id"] == run_id)
    if row["metrics"] is None:
        raise AccessError(
            f"run {run_id}: {row['reasons'][0] if row['reasons'] else 'its result cannot be read'}",
            f"Restore it, then `octjob collect {store.root}`.",
        )
    return to_card(document, row, result, read_spec(store, run_id))


def to_card(document: Json, row: Json, result: Result, run: Run) -> str:
    """document: `leaderboard.json`. row: its row of the run."""
    classes = tuple(document["class_short_names"])
    detail = next((one for one in document["details"] if one["run_id"] == row["run_id"]), None)
    sections = {
        "": _what(document, row, result, run),
        "Checkpoint": _checkpoint(result),
        "Intended use and limits": [data_set_of(run).limits],
        "Configuration": _configuration(run),
        "Data and participants": _data(result, run, classes),
        "Metrics": _metrics(document, row),
        "Class by class": _classes(row, classes),
        "Verdict": _verdict(row),
        "Calibration": _calibration(detail),
        "Subgroups": _subgroups(document, detail),
        "How to load it": loading(run, classes),
        "Read with it": [f"- {plain(text)}" for text in document["warnings"]],
        "How these numbers were made": [f"- {plain(text)}" for text in document["footnotes"]],
    }
    lines = [
        front_matter(document, row, result, run),
        f"# {plain(row['checkpoint'])} with {plain(row['config'])}",
    ]
    for title, texts in sections.items():
        if not texts:
            continue
        lines += [*(["", f"## {title}"] if title else []), "", *texts]
    lines += ["", f"Written by octjob {__version__} from its records."]
    return "\n".join(lines) + "\n"


def _what(document: Json, row: Json, result: Result, run: Run) -> list[str]:
    kind = (
        "A head on the frozen features of a pretrained 3D encoder"
        if result.mode == "probe"
        else "A pretrained 3D encoder and a head, fine-tuned together"
    )
    return [
        f"{kind}, which tells {len(document['class_names'])} {data_set_of(run).classes} apart from a retinal OCT"
        f" volume: run `{row['run_id']}` of sweep {plain(document['sweep'])}.",
        "",
        f"**Of the whole sweep:** {plain(sentence(document))}",
        "",
        f"**Of this run:** {_standing(document, row)}",
    ]


def _standing(document: Json, row: Json) -> str:
    metric = document["metric"]
    value = f"{METRICS[metric].label} {number(row['metrics'][metric]['value'])}"
    if row["rank"] is None:
        return f"it is not ranked ({plain(row['verdict'].replace('_', ' '))}), {value}."
    ranked = sum(one["rank"] is not None for one in document["rows"])
    best, worst = row["rank"]["best"], row["rank"]["worst"]
    rank = f"rank {best}" if best == worst else f"rank {best} to {worst}"
    behind = row["vs_leader"]
    if behind is None:
        to_leader = "it has the highest value"
    elif behind["tied"]:
        to_leader = "it cannot be told apart from the leader"
    else:
        to_leader = f"it is {number(behind['difference'])} behind the leader"
    return f"{rank} of {ranked} ranked runs, {value}; {to_leader}."


def _checkpoint(result: Result) -> list[str]:
    report = result.checkpoint_report
    return table(
        ["", ""],
        [
            ["name", plain(result.checkpoint)],
            ["file", plain(str(report.get("uri", NOT_RECORDED)))],
            ["SHA-256 of the file", f"`{report.get('sha256', NOT_RECORDED)}`"],
            ["SHA-256 of the weights", f"`{report.get('weights_digest', NOT_RECORDED)}`"],
            ["encoder taken", plain(str(report.get("encoder_taken", NOT_RECORDED)))],
            ["what its weights say", plain(" ".join(report.get("notes", ())) or "nothing remarkable")],
        ],
    )


def _configuration(run: Run) -> list[str]:
    written = run.config.model_dump(mode="json", exclude_defaults=True, exclude={"log", "paths", "s3"})
    num = len(run.passes) * max(1, run.folds)
    trained = f"{num} trained model{'' if num == 1 else 's'}: seeds " + ", ".join(map(str, run.seeds))
    folds = f", {run.folds} folds, {run.repeats} times" if run.folds else ""
    folds += f", for each {run.leave_out} that is left out" if run.leave_out else ""
    return [
        f"{trained}{folds}. Keys that differ from the defaults:",
        "",
        *fenced(yaml.safe_dump(written, sort_keys=True), "yaml"),
    ]


def _data(result: Result, run: Run, classes: Sequence[str]) -> list[str]:
    how = "cross-validated" if run.is_pooled else f"split {result.evaluation.get('split', NOT_RECORDED)}"
    unit = result.evaluation.get("unit", "participant")
    lines = [
        f"{data_set_of(run).name}, read from {plain(run.config.data.source or 'the bucket of its configuration')}."
        f" Scored: {how}, one sample a {plain(str(unit))}; nobody who is scored was trained on.",
    ]
    by_split = result.data.get("participants", {})
    if by_split:
        rows = [[plain(split), *(str(count) for count in counts)] for split, counts in by_split.items()]
        lines += ["", *table(["participants", *map(plain, classes)], rows)]
    return lines


def _metrics(document: Json, row: Json) -> list[str]:
    names = [document["metric"], *(name for name in RANKING if name != document["metric"])]
    rows = [
        [METRICS[name].label, number(one["value"]), interval(one), plain(one["method"]) or "–"]
        for name in names
        for one in [row["metrics"][name]]
    ]
    lines = table(["metric", "value", "95 % interval", "method"], rows)
    against = row["vs_checkpoint"]
    if against and against["difference"] is not None:
        lines += [
            "",
            f"Against the baseline {plain(document['baseline'])} under the same configuration:"
            f" {against['difference']:+.3f} (95 % interval {interval(against)}; p {number(against['p_holm'])},"
            " Holm-adjusted).",
        ]
    return lines


def _classes(row: Json, classes: Sequence[str]) -> list[str]:
    columns = (row["prevalence"], row["per_class_f1"], row["per_class_auprc"])
    return table(
        ["class", "share of the labels", "F1", "AUPRC", "times predicted"],
        [
            [plain(name), *(number(column[k]) for column in columns), str(row["prediction_counts"][k])]
            for k, name in enumerate(classes)
            if k < len(row["prediction_counts"])
        ],
    )


def _verdict(row: Json) -> list[str]:
    words = row["verdict"].replace("_", " ")
    flags = f", flagged {plain(', '.join(row['flags']))}" if row["flags"] else ""
    return [
        f"*{words}*{flags}.",
        *(["", *(f"- {plain(text)}" for text in row["reasons"])] if row["reasons"] else []),
    ]


def _calibration(detail: Json | None) -> list[str]:
    if detail is None:
        return ["Not in the leaderboard's details, which its first rows have."]
    found = detail["calibration"]
    corrected = ", after the classes' shares in training were divided out" if found["prior_corrected"] else ""
    rows = [[f"{one['count']:.0f}", number(one["confidence"]), number(one["right"])] for one in found["bins"]]
    return [
        f"Expected calibration error {number(found['error'])}{corrected}.",
        "",
        *table(["answers", "mean confidence", "share right"], rows),
    ]


def _subgroups(document: Json, detail: Json | None) -> list[str]:
    found = detail["subgroups"] if detail else ()
    if not found:
        return [
            "Not computed: the best run of each checkpoint has them, where there is more than one of a kind."
        ]
    label = METRICS[document["metric"]].label
    rows = [
        [one["field"], plain(one["name"]), str(one["n"]), number(one["value"]), interval(one)]
        for one in found
    ]
    return [
        f"{label} on the part of the data from one of each. These are looks, not tests.",
        "",
        *table(["", "", "participants", label, "95 % interval"], rows),
    ]

"""Reporting guidelines, item by item: what the records answer, and why they do not answer the others.

Items go by the guidelines' own numbers. Their topics are named in words of our own, too short to fill one in by: the
guidelines themselves say what an item asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from octjob.report.answers import answers
from octjob.report.view import Json

State = Literal["answered", "in part", "not available"]

_AUTHORS = "no record holds it; the authors have to say it"
_PAPER = "the data set's own paper says it; octjob reads nothing of it"
_CLINICAL = "octjob compares encoders; it makes no claim about care"


@dataclass(frozen=True)
class Item:
    """One item. keys: of `answers`. missing: why the records do not answer it, or what they leave open."""

    number: str
    topic: str
    keys: tuple[str, ...] = ()
    missing: str = ""


@dataclass(frozen=True)
class Guideline:
    name: str
    version: str
    citation: str
    doi: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Filled:
    """An item with what the records say of it."""

    number: str
    topic: str
    state: State
    text: str


TRIPOD_AI = Guideline(
    "TRIPOD+AI",
    "2024",
    "Collins GS, Moons KGM, Dhiman P, et al. BMJ 2024;385:e078378",
    "10.1136/bmj-2023-078378",
    (
        Item("1", "Title", ("kind",), "the title itself is for the authors to write"),
        Item("2", "Abstract", ("result",), "the rest is for the authors to write"),
        Item("3a", "Clinical context", (), _AUTHORS),
        Item("3b", "Intended use and users", (), _CLINICAL),
        Item("3c", "Known inequalities in health", (), _AUTHORS),
        Item("4", "Objectives", ("objective",)),
        Item("5a", "Sources of data", ("participants",), f"representativeness: {_PAPER}"),
        Item("5b", "Dates of recruitment", (), _PAPER),
        Item("6a", "Setting and centres", ("sites",), f"where they are: {_PAPER}"),
        Item("6b", "Eligibility", ("selection",), f"who was recruited: {_PAPER}"),
        Item("6c", "Treatments", (), f"but for the classes, {_PAPER}"),
        Item("7", "Preparation of the data", ("preprocessing",)),
        Item("8a", "Outcome", ("outcome",), f"how and when it was assessed: {_PAPER}"),
        Item("8b", "Who assessed the outcome", (), _PAPER),
        Item("8c", "Blinding of that assessment", (), _PAPER),
        Item("9a", "Choice of predictors", ("predictors",)),
        Item("9b", "Definition of predictors", ("predictors", "preprocessing")),
        Item("9c", "Who assessed predictors", ("no assessors",)),
        Item("10", "Sample size", ("sample size",)),
        Item("11", "Missing data", ("missing",)),
        Item("12a", "Use of the data", ("splits",)),
        Item("12b", "Handling of predictors", ("preprocessing",)),
        Item("12c", "Type and building of the model", ("model", "trainings", "chosen epoch")),
        Item("12d", "Differences between clusters", ("subgroups",), "no model of the differences was fitted"),
        Item("12e", "Measures of performance", ("metrics", "uncertainty", "multiplicity")),
        Item("12f", "Updating of the model", ("no updating",)),
        Item("12g", "How predictions were made", ("output",), "`octjob card` writes a program for each run"),
        Item("13", "Class imbalance", ("imbalance",)),
        Item(
            "14", "Fairness", ("subgroups",), "no attribute of a person is read, so nothing was tested by one"
        ),
        Item("15", "Output of the model", ("output",)),
        Item("16", "Training against evaluation", ("splits", "sites")),
        Item("17", "Ethical approval", (), _PAPER),
        Item("18a", "Funding", (), _AUTHORS),
        Item("18b", "Conflicts of interest", (), _AUTHORS),
        Item("18c", "Protocol", ("test split",), _AUTHORS),
        Item("18d", "Registration", (), _AUTHORS),
        Item("18e", "Sharing of data", (), "the data set's licence says it"),
        Item("18f", "Sharing of code", ("code",)),
        Item("19", "Involvement of patients and public", (), _AUTHORS),
        Item("20a", "Flow of participants", ("participants", "missing")),
        Item("20b", "Characteristics of participants", ("participants", "sites"), f"the others: {_PAPER}"),
        Item("20c", "Comparison with the training data", ("participants",), "demographics are not read"),
        Item("21", "Participants and outcomes by analysis", ("participants",)),
        Item("22", "Specification of the model", ("model", "trainings"), "weights lie beside the runs"),
        Item("23a", "Performance", ("result", "table", "calibration")),
        Item("23b", "Performance by cluster", ("subgroups",)),
        Item("24", "Results of updating", ("no updating",)),
        Item("25", "Interpretation", ("result",), "what it means for care is for the authors to say"),
        Item("26", "Limitations", ("limits",)),
        Item("27a", "Poor or missing input in use", ("missing",), _CLINICAL),
        Item("27b", "Interaction of users", (), _CLINICAL),
        Item("27c", "Next steps", ("next",)),
    ),
)

CLAIM = Guideline(
    "CLAIM",
    "2024 update",
    "Tejani AS, Klontzas ME, Gatti AA, et al. Radiology: Artificial Intelligence 2024;6(4):e240300",
    "10.1148/ryai.240300",
    (
        Item("1", "Title", ("kind",), "the title itself is for the authors to write"),
        Item("2", "Abstract", ("result",), "the rest is for the authors to write"),
        Item("3", "Background and intended use", (), _AUTHORS),
        Item("4", "Aims and hypotheses", ("objective",)),
        Item("5", "Prospective or retrospective", (), _PAPER),
        Item("6", "Goal of the study", ("kind",)),
        Item("7", "Sources of data", ("participants",)),
        Item("8", "Who was included", ("selection",), f"who was recruited: {_PAPER}"),
        Item("9", "Preprocessing", ("preprocessing",)),
        Item("10", "Subsets of the data", ("selection",)),
        Item("11", "De-identification", (), _PAPER),
        Item("12", "Missing data", ("missing",)),
        Item(
            "13",
            "Acquisition of images",
            (),
            f"devices are in the configurations' `data`; the protocol: {_PAPER}",
        ),
        Item("14", "Reference standard", ("outcome",), f"how it was assessed: {_PAPER}"),
        Item("15", "Why that reference standard", (), _AUTHORS),
        Item("16", "Source of annotations", (), _PAPER),
        Item("17", "Annotation of the test set", ("no annotation",)),
        Item("18", "Agreement of raters", (), _PAPER),
        Item("19", "How partitions were made", ("splits",)),
        Item("20", "What the partitions divide", ("splits",)),
        Item("21", "Sample size", ("sample size",)),
        Item("22", "Model", ("model",)),
        Item("23", "Software", ("software",)),
        Item("24", "Weights at the start", ("initial weights",)),
        Item("25", "Training", ("trainings", "imbalance")),
        Item("26", "Choice of the final model", ("chosen epoch", "chosen run")),
        Item("27", "Ensembles", ("ensembles",)),
        Item("28", "Metrics", ("metrics",)),
        Item("29", "Significance and uncertainty", ("uncertainty", "multiplicity")),
        Item("30", "Robustness", ("variance",)),
        Item("31", "Explainability", ("no explanation",)),
        Item("32", "The same data set", ("splits",)),
        Item("33", "Other data sets", ("no other data",)),
        Item("34", "Registration as a trial", (), _AUTHORS),
        Item("35", "Included and excluded", ("participants", "missing")),
        Item("36", "Characteristics by partition", ("participants",), f"demographics: {_PAPER}"),
        Item("37", "Performance on all partitions", ("result", "table")),
        Item("38", "Precision of performance", ("result", "calibration")),
        Item("39", "Failures", ("failures",), "cases are not looked at one by one"),
        Item("40", "Limitations", ("limits",)),
        Item("41", "Implications for practice", (), _CLINICAL),
        Item("42", "Protocol and further details", ("code",), _AUTHORS),
        Item(
            "43",
            "Availability of software, model and data",
            ("code",),
            "data and weights: their licences say it",
        ),
        Item("44", "Funding", (), _AUTHORS),
    ),
)

GUIDELINES = (TRIPOD_AI, CLAIM)


@dataclass(frozen=True)
class FilledGuideline:
    """A guideline with all its items, in its order. tally: how many are answered, as text."""

    name: str
    version: str
    citation: str
    doi: str
    rows: tuple[Filled, ...]
    tally: str


def filled_guidelines(document: Json) -> list[FilledGuideline]:
    """Both, from the same answers."""
    known = answers(document)
    found = []
    for one in GUIDELINES:
        rows = tuple(_filled(item, known) for item in one.items)
        found.append(FilledGuideline(one.name, one.version, one.citation, one.doi, rows, _tally(rows)))
    return found


def _filled(item: Item, known: Mapping[str, str]) -> Filled:
    found = [known[key] for key in item.keys if known[key]]
    left_open = item.missing or ("" if len(found) == len(item.keys) else "no finished run's records hold it")
    if not found:
        return Filled(item.number, item.topic, "not available", f"Not available: {left_open}.")
    text = " ".join(found)
    if left_open:
        return Filled(item.number, item.topic, "in part", f"{text} Not available: {left_open}.")
    return Filled(item.number, item.topic, "answered", text)


def _tally(items: Sequence[Filled]) -> str:
    """`30 answered, 10 in part, 12 not available`."""
    states: tuple[State, ...] = ("answered", "in part", "not available")
    return ", ".join(f"{sum(item.state == state for item in items)} {state}" for state in states)

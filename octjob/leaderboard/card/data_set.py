"""What a card says of the data set: AI-READI, of which much is known, or a group's own."""

from __future__ import annotations

from dataclasses import dataclass

from octjob.spec.run import Run


@dataclass(frozen=True)
class DataSet:
    """name and classes: in sentences. type and task: of the front matter. limits: what the model is for."""

    name: str
    classes: str
    type: str
    task: str
    limits: str


_USE = """\
For research on representations of retinal OCT: to compare checkpoints and configurations with others. It is not a
medical device, was not tested as one, and must not be used to diagnose, screen or treat anybody. It saw """

AIREADI = DataSet(
    name="AI-READI retinal OCT",
    classes="AI-READI study groups",
    type="ai-readi",
    task="Diabetes study group from a retinal OCT volume",
    limits=_USE
    + """volunteers of
one study in the United States, at few sites and from few scanners; other people, scanners and protocols are outside
what was measured. Its classes are study groups by treatment, not findings in an eye.

It was trained on AI-READI, whose licence forbids sharing the data further. Whether and how weights trained on them
may be shared, that licence and the agreement under which you had the data say; the front matter's `license: other`
is for you to fill in.""",
)
OWN = DataSet(
    name="Retinal OCT of a data set of the group's own",
    classes="classes",
    type="own",
    task="Class of a retinal OCT volume",
    limits=_USE
    + """the
participants counted below; other people, scanners and protocols are outside what was measured.

Whether and how weights trained on these volumes may be shared, the agreement under which you had them says; the front
matter's `license: other` is for you to fill in.""",
)


def data_set_of(run: Run) -> DataSet:
    """By `data.layout`."""
    return OWN if run.config.data.is_table else AIREADI

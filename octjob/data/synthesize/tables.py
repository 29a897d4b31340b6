"""The tables of a synthetic bucket: participants, volume manifest, clinical data (OMOP), byte for byte repeatable."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence

from octjob.data.manifest import MANIFEST_COLUMNS
from octjob.data.synthesize.cohort import Participant
from octjob.data.synthesize.dicom import VolumeIdentity, spacing_mm
from octjob.data.synthesize.protocols import scaled_shape
from octjob.data.synthesize.recipe import SynthesisRecipe

_MODALITIES = (
    "cardiac_ecg",
    "clinical_data",
    "environment",
    "retinal_flio",
    "retinal_oct",
    "retinal_octa",
    "retinal_photography",
    "wearable_activity_monitor",
    "wearable_blood_glucose",
)
_PARTICIPANT_COLUMNS = ("clinical_site", "study_group", "age", "study_visit_date", "recommended_split")
_MANIFEST_COLUMNS = MANIFEST_COLUMNS[1:]
# OMOP concepts: HbA1c, type 2 diabetes, age.
HBA1C_CONCEPT, DIABETES_CONCEPT, AGE_CONCEPT = 3004410, 201826, 4265453


def _table(rows: Iterable[Sequence[object]], delimiter: str) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def participants_tsv(recipe: SynthesisRecipe, people: Sequence[Participant]) -> bytes:
    """One row per participant, the 15 columns of AI-READI v2."""
    rows: list[Sequence[object]] = [(recipe.id_column, *_PARTICIPANT_COLUMNS, *_MODALITIES)]
    for person in people:
        present = {"clinical_data": True, "retinal_oct": bool(person.devices)}
        modalities = [str(present.get(name, False)).upper() for name in _MODALITIES]
        own = (person.site, person.study_group, person.age, person.visit_date, person.split)
        rows.append((person.participant_id, *own, *modalities))
    return _table(rows, "\t")


def manifest_tsv(recipe: SynthesisRecipe, volumes: Sequence[VolumeIdentity]) -> bytes:
    """`retinal_oct/manifest.tsv`: one row per volume, 15 columns."""
    rows: list[Sequence[object]] = [(recipe.id_column, *_MANIFEST_COLUMNS)]
    for volume in volumes:
        protocol = volume.protocol
        depth, height, width = shape = scaled_shape(protocol, recipe.geometry_scale)
        between, axial, lateral = spacing_mm(protocol, shape)
        spacing = "Varies by frame" if protocol.radial else f"[{axial:.8f}, {lateral:.8f}]"
        thickness = "Not reported" if protocol.radial else f"{between:.8f}"
        device = (protocol.manufacturer, protocol.model, protocol.region, "OCT", volume.laterality)
        files = (volume.sop_instance_uid, f"/{volume.key}", "Not reported", "Not reported")
        person = volume.participant.participant_id
        rows.append((person, *device, height, width, depth, spacing, thickness, *files))
    return _table(rows, "\t")


def other_tables(recipe: SynthesisRecipe, people: Sequence[Participant]) -> Mapping[str, bytes]:
    """By key: the participants' data dictionary and the clinical tables `aireadi-loader` insists on."""
    names = (recipe.id_column, *_PARTICIPANT_COLUMNS, *_MODALITIES)
    dictionary = {name: {"Description": f"{name} of a synthetic participant"} for name in names}
    condition: list[Sequence[object]] = [("condition_occurrence_id", "person_id", "condition_concept_id")]
    measurement: list[Sequence[object]] = [
        (
            "measurement_id",
            "person_id",
            "measurement_concept_id",
            "value_as_number",
            "measurement_source_value",
        )
    ]
    observation: list[Sequence[object]] = [
        (
            "observation_id",
            "person_id",
            "observation_concept_id",
            "value_as_number",
            "observation_source_value",
            "qualifier_concept_id",
        )
    ]
    for i, person in enumerate(people):
        who = person.participant_id
        if person.label >= 2:
            condition.append((i, who, DIABETES_CONCEPT))
        measurement.append((i, who, HBA1C_CONCEPT, person.hba1c, "import_hba1c, HbA1c (%)"))
        observation.append((i, who, AGE_CONCEPT, person.age, "paage, Age", 0))
    return {
        "participants.json": (json.dumps(dictionary, indent=2) + "\n").encode(),
        "clinical_data/condition_occurrence.csv": _table(condition, ","),
        "clinical_data/measurement.csv": _table(measurement, ","),
        "clinical_data/observation.csv": _table(observation, ","),
    }

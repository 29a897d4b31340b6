"""What `-o json` prints, as JSON Schemas: made from the types that are printed, so that neither lags behind.

A document names its schema as `octjob.<command>/<version>`. Keys may be added to a version; one that is removed,
renamed or means something else makes the next.
"""

from __future__ import annotations

from typing import Any

from octjob.cli.status_table import STATUS_SCHEMA

PLAN_SCHEMA = "octjob.plan/2"
EXPLAIN_SCHEMA = "octjob.explain/1"
_DRAFT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


def status_schema() -> Schema:
    """The schema of `octjob status -o json`."""
    from octjob.cli.footer import RunLinks, SweepLinks
    from octjob.records.status import RunStatus
    from octjob.targets.kubernetes.observation.used import Used

    run = _schema_of(RunStatus)
    document = _document(
        STATUS_SCHEMA,
        "Where a sweep's runs stand",
        {"sweep": {"type": "string", "description": "URI of the sweep's results."}, "runs": _list(run)},
    )
    links = _schema_of(SweepLinks)
    links.pop("$defs")
    links["properties"]["runs"] = {"type": "object", "additionalProperties": _schema_of(RunLinks)}
    # What a cluster adds: one of GKE, and one where there is a price table.
    document["properties"] |= {"links": links, "used": _list(_schema_of(Used))}
    return document


def plan_schema() -> Schema:
    """The schema of `octjob plan -o json`."""
    from octjob.spec.capacity import WORDS
    from octjob.spec.run import Run
    from octjob.targets.idle import IdleChips
    from octjob.targets.kubernetes.outlook.chip_hours import ChipHours
    from octjob.targets.kubernetes.outlook.quota import Quota
    from octjob.targets.prices import Cost

    run = _closed(Run.model_json_schema(mode="serialization"))
    definitions = run.pop("$defs", {})
    run["properties"] |= {
        "uri": {"type": "string", "description": "Where its spec and its result are."},
        "mode": {"enum": ["probe", "finetune"]},
        "jobset": _nullable("string", "Name of its JobSet; null for target local."),
        "finished": _nullable("boolean", "Whether it has a result; null where the store was not asked."),
        "state": _nullable(
            "string", "Where it stands; without a cluster Succeeded or Pending; null where unknown."
        ),
    }
    run["required"] = list(run["properties"])
    answered = {
        "type": "object",
        "properties": {
            "context": {"type": "string"},
            "namespace": {"type": "string"},
            "quota": {"anyOf": [_schema_of(Quota), {"type": "null"}]},
        },
        "required": ["context", "namespace", "quota"],
    }
    silent = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
    text = {"type": "string"}
    document = _document(
        PLAN_SCHEMA,
        "The runs of a sweep",
        {
            "name": text,
            "output": text,
            "cache": text,
            "baseline": _nullable("string", "Name of the reference checkpoint."),
            "baseline_config": _nullable("string", "Name of the reference configuration."),
            "runs": _list(run),
        },
    )
    # Only of a sweep with target kubernetes.
    document["properties"] |= {
        "capacity": _list({"enum": list(WORDS)}),
        "chip_hours": _schema_of(ChipHours),
        "chip_hours_with_probe": _schema_of(ChipHours),
        "chip_hours_without_probe": _schema_of(ChipHours),
        "cluster": {"anyOf": [answered, silent]},
        # Only where there is a price table.
        "cost": _schema_of(Cost),
        "idle_chips": _list(_schema_of(IdleChips)),
    }
    return {**document, "$defs": definitions}


def explain_schema() -> Schema:
    """The schema of `octjob explain -o json`."""
    from octjob.targets.estimate import Estimate, NotKnown
    from octjob.targets.idle import IdleChips

    return _document(
        EXPLAIN_SCHEMA,
        "What each chip has to hold and to compute",
        {
            "accelerator": {"type": "string"},
            "chips": {"type": "integer"},
            "estimates": _list(_schema_of(Estimate)),
            "not_known": _list(_schema_of(NotKnown)),
            "idle_chips": _list(_schema_of(IdleChips)),
        },
    )


def leaderboard_schema() -> Schema:
    """The schema of `octjob collect -o json` and of `leaderboard.json` in the store."""
    from octjob.leaderboard.board import Leaderboard
    from octjob.leaderboard.export import LEADERBOARD_SCHEMA

    board = _schema_of(Leaderboard)
    digests = {
        "description": "SHA-256 of the other files, by their endings.",
        "type": "object",
        "properties": {ending: {"type": "string"} for ending in ("csv", "md", "parquet")},
        "required": ["csv", "md", "parquet"],
        "additionalProperties": False,
    }
    properties = {**board["properties"], "sha256": digests}
    document = _document(LEADERBOARD_SCHEMA, "A sweep's leaderboard", properties)
    return {**document, "$defs": board["$defs"]}


def doctor_schema() -> Schema:
    """The schema of `octjob doctor -o json`."""
    from octjob.doctor.finding import Diagnosis
    from octjob.doctor.text import DOCTOR_SCHEMA

    found = _schema_of(Diagnosis)
    document = _document(DOCTOR_SCHEMA, "What is wrong with a sweep or a run", found["properties"])
    return {**document, "$defs": found["$defs"]}


def queue_schema() -> Schema:
    """The schema of `octjob queue -o json`."""
    from octjob.cli.queue import QUEUE_SCHEMA
    from octjob.targets.kubernetes.observation.holders import Queue

    queue = _schema_of(Queue)
    definitions = queue.pop("$defs", {})
    properties = {"sweep": {"type": "string", "description": "The sweep's name."}, "queues": _list(queue)}
    document = _document(QUEUE_SCHEMA, "Who holds the chips that a sweep's runs wait for", properties)
    return {**document, "$defs": definitions}


def event_schema() -> Schema:
    """The schema of what `octjob collect --notify` posts."""
    from octjob.notify.event import Event

    return {"$schema": _DRAFT, "title": "That a run or a sweep has ended", **_schema_of(Event)}


def _document(name: str, title: str, properties: Schema) -> Schema:
    whole = {"schema": {"const": name}, **properties}
    return {
        "$schema": _DRAFT,
        "title": title,
        "type": "object",
        "properties": whole,
        "required": list(whole),
    }


def _schema_of(kind: type) -> Schema:
    from pydantic import TypeAdapter

    schema: Schema = _closed(TypeAdapter(kind).json_schema(mode="serialization"))
    return schema


def _closed(schema: Any) -> Any:
    """Every key of an object is printed, whatever has a default; titles only repeat names."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: {name: _closed(one) for name, one in value.items()} if key in _NAMED else _closed(value)
        for key, value in schema.items()
        if key not in ("title", "default")
    }
    if "properties" in kept:
        kept["required"] = list(kept["properties"])
    return kept


# Their keys are names of the document's, not words of JSON Schema.
_NAMED = ("properties", "$defs")


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _nullable(kind: str, description: str) -> Schema:
    return {"type": [kind, "null"], "description": description}

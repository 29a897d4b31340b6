"""The stored page, and whether Weights & Biases has it: a collector that runs every hour logs what is new, once."""

from __future__ import annotations

import hashlib

from octjob.errors import DataError
from octjob.records.layout import LEADERBOARD, encode, read_record
from octjob.records.schema import Record
from octjob.spec.experiment import Log
from octjob.storage.base import ObjectNotFoundError, ObjectStore

PAGE = f"{LEADERBOARD}/report.html"
_MARK = f"{LEADERBOARD}/wandb.json"


class LoggedRecord(Record):
    """`leaderboard/wandb.json`: the page that W&B took last, by its SHA-256, and the project."""

    schema_version: int = 1
    sha256: str
    project: str
    entity: str | None


def read_page(store: ObjectStore) -> bytes:
    """`leaderboard/report.html`."""
    return store.get(PAGE)


def is_logged(store: ObjectStore, page: bytes, log: Log) -> bool:
    """Whether this very page went to this project; a mark that cannot be read is none."""
    try:
        return read_record(store, _MARK, LoggedRecord) == _mark(page, log)
    except (ObjectNotFoundError, DataError):
        return False


def mark_logged(store: ObjectStore, page: bytes, log: Log) -> None:
    """Remember it."""
    store.put(_MARK, encode(_mark(page, log)))


def _mark(page: bytes, log: Log) -> LoggedRecord:
    digest = hashlib.sha256(page).hexdigest()
    return LoggedRecord(sha256=digest, project=log.wandb_project, entity=log.wandb_entity)

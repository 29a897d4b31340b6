"""Objects in `file://`, `gs://` and `b2://` stores behind one small protocol.

Importing this loads neither Google's nor Backblaze's SDK: each is imported by the first use of its store.
"""

from octjob.spec.uri import StoreUri, check_key, join_uri, parse_uri, split_uri
from octjob.storage.base import (
    AlreadyExistsError,
    ObjectInfo,
    ObjectNotFoundError,
    ObjectStore,
    VersionConflictError,
)
from octjob.storage.open import download, open_store, read_uri

__all__ = [
    "AlreadyExistsError",
    "ObjectInfo",
    "ObjectNotFoundError",
    "ObjectStore",
    "StoreUri",
    "VersionConflictError",
    "check_key",
    "download",
    "join_uri",
    "open_store",
    "parse_uri",
    "read_uri",
    "split_uri",
]

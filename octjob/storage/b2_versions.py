"""Which version of a B2 object counts, when conditional writes raced.

B2 keeps every upload as a version and has no preconditions. So a conditional write uploads first, marked
with the version it was meant to follow, and the order of the versions decides afterwards, for writers and
readers alike: a marked version counts only if what it follows was current when it came. So losers never
count, even when their writer died before removing them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# File info of conditional uploads: the file id they follow or `ABSENT`, and a token of the writer.
AFTER = "octjob-after"
OWNER = "octjob-owner"
ABSENT = "absent"


def current_version(versions: Iterable[Any]) -> Any | None:
    """The version that is the object's content, of all versions of one name in any order; None if deleted.

    versions: b2sdk `FileVersion`s; the order that counts is by upload timestamp, then file id.
    """
    return history(versions)[-1]


def history(versions: Iterable[Any]) -> list[Any | None]:
    """What was current one after the other, from None at first to what is current now; those that lost are absent."""
    ordered = sorted(versions, key=lambda version: (version.upload_timestamp, version.id_))
    ids = {version.id_ for version in ordered}
    current: list[Any | None] = [None]
    for version in ordered:
        if version.action == "hide":
            current.append(None)
        elif version.action == "upload" and _counts(version, current[-1], ids):
            current.append(version)
    return current


def _counts(version: Any, current: Any | None, ids: set[str]) -> bool:
    after = (version.file_info or {}).get(AFTER)
    if after is None:
        return True
    if current is not None:
        return bool(after == current.id_)
    # What it followed may have been removed since by the bucket's lifecycle rules.
    return after == ABSENT or after not in ids

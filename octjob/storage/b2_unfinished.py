"""Large files whose upload was begun and never finished: invisible, billed, and left by every killed writer."""

from __future__ import annotations

import logging
from typing import Any

from b2sdk.v3 import B2Api, Bucket
from b2sdk.v3 import exception as b2_errors

logger = logging.getLogger(__name__)

# No upload of ours lives as long. Both stamps compared are B2's own.
ABANDONED_AFTER_MS = 24 * 3600 * 1000
_PAGE = 100


def cancel_abandoned(api: B2Api, bucket: Bucket, uploaded: Any) -> int:
    """Cancel the unfinished uploads of a name of which a large file was just uploaded, if a day older; how many.

    uploaded: the finished upload's b2sdk `FileVersion`. A key that may not is a warning.
    """
    if uploaded.content_sha1 not in (None, "none"):
        return 0
    count = 0
    try:
        found = api.session.list_unfinished_large_files(bucket.id_, None, _PAGE, uploaded.file_name)
        for file in found["files"]:
            age_ms = uploaded.upload_timestamp - file["uploadTimestamp"]
            if file["fileName"] == uploaded.file_name and age_ms >= ABANDONED_AFTER_MS:
                api.session.cancel_large_file(file["fileId"])
                count += 1
    except b2_errors.B2Error as error:
        logger.warning("%s: unfinished uploads of it may remain: %s", uploaded.file_name, error)
    return count

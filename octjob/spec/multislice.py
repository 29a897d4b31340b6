"""Several slices for one run: the variables by which their hosts know each other.

GKE's name for it is Multislice: within a slice chips talk over their own links, between slices over the network
(cloud.google.com/kubernetes-engine/docs/how-to/tpu-multislice, read in November 2026).
"""

from __future__ import annotations

from collections.abc import Mapping

from octjob.errors import SpecError

# What libtpu goes by, and octjob too, so that the two cannot disagree. GKE adds them to the pods of a JobSet by
# itself; the manifest writes them all the same, since nothing says from which version on.
NUM_SLICES = "MEGASCALE_NUM_SLICES"
SLICE_ID = "MEGASCALE_SLICE_ID"
COORDINATOR_ADDRESS = "MEGASCALE_COORDINATOR_ADDRESS"
# Where the slices' hosts listen for each other: libtpu's own choice, which nothing here changes.
PORT = 8080


def read_slices(environ: Mapping[str, str]) -> tuple[int, int]:
    """How many slices the run has, and which of them this host belongs to, from 0; one where nothing says more.

    Raises `SpecError` for a variable that is missing or makes no sense.
    """
    count = _number(environ, NUM_SLICES)
    if count is None or count == 1:
        return 1, 0
    index = _number(environ, SLICE_ID)
    if count == 0 or index is None or index >= count:
        said = "is not set" if index is None else f"is {index}"
        raise SpecError(
            f"{NUM_SLICES}={count}, but {SLICE_ID} {said}",
            f"Set it to 0 to {max(count - 1, 0)}, the same on all hosts of a slice, or unset {NUM_SLICES}.",
        )
    return count, index


def _number(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "")
    if not text:
        return None
    if not text.isdecimal():
        raise SpecError(f"{name}={text}: not a whole number from 0 on", f"Unset {name}, or mend it.")
    return int(text)

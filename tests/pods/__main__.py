"""`python -m tests.pods down --data DIR --after-stdin`: started beside the tests, should they be killed."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.pods.cluster import PodPlane, end
from tests.pods.enclosure import neighbours


def main(arguments: list[str]) -> None:
    """Wait until standard input ends, then stop the control plane in DIR; harmless when there is none any more."""
    if arguments[:2] != ["down", "--data"] or arguments[3:] != ["--after-stdin"]:
        raise SystemExit(__doc__)
    sys.stdin.read()
    if plane := PodPlane.attach(Path(arguments[2])):
        plane.stop()
        # Nobody is left who would end what else was started in there.
        end(neighbours())


if __name__ == "__main__":
    main(sys.argv[1:])

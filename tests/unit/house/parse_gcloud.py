"""Lines of arguments from standard input through the parser of an installed gcloud; nothing is carried out.

Run by gcloud's own Python with the root of its installation; `ok` or the parser's exit code is a line of standard
output each, what the parser says goes to standard error. Needs no account and reaches no network.
"""

from __future__ import annotations

import importlib
import json
import sys


def main(root: str) -> None:
    """Parse each line, a JSON list of words behind `gcloud`."""
    sys.path[:0] = [f"{root}/lib", f"{root}/lib/third_party"]
    # Its parser alone: Execute() would carry out what parses.
    parser = importlib.import_module("googlecloudsdk.gcloud_main").CreateCLI([])._CLI__parser
    for line in sys.stdin:
        try:
            parser.parse_args(json.loads(line))
        except SystemExit as exit_:
            sys.stdout.write(f"{exit_.code}\n")
        else:
            sys.stdout.write("ok\n")


if __name__ == "__main__":
    main(sys.argv[1])

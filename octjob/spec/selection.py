"""Which keys of a config's `data` decide who takes part with which volumes."""

from __future__ import annotations

# Of the data set, and of what is taken of it.
SELECTION = (
    *("layout", "table", "columns", "axes", "source"),
    *("sites", "devices", "regions", "laterality", "volumes", "include_radial"),
    "eval_split",
)

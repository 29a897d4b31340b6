"""Where a sweep's things are: what users write as absolute URIs and paths, with file, line and key in errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from octjob.errors import SpecError
from octjob.spec.experiment import Experiment
from octjob.spec.show import elided, shown
from octjob.spec.uri import join_uri, parse_uri
from octjob.spec.yaml import Document, KeyPath, dotted


@contextmanager
def located(document: Document, path: KeyPath) -> Iterator[None]:
    """File, line and key in front of what is said of the value at `path`."""
    try:
        yield
    except SpecError as error:
        message = elided(error.message, 300)
        raise SpecError(f"{document.mark(path)}: {dotted(path)}: {message}", error.hint) from None


def absolute_uri(uri: str, base: Path) -> str:
    """`uri` normalised; a relative path is taken from `base`. Raises `SpecError`."""
    return str(parse_uri(uri if "://" in uri else local_path(uri, base)))


def local_path(text: str, base: Path) -> str:
    """A path from `base` or, with `~`, from a home directory. Raises `SpecError` where there is no such user."""
    try:
        return str(base / Path(text).expanduser())
    except RuntimeError:
        raise SpecError(f"{shown(text)}: no such user", "Write the directory itself.") from None


def dataset_root(config: Experiment, document: Document) -> str:
    """`data.source`, or the folder of `data.table`, or what the original `paths` say: bucket and folder of
    participants.tsv."""
    if config.data.source:
        return config.data.source
    if config.data.table and config.data.is_table:
        return config.data.table.rpartition("/")[0] or "."
    if config.paths.s3_bucket is None:
        raise SpecError(
            f"{document.mark(())}: neither data.source nor paths.s3_bucket says where the volumes are",
            "Set data.source to the data set's root URI, e.g. b2://eye-dataset/ai-readi/dataset.",
        )
    folder = config.paths.labels_tsv.rpartition("/")[0]
    expected = f"{folder}/retinal_oct".lstrip("/")
    if config.paths.s3_prefix is not None and config.paths.s3_prefix.strip("/") != expected:
        raise SpecError(
            f"{document.mark(('paths', 's3_prefix'))}: paths.s3_prefix: expected {shown(expected)} beside"
            f" {shown(config.paths.labels_tsv)}, got {shown(config.paths.s3_prefix)}",
            "Set data.source to the root that holds participants.tsv and retinal_oct/.",
        )
    return join_uri(f"b2://{config.paths.s3_bucket}", folder) if folder else f"b2://{config.paths.s3_bucket}"

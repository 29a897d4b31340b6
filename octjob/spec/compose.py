"""Experiment configs from files: `defaults` siblings, then the file, then a sweep's overrides."""

from __future__ import annotations

import os
from pathlib import Path

from octjob.errors import SpecError
from octjob.spec.effects import check_effects
from octjob.spec.experiment import Experiment
from octjob.spec.file import UnreadableError, name_of
from octjob.spec.show import describe, elided
from octjob.spec.validate import validate
from octjob.spec.yaml import Document, load, merge

MAX_FILES = 50


class Composer:
    """Reads config files, each once however often it is named.

    Documents it returns are shared: to be merged, not changed.
    """

    def __init__(self) -> None:
        self._composed: dict[str, Document] = {}

    def compose(self, path: Path, named: str = "", above: tuple[str, ...] = ()) -> Document:
        """The document of `path` on top of the siblings its `defaults:` list names, in order.

        named: where `path` was written, in front of what is said of a file that cannot be read.
        above: the files whose `defaults` led here.

        Raises `SpecError` for a missing sibling, a circle, or more than `MAX_FILES` files.
        """
        real = os.path.realpath(path)
        if real in above:
            names = elided(" -> ".join(os.path.basename(name) for name in (*above, real)), 200)
            raise SpecError(
                f"{name_of(path)}: `defaults` go in a circle: {names}", "Remove one of the entries."
            )
        if real not in self._composed:
            if len(self._composed) + len(above) >= MAX_FILES:
                raise SpecError(f"{name_of(path)}: `defaults` and configs name more than {MAX_FILES} files")
            try:
                loaded = load(path)
            except UnreadableError as error:
                raise SpecError(f"{named}{error.message}", error.hint) from None
            self._composed[real] = self._on_defaults(loaded, path, (*above, real))
        return self._composed[real]

    def _on_defaults(self, loaded: Document, path: Path, above: tuple[str, ...]) -> Document:
        own = Document({key: value for key, value in loaded.data.items() if key != "defaults"}, loaded.marks)
        base = Document({}, {(): loaded.marks[()]})
        for index, name in _defaults(loaded):
            sibling = path.parent / (name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
            named = f"{loaded.mark(('defaults', index))}: defaults.{index}: "
            base = merge(base, self.compose(sibling, named, above))
        return merge(base, own)


def _defaults(document: Document) -> list[tuple[int, str]]:
    names = document.data.get("defaults", [])
    mark = document.mark(("defaults",))
    if not isinstance(names, list):
        raise SpecError(f"{mark}: defaults: expected a list of file names, got {describe(names)}")
    for index, name in enumerate(names):
        if not isinstance(name, str):
            mark = document.mark(("defaults", index))
            raise SpecError(f"{mark}: defaults.{index}: expected a file name, got {describe(name)}")
    if len(names) > MAX_FILES:
        raise SpecError(f"{mark}: defaults: more than {MAX_FILES} files")
    return [(index, name) for index, name in enumerate(names) if name != "_self_"]


def compose(path: Path) -> Document:
    """The document of `path` on top of its `defaults`. Raises `SpecError`."""
    return Composer().compose(path)


def experiment(document: Document, what: str = "config") -> Experiment:
    """A validated experiment, its keys' effects checked.

    Raises `SpecError` naming file, line, key and the nearest valid key.
    """
    config = validate(Experiment, document, what)
    check_effects(config, document)
    return config


def load_experiment(path: Path) -> Experiment:
    """One experiment config file, whole."""
    return experiment(compose(path), str(path))

"""Experiment configs from files: `defaults` siblings, then the file, then a sweep's overrides."""

from __future__ import annotations

from pathlib import Path

from octjob.errors import SpecError
from octjob.spec.effects import check_effects
from octjob.spec.experiment import Experiment
from octjob.spec.show import describe
from octjob.spec.validate import validate
from octjob.spec.yaml import Document, load, merge


def compose(path: Path, seen: tuple[Path, ...] = ()) -> Document:
    """The document of `path` on top of the siblings its `defaults:` list names, in order.

    Raises `SpecError` for a missing sibling or a circle.
    """
    if path.resolve() in seen:
        chain = " -> ".join(p.name for p in (*seen, path))
        raise SpecError(f"{path}: `defaults` go in a circle: {chain}", "Remove one of the entries.")
    document = load(path)
    defaults = document.data.pop("defaults", [])
    if not isinstance(defaults, list) or not all(isinstance(name, str) for name in defaults):
        mark = document.mark(("defaults",))
        raise SpecError(f"{mark}: defaults: expected a list of file names, got {describe(defaults)}")
    names = [name for name in defaults if name != "_self_"]
    base = Document({}, {(): document.marks[()]})
    for name in names:
        sibling = path.parent / name if name.endswith((".yaml", ".yml")) else path.parent / f"{name}.yaml"
        base = merge(base, compose(sibling, (*seen, path.resolve())))
    return merge(base, document)


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

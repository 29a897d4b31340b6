"""Controls of a sweep: rows that look at no volume, for what a checkpoint must be better than."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from octjob.spec.configs import NamedConfig
from octjob.spec.experiment import Data, Experiment, Paths, Train
from octjob.spec.sweep import CONTROL, Checkpoint, ControlName

# What run and record have in a checkpoint's place; there is no file behind it.
NO_CHECKPOINT = Checkpoint(uri="")
# Of `data`, what decides who takes part with which volumes, and what one scored sample is.
_SELECTION = (
    *(
        "layout",
        "table",
        "columns",
        "axes",
        "source",
        "sites",
        "devices",
        "regions",
        "laterality",
        "volumes",
        "include_radial",
    ),
    *("eval_split", "min_coverage", "unit"),
)


def control_configs(
    controls: Iterable[ControlName], configs: Iterable[NamedConfig], place: str
) -> Iterator[tuple[ControlName, NamedConfig]]:
    """Each control for each selection of data among `configs`, once.

    Named after the control; where the sweep has several selections, those after the first also after the first
    configuration that has it.
    """
    selections: dict[str, NamedConfig] = {}
    for config in configs:
        selections.setdefault(_selection(config.config), config)
    for control in controls:
        for index, config in enumerate(selections.values()):
            name = f"{control}.{config.name}" if index else control
            yield control, NamedConfig(name, _experiment(config.config), (), f"{CONTROL}.{name}", place)


def _selection(config: Experiment) -> str:
    chosen = {
        "data": {name: getattr(config.data, name) for name in _SELECTION},
        "labels": config.paths.labels_tsv,
        "classes": config.classes.mapping,
    }
    return json.dumps(chosen, sort_keys=True)


def _experiment(config: Experiment) -> Experiment:
    """The same people and volumes, under logistic regression to its optimum; all else by default."""
    return Experiment(
        project_name=config.project_name,
        seed=config.seed,
        paths=Paths(labels_tsv=config.paths.labels_tsv),
        data=Data(**{name: getattr(config.data, name) for name in _SELECTION}),
        classes=config.classes,
        train=Train(optimizer="LBFGS", standardize=True),
        log=config.log.model_copy(update={"images": 0}),
    )

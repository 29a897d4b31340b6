"""Which heads are tried on cached features: each configuration once, on the first checkpoint that has some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from octjob.doctor.cached import Held, Place, read_features
from octjob.doctor.case import Finished
from octjob.doctor.gates.eight import Learned
from octjob.doctor.gates.keys import ACTS_LATER, HARMLESS, Tried
from octjob.doctor.heads import Fit
from octjob.doctor.tables import Tables, selects
from octjob.errors import AccessError, DataError
from octjob.records.layout import differing_keys
from octjob.spec.experiment import Experiment
from octjob.spec.run import Run, run_identity

if TYPE_CHECKING:
    from octjob.doctor.trial import Bench

NUM_STEPS = 20
_MAX_HEADS, _MAX_PAIRS, _MAX_KEYS, _MAX_FITS = 4, 12, 24, 6
# Learning rates tried where a head does not learn at its own.
_OTHER_RATES = (1e-2, 1e-3, 1e-1, 1e-4)


@dataclass(frozen=True)
class Trials:
    """note: why nothing was tried; empty where something was."""

    learned: tuple[Learned, ...] = ()
    tried: tuple[Tried, ...] = ()
    note: str = ""


def trials(places: Sequence[Place], held: Sequence[Held], tables: Sequence[Tables]) -> Trials:
    """places: of the runs, each with its own name as `Place.name`."""
    try:
        benches = _benches(places, held, tables)
        learned = tuple(_learned(name, bench) for name, bench in list(benches.items())[:_MAX_HEADS])
        tried = _pairs(benches)
    except (AccessError, DataError) as error:
        return Trials(note=f"not tried: {error.message}")
    return Trials(learned, tuple(tried))


def fits(
    heads: Mapping[str, Sequence[Finished]],
    places: Sequence[Place],
    held: Sequence[Held],
    tables: Sequence[Tables],
) -> tuple[dict[str, Fit], tuple[str, ...]]:
    """The convex optimum on the cached features of heads, which are given by what they share; of some, as it takes
    seconds. Besides, of which heads there is none, and why."""
    place_of = {place.name: place for place in places}
    found: dict[str, Fit] = {}
    missing = []
    for shared, runs in heads.items():
        name = runs[0].name
        if len(found) == _MAX_FITS:
            missing.append(f"{name}: not fitted, after {_MAX_FITS} others")
            continue
        try:
            place = place_of.get(name)
            fit = None if place is None else _fit(bench_of(place, held, tables))
        except (AccessError, DataError) as error:
            missing.append(f"{name}: not fitted: {error.message}")
            continue
        if fit is None:
            missing.append(f"{name}: no cached features of unaugmented volumes alone to fit")
        else:
            found[shared] = fit
    return found, tuple(missing)


def _fit(bench: Bench | None) -> Fit | None:
    from octjob.doctor.convex import convex_fit

    return None if bench is None else convex_fit(bench)


def _benches(places: Sequence[Place], held: Sequence[Held], tables: Sequence[Tables]) -> dict[str, Bench]:
    """By the name of the run: one for each configuration that is trained by steps."""
    found: dict[str, Bench] = {}
    seen: set[str] = set()
    for place in places:
        if place.run.config.train.optimizer == "LBFGS" or place.run.config_name in seen:
            continue
        bench = bench_of(place, held, tables)
        if bench is not None:
            seen.add(place.run.config_name)
            found[place.name] = bench
    return found


def bench_of(place: Place, held: Sequence[Held], tables: Sequence[Tables]) -> Bench | None:
    """None where the cache, or the tables, have nothing of this run."""
    from octjob.doctor.trial import make_bench
    from octjob.train.units import used_splits

    one = next((one for one in held if one.place.identity == place.identity), None)
    of = selects(tables, place.name)
    if one is None or of is None or of.cohort is None:
        return None
    method = place.run.config.model.pool_method
    features = one.features if method == "mean" else read_features(place, method)
    volumes = of.cohort.only(*used_splits(place.run.config, place.run.is_pooled)).volumes
    return make_bench(place.run, volumes, features)


def _learned(name: str, bench: Bench) -> Learned:
    from octjob.doctor.trial import learn_eight

    rate = bench.run.config.train.lr_head
    own = learn_eight(bench, rate)
    better = None
    if not own.by_heart:
        better = next((other for other in _OTHER_RATES if learn_eight(bench, other).by_heart), None)
    return Learned(name, rate, own.before, own.after, own.num_steps, own.by_heart, better)


def _pairs(benches: Mapping[str, Bench]) -> list[Tried]:
    """Configurations on the same features, and what the keys that they differ in do."""
    names = list(benches)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]][:_MAX_PAIRS]
    found: list[Tried] = []
    for a, b in pairs:
        if sum(len(one.keys) for one in found) < _MAX_KEYS:
            found += _tried(a, benches[a], b, benches[b])
    return found


def _tried(a: str, first: Bench, b: str, second: Bench) -> list[Tried]:
    from octjob.doctor.trial import head_after, same_weights

    keys = _differing(first.run, second.run)
    now = [key for key in keys if not key.startswith(ACTS_LATER)]
    if not now or any(not key.startswith(("train.", "model.head.", "data.batch_size")) for key in now):
        return []
    config = first.run.config
    as_it_is = head_after(first, config, NUM_STEPS)
    idle = []
    for key in now:
        changed = _with(config, key, _value(second.run, key))
        if changed is not None and same_weights(as_it_is, head_after(first, changed, NUM_STEPS)):
            idle.append(key)
    return [Tried(a, b, tuple(keys), tuple(idle))]


def _differing(first: Run, second: Run) -> list[str]:
    """Keys that can change a result."""
    found = differing_keys(*(run_identity(run)["config"] for run in (first, second)))
    return [key for key in found if key not in HARMLESS]


def _value(run: Run, key: str) -> Any:
    return reduce(lambda section, name: section[name], key.split("."), run.config.model_dump(mode="json"))


def _with(config: Experiment, key: str, value: Any) -> Experiment | None:
    """The same with another value of one key; None where the two do not go together."""
    changed = config.model_dump(mode="json")
    section: dict[str, Any] = reduce(lambda part, name: part[name], key.split(".")[:-1], changed)
    section[key.rpartition(".")[2]] = value
    try:
        return Experiment.model_validate(changed)
    except ValidationError:
        return None

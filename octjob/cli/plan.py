"""`octjob plan`: what a sweep would run."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from octjob.cli.cluster import cluster_options
from octjob.cli.prices import cluster_table, plan_cost, prices_option, read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octjob.spec.accelerator import Accelerator
    from octjob.spec.expand import Plan
    from octjob.spec.run import Run
    from octjob.targets.idle import IdleChips
    from octjob.targets.kubernetes.outlook.chip_hours import ChipHours
    from octjob.targets.kubernetes.outlook.outlook import Outlook
    from octjob.targets.prices import Cost

MATRIX = click.option(
    "--matrix",
    "-f",
    "matrix",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The sweep file.",
)


@dataclass(frozen=True)
class _Known:
    """What store and cluster said; None: not asked. otherwise: the cost with `compute.probe` where the plan has none,
    and without where it has. problem: why the cluster has no answer."""

    finished: set[str] | None = None
    outlook: Outlook | None = None
    cost: ChipHours | None = None
    otherwise: ChipHours | None = None
    problem: str = ""
    money: Cost | None = None

    def state(self, run_id: str) -> str | None:
        """Where a run stands, None where that is unknown."""
        if self.finished is None:
            return None
        if self.outlook is not None:
            return self.outlook.state(run_id, self.finished)
        if run_id in self.finished:
            return "Succeeded"
        return None if self.problem else "Pending"


@click.command()
@MATRIX
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--offline", is_flag=True, help="Ask neither store nor cluster where the runs stand.")
@prices_option
@cluster_options
def plan(
    matrix: Path,
    output: str,
    offline: bool,
    prices: Path | None,
    context: str | None,
    namespace: str | None,
) -> None:
    """Expand a sweep into its runs, one per checkpoint and configuration and one per control, and submit nothing.

    Shows what is finished, and names every key that is set without any effect. For target kubernetes also what is
    submitted, queued, running or failed there, the quota of its queue, chip-hours, what they cost where a price table
    says so, and every batch size that leaves chips idle, with the nearest that does not. Without an answer from the
    cluster the plan is shown all the same, with a warning and `?` for what is unknown.

    \b
    Example:
      octjob plan --matrix sweeps/phase3.yaml
      octjob plan --matrix sweeps/phase3.yaml --offline -o json
    """
    from octjob.spec.expand import plan_sweep

    planned, table = plan_sweep(matrix), read_table(prices)
    known = _ask(planned, matrix, offline, context, namespace)
    table = table or (known.outlook.prices if known.outlook else None)
    known = replace(known, money=plan_cost(planned.compute, known.cost, table))
    if output == "json":
        click.echo(json.dumps(_as_json(planned, known), indent=1))
        return
    _print_table(planned, known)
    if prices is not None and known.cost is None:
        click.echo("note: --prices has no effect: the sweep asks for no chips")


def _ask(planned: Plan, matrix: Path, offline: bool, context: str | None, namespace: str | None) -> _Known:
    """What store and cluster know of the sweep's runs.

    Raises an `OctjobError` where the store refuses, and where a cluster that was named does.
    """
    on_cluster = planned.compute.target == "kubernetes" and planned.compute.accelerator is not None
    if offline:
        return _Known(**_costs(planned, None)) if on_cluster else _Known()
    from octjob.errors import OctjobError
    from octjob.records.layout import finished_runs
    from octjob.storage.open import open_store

    finished = finished_runs(open_store(planned.output))
    if not on_cluster:
        return _Known(finished)
    costs = _costs(planned, finished)
    try:
        return _Known(finished, _look(planned, matrix, context, namespace), **costs)
    except OctjobError as error:
        if context or namespace:
            raise
        click.echo(f"warning: the cluster was not asked: {error.message}", err=True)
        return _Known(finished, problem=error.message, **costs)


def _look(planned: Plan, matrix: Path, context: str | None, namespace: str | None) -> Outlook:
    from octjob.targets.kubernetes.outlook.outlook import look
    from octjob.targets.kubernetes.place import connect

    cluster = connect(context, namespace, matrix)
    return replace(look(cluster, planned), prices=cluster_table(cluster))


def _costs(planned: Plan, finished: set[str] | None) -> dict[str, Any]:
    from octjob.storage.open import open_store
    from octjob.targets.kubernetes.outlook.outlook import cost, cost_otherwise

    store = None if finished is None else open_store(planned.output)
    done = finished or set()
    return {"cost": cost(planned, store, done), "otherwise": cost_otherwise(planned, done)}


def _as_json(planned: Plan, known: _Known) -> dict[str, Any]:
    from octjob.cli.output import PLAN_SCHEMA
    from octjob.records.layout import run_uri
    from octjob.spec.capacity import capacities
    from octjob.targets.kubernetes.documents.names import jobset_name

    finished = known.finished
    on_cluster = planned.compute.target == "kubernetes"
    document: dict[str, Any] = {
        "schema": PLAN_SCHEMA,
        "name": planned.name,
        "output": planned.output,
        "cache": planned.cache,
        "baseline": planned.baseline,
        "baseline_config": planned.baseline_config,
        "runs": [
            {
                **run.model_dump(mode="json"),
                "uri": run_uri(planned.output, run.run_id),
                "mode": run.config.mode,
                "jobset": jobset_name(run.sweep, run.run_id) if on_cluster else None,
                "finished": None if finished is None else run.run_id in finished,
                "state": known.state(run.run_id),
            }
            for run in planned.runs
        ],
    }
    if _slice(planned) is not None:
        document["capacity"] = list(capacities(planned.compute))
        document["idle_chips"] = [asdict(one) for one in idle(planned)]
    if known.cost is not None:
        document["chip_hours"] = asdict(known.cost)
    if known.otherwise is not None:
        document[f"chip_hours_{_way(planned)}_probe"] = asdict(known.otherwise)
    if known.money is not None:
        document["cost"] = asdict(known.money)
    if known.outlook is not None:
        quota = known.outlook.quota
        document["cluster"] = {
            "context": known.outlook.context,
            "namespace": known.outlook.namespace,
            "quota": asdict(quota) if quota else None,
        }
    elif known.problem:
        document["cluster"] = {"error": known.problem}
    return document


def idle(planned: Plan) -> list[IdleChips]:
    """Batches of the plan that leave chips of its slice idle; none for target local, or without a slice.

    Raises `SpecError` for an accelerator that there is none of.
    """
    from octjob.targets.idle import idle_runs

    where = _slice(planned)
    return idle_runs(planned.runs, where.chips, where.unit) if where else []


def slice_notes(planned: Plan) -> list[str]:
    """What the chips of its slice make of the plan's batches, a line each: idle ones, and batches in parts."""
    from octjob.targets.estimate import parts_notes

    where = _slice(planned)
    if where is None:
        return []
    num_configs = _num_configs(planned)
    lines = [f"{one} ({_where(one.configs, num_configs)})" for one in idle(planned)]
    return [f"note: {line}" for line in (*lines, *parts_notes(planned.on_chips, where))]


def _slice(planned: Plan) -> Accelerator | None:
    from octjob.spec.accelerator import accelerator_of

    compute = planned.compute
    if compute.target != "kubernetes" or compute.accelerator is None:
        return None
    return accelerator_of(compute)


def _num_configs(planned: Plan) -> int:
    return len({run.config_name for run in planned.runs if run.has_encoder})


def _where(configs: Sequence[str], num_configs: int) -> str:
    return "every config" if len(configs) == num_configs else ", ".join(configs)


def _print_table(planned: Plan, known: _Known) -> None:
    from octjob.cli.table import print_table

    rows = [
        (
            run.checkpoint_name,
            run.config_name,
            run.config.mode if run.has_encoder else "control",
            run.config.train.optimizer,
            f"{len(run.passes)}x{_units_of_pass(run)}",
            known.state(run.run_id) or "?",
            run.run_id.rpartition("-")[2],
        )
        for run in planned.runs
    ]
    print_table(
        ("checkpoint", "config", "mode", "optimizer", "seeds x folds", "state", "id"), rows, sys.stdout
    )
    finished = known.finished
    done = "?" if finished is None else sum(run.run_id in finished for run in planned.runs)
    click.echo(f"\n{len(planned.runs)} runs, {done} finished; results in {planned.output}")
    if protocol := _protocol(planned.runs[0]):
        click.echo(f"protocol: {protocol}, the same for every run")
    _print_cluster(planned, known)
    _print_notes(planned)


def _units_of_pass(run: Run) -> str:
    if run.leave_out is not None:
        return f"{run.leave_out}s" + (f"x{run.folds}" if run.folds else "")
    return str(run.num_units // len(run.passes))


def _protocol(run: Run) -> str:
    """Empty for the data set's own split."""
    if run.leave_out is not None:
        folds = f" in {run.folds} folds" if run.folds else ""
        return f"each {run.leave_out} left out{folds}, over the participants of train and val"
    if run.shares:
        shares = ", ".join(f"{share:g}" for share in (*run.shares, 1))
        return f"shares {shares} of the training participants, {run.draws} draws of each below 1"
    if run.folds:
        return f"{run.folds} folds x {run.repeats} repeats over the participants of train and val"
    return ""


def _print_cluster(planned: Plan, known: _Known) -> None:
    from octjob.spec.capacity import in_words

    if _slice(planned) is not None:
        click.echo(f"capacity: {in_words(planned.compute)}")
    if known.outlook is not None:
        states = [known.outlook.state(run.run_id, known.finished or set()) for run in planned.runs]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        click.echo(f"cluster: {counts}; namespace {known.outlook.namespace} of {known.outlook.context}")
        if known.outlook.quota is not None:
            click.echo(f"quota: {known.outlook.quota}")
    elif known.problem:
        click.echo("cluster: ?")
    if known.cost is not None:
        click.echo(f"{known.cost.unit}-hours: {known.cost}")
    if known.otherwise is not None:
        click.echo(f"  {_way(planned)} compute.probe: {known.otherwise}")
    if known.money is not None:
        click.echo(f"cost: {known.money}")


def _way(planned: Plan) -> str:
    """How the other price is had."""
    return "with" if planned.compute.probe is None else "without"


def _print_notes(planned: Plan) -> None:
    from octjob.spec.effects import compute_notes
    from octjob.spec.pod import NO_PODS

    notes: dict[str, list[str]] = {}
    for run in planned.runs:
        for note in run.notes:
            notes.setdefault(note, [])
            if run.config_name not in notes[note]:
                notes[note].append(run.config_name)
    num_configs = _num_configs(planned)
    for note, configs in notes.items():
        click.echo(f"note: {note} ({_where(configs, num_configs)})")
    for line in slice_notes(planned):
        click.echo(line)
    if planned.compute.pod and planned.compute.target == "local":
        click.echo(f"note: {NO_PODS}")
    for note in compute_notes(planned.compute, planned.runs):
        click.echo(f"note: {note}")

"""Carry a plan to a cluster: check everything, then one JobSet per unfinished run, then see that they live.

Every step may be repeated: specs are written once, JobSets have names that follow from sweep and run, and what is
there already is left alone. So after any interruption the same command continues, and no run is ever there twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from octjob.errors import Interrupted, OctjobError
from octjob.records.layout import finished_runs, has_sweep
from octjob.spec.expand import Plan
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore
from octjob.targets.estimate import check_fit
from octjob.targets.kubernetes.again import begin_again
from octjob.targets.kubernetes.control import delete_all
from octjob.targets.kubernetes.documents.fields import knows_message_patterns
from octjob.targets.kubernetes.documents.manifest import Manifest, render_jobset
from octjob.targets.kubernetes.documents.settings import Settings, warnings
from octjob.targets.kubernetes.jobset import NEEDED_VERSION
from octjob.targets.kubernetes.refusal import ClusterError, Forbidden
from octjob.targets.kubernetes.resources import JOBSETS
from octjob.targets.kubernetes.submission.admission import Admission, kubectl
from octjob.targets.kubernetes.submission.batch import WAVE_S, OnBatch, in_parallel, in_waves
from octjob.targets.kubernetes.submission.dryrun import dry_run, shape
from octjob.targets.kubernetes.submission.existing import Existing, sort_out
from octjob.targets.kubernetes.submission.placement import choose_placement
from octjob.targets.kubernetes.submission.preflight import check_names, check_schema, pod_spec, preflight
from octjob.targets.kubernetes.submission.verify import NoJob, verify
from octjob.targets.submit import record_of, write_plan

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster, Document

_OLD_JOBSET = (
    f"this cluster's JobSet is older than {NEEDED_VERSION}: it cannot tell exit codes apart, so a wrong spec or"
    " unusable data is tried compute.max_restarts times again"
)
_SAME_COMMAND = "The same command continues."


@dataclass(frozen=True)
class Submitted:
    """Every run of the plan, and every encoding that one of them still needs, in one of five groups.

    finished: has a result. there: on the cluster with these settings. ended: the same, but it ended without a result.
    kept: on the cluster with other settings, left as they are. created: now created (with only_check: would be).

    superseded: JobSets of runs that an earlier submission had and the plan has not; cancelled: whether they now are.
    """

    namespace: str
    finished: tuple[Run, ...]
    there: tuple[Run, ...]
    ended: tuple[Run, ...]
    kept: tuple[Run, ...]
    created: tuple[Run, ...]
    superseded: tuple[Document, ...]
    cancelled: bool
    warnings: tuple[str, ...]


def submit(
    plan: Plan,
    cluster: Cluster,
    store: ObjectStore,
    settings: Settings,
    *,
    update: bool = False,
    only_check: bool = False,
    file: str = "",
    give_up: Callable[[Sequence[Document]], bool] = lambda superseded: False,
    listener: OnBatch = lambda what, done, total: None,
    wave_s: float | None = WAVE_S,
) -> Submitted:
    """Create the JobSets of the plan's runs that have neither a result nor a JobSet, in the cluster's namespace.

    Nothing is created before the server has accepted, as a dry run, the JobSet of every run and the Job and pod of
    every shape of run. Costs two API calls a run and some twenty in all.

    update: leave runs alone that are on the cluster with other settings. only_check: create and store nothing.
    file: the sweep's, as a user types it, for hints. give_up: asked before anything is created, where superseded runs
    hold slices or wait for some, whether they are to be cancelled. wave_s: how far apart queued runs are created, so
    that they queue in the sweep's order; None for all at once.

    Raises:
        SpecError: the sweep, or a run on the cluster, is there with another spec, or a run does not fit a chip.
        ClusterError: something is missing, or a run was refused; says how many runs were created.
        Interrupted: Ctrl-C; says the same.
    """
    check_names(plan)
    check_fit(plan.runs, settings.slice)
    settings = settings.for_plan(plan)
    stored = has_sweep(store, record_of(plan), update=update)
    jobsets, notes = render_plan(plan, cluster, settings)
    done = finished_runs(store)
    runs = _left(plan, done)
    existing = sort_out(cluster, plan.name, runs, jobsets, settings, update=update, file=file)
    if existing.ended:
        # A run that ended between the two looks has its result by now.
        done = finished_runs(store)
        existing = replace(existing, ended=[run for run in existing.ended if run.run_id not in done])
    notes += existing.warnings
    cancelled = bool(existing.superseded) and give_up(existing.superseded) and not only_check
    if existing.todo:
        notes += warnings(plan, settings)
        notes += _check(cluster, settings, [(run, jobsets[run.run_id]) for run in existing.todo], listener)
    if not only_check:
        if existing.todo or not stored:
            # Before any JobSet, whose pods read their specs; and for JobSets that kubectl or Helm created.
            write_plan(plan, store, update=update, finished=done)
        begin_again(store, [run.run_id for run in existing.todo if run.encodes])
        if cancelled:
            # Not waited for: they save within their grace period, and the new runs queue behind them.
            delete_all(cluster, existing.superseded)
        wave_s = wave_s if settings.compute.queue else None
        notes += _create_and_verify(cluster, plan.name, existing, jobsets, listener, wave_s)
    finished = tuple(run for run in plan.runs if run.run_id in done)
    return _submitted(cluster.namespace, finished, existing, cancelled=cancelled, notes=notes)


def _left(plan: Plan, done: Collection[str]) -> list[Run]:
    """What has no result: encodings that a run still waits for, before all runs, so that chips go to them first."""
    left = [run for run in plan.runs if run.run_id not in done]
    features_of = plan.features_of
    wanted = {features_of[run.run_id].run_id for run in left if run.run_id in features_of}
    return [one for one in plan.encodings if one.run_id in wanted - set(done)] + left


def _submitted(
    namespace: str, finished: tuple[Run, ...], existing: Existing, *, cancelled: bool, notes: Sequence[str]
) -> Submitted:
    return Submitted(
        namespace,
        finished=finished,
        there=tuple(existing.there),
        ended=tuple(existing.ended),
        kept=tuple(existing.kept),
        created=tuple(existing.todo),
        superseded=tuple(existing.superseded),
        cancelled=cancelled,
        warnings=tuple(dict.fromkeys(notes)),
    )


def render_plan(plan: Plan, cluster: Cluster, settings: Settings) -> tuple[dict[str, Manifest], list[str]]:
    """The JobSet of every run and encoding, by id, as the cluster's JobSet and the queue's flavors allow; warnings.

    The namespace is not part of the rendering's hash but where the sweep itself names it, so the same sweep has the
    same hash however it reaches the cluster.
    """
    notes: list[str] = []
    try:
        schema = cluster.schema(JOBSETS)
    except Forbidden:
        schema = None
    patterns = schema is None or knows_message_patterns(schema)
    settings = settings.for_plan(plan)
    everything = (*plan.encodings, *plan.runs)
    required = False
    if (on_chips := next((run for run in everything if settings.of(run).cores is None), None)) is not None:
        placement = choose_placement(cluster, settings, pod_spec(render_jobset(on_chips, settings)))
        required = placement.required
        notes += placement.warnings
    jobsets = {
        run.run_id: render_jobset(run, settings, message_patterns=patterns, required_topology=required)
        for run in everything
    }
    for jobset in jobsets.values():
        jobset["metadata"]["namespace"] = cluster.namespace
    if schema is None:
        notes.append("the schema of the cluster's JobSet may not be read: fields are checked by dry run only")
    else:
        check_schema(next(iter(jobsets.values())), schema, cluster.server, settings.compute.pod)
    if not patterns:
        notes.append(_OLD_JOBSET)
    return jobsets, notes


def _check(
    cluster: Cluster, settings: Settings, todo: Sequence[tuple[Run, Manifest]], listener: OnBatch
) -> list[str]:
    """Preflight and dry runs of all runs; warnings. Nothing is created."""
    notes: list[str] = []
    admissions: dict[bool, Admission | None] = {}
    for on_cores in (False, True):
        same = [(run, jobset) for run, jobset in todo if (settings.of(run).cores is not None) == on_cores]
        if same:
            found = preflight(cluster, settings.of(same[0][0]), same[0][1], len(same))
            admissions[on_cores] = found.admission
            notes += found.warnings
    first = {shape(jobset): run.run_id for run, jobset in reversed(todo)}
    leaders = set(first.values())
    outcome = in_parallel(
        lambda each: dry_run(
            cluster,
            admissions[settings.of(each[0]).cores is not None],
            *each,
            children=each[0].run_id in leaders,
        ),
        todo,
        "checked",
        listener,
    )
    if isinstance(outcome.problem, KeyboardInterrupt):
        raise Interrupted("nothing was created", _SAME_COMMAND) from None
    if outcome.problem is not None:
        raise outcome.problem
    for note in outcome.results:
        notes += note
    return notes


def _create_and_verify(
    cluster: Cluster,
    sweep: str,
    existing: Existing,
    jobsets: Mapping[str, Manifest],
    listener: OnBatch,
    wave_s: float | None,
) -> list[str]:
    """Create what is to do, then see that all live that may have no Job yet; warnings."""
    _create(cluster, [jobsets[run.run_id] for run in existing.todo], listener, wave_s)
    begun = [jobsets[run.run_id] for run in (*existing.todo, *existing.unstarted)]
    return _verify(cluster, sweep, begun, len(existing.todo))


def _create(cluster: Cluster, jobsets: Sequence[Manifest], listener: OnBatch, wave_s: float | None) -> None:
    def create(jobset: Manifest) -> Document:
        return cluster.apply(JOBSETS, jobset)

    if wave_s is None:
        outcome = in_parallel(create, jobsets, "created", listener)
    else:
        outcome = in_waves(create, jobsets, "created", listener, wave_s)
    if outcome.problem is not None:
        raise _cut_off(cluster, outcome.problem, f"{len(outcome.results)} of {len(jobsets)} runs created")


def _verify(cluster: Cluster, sweep: str, jobsets: Sequence[Manifest], num_created: int) -> list[str]:
    try:
        return verify(cluster, sweep, jobsets)
    except NoJob:
        raise
    except (ClusterError, KeyboardInterrupt) as problem:
        raise _cut_off(cluster, problem, f"{num_created} of {num_created} runs created") from None


def _cut_off(cluster: Cluster, problem: OctjobError | KeyboardInterrupt, done: str) -> OctjobError:
    """`problem` as an error that says how far it got."""
    if isinstance(problem, KeyboardInterrupt):
        return Interrupted(done, f"They go on. {_SAME_COMMAND} `{_list(cluster)}` lists them.")
    if not isinstance(problem, ClusterError):
        return problem
    hint = (
        problem.hint
        if "same command continues" in problem.hint
        else f"{problem.hint} {_SAME_COMMAND}".strip()
    )
    return type(problem)(f"{done}, then {problem.message}", hint, problem.status)


def _list(cluster: Cluster) -> str:
    return f"{kubectl(cluster)} get jobsets"

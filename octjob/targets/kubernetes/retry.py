"""Run runs again that ended without a result: a JobSet cannot be started twice, so it is deleted and made anew.

Before a JobSet is deleted, the one to be created is stored beside the run as `retry.json`, and removed once it is
on the cluster. A retry that was cut off in between is so completed by the next one.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from octjob.errors import SpecError
from octjob.records.layout import RESULT, read_sweep, run_key
from octjob.storage.base import ObjectNotFoundError, ObjectStore
from octjob.targets.kubernetes import kueue
from octjob.targets.kubernetes.again import begin_again
from octjob.targets.kubernetes.control import (
    NUM_THREADS,
    OnRemaining,
    Outcome,
    delete_all,
    going,
    handle,
    outcome,
    uid_of,
)
from octjob.targets.kubernetes.phase import Handle, Phase, phase
from octjob.targets.kubernetes.resources import JOBSETS
from octjob.targets.kubernetes.select import Selection, annotation, is_encoding
from octjob.targets.kubernetes.workloads import by_jobset, list_workloads

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster, Document

RETRY = "retry.json"
_SERVER_METADATA = ("name", "namespace", "labels", "annotations")

# From an ended JobSet to the document to create in its place.
Remake = Callable[["Document"], "Document"]


def retry(
    cluster: Cluster,
    selection: Selection,
    store: ObjectStore,
    remake: Remake | None = None,
    listener: OnRemaining = lambda left: None,
) -> list[Outcome]:
    """Run those of the selected runs again whose JobSet has ended without a result, in whatever way; they continue
    from their resume state.

    remake: gives the documents to create; default the ended JobSets' own, see `original`.

    Raises:
        SpecError: a single run that has not ended so, or a JobSet whose original cannot be told.
        ClusterError: refused, or a JobSet is not gone in time; the same command continues.
    """
    finished, cut_off = _in_store(store)
    workloads = by_jobset(list_workloads(cluster)) if selection.jobsets else {}
    phases = _phases(selection, workloads, finished)
    superseded = _superseded(selection, store)
    ended = [
        one
        for one in selection.jobsets
        if phases[uid_of(one)].allows("retry") and annotation(one, "run") not in superseded
    ]
    going_already = [
        one
        for one in selection.jobsets
        if phases[uid_of(one)].state == "Ending" and annotation(one, "run") in cut_off
    ]
    if not selection.entire and not ended and not going_already:
        only = selection.jobsets[0]
        found = phases[uid_of(only)]
        raise SpecError(
            f"run {annotation(only, 'run')}: {found.reason}, so there is nothing to retry",
            found.next_step(handle(cluster, only, selection)),
        )
    if remake is None:
        remake = _original_of(workloads)
    wanted = {annotation(one, "run"): remake(one) for one in ended}
    _each(lambda run: store.put(run_key(run, RETRY), json.dumps(wanted[run]).encode()), list(wanted))
    wanted |= _kept(store, [annotation(one, "run") for one in going_already])
    begin_again(store, [run for run, document in wanted.items() if is_encoding(document)])
    leaving = [*delete_all(cluster, ended), *going_already]
    for gone in going(cluster, leaving, listener):
        _create(cluster, store, {annotation(one, "run"): wanted[annotation(one, "run")] for one in gone})
    done = {uid_of(one) for one in leaving}
    outcomes = [
        outcome(one, "unchanged", "superseded: a later submission no longer has it")
        if annotation(one, "run") in superseded
        else _outcome(one, phases[uid_of(one)], uid_of(one) in done, handle(cluster, one, selection))
        for one in selection.jobsets
    ]
    return outcomes + _mend(cluster, store, selection, cut_off - set(wanted), finished)


def _superseded(selection: Selection, store: ObjectStore) -> set[str]:
    """Runs that the sweep no longer has; a run that was named itself is meant all the same."""
    if not selection.entire:
        return set()
    try:
        sweep = read_sweep(store)
    except ObjectNotFoundError:
        return set()  # Applied by other means than `octjob submit`.
    recorded = {one.run_id for one in (*sweep.runs, *sweep.encodings)}
    return {annotation(one, "run") for one in selection.jobsets} - recorded


def _in_store(store: ObjectStore) -> tuple[set[str], set[str]]:
    """Ids of runs with a result, and of runs whose retry was cut off; one listing."""
    keys = [info.key.split("/") for info in store.list("runs/")]
    found = {name: {key[1] for key in keys if key[2:] == [name]} for name in (RESULT, RETRY)}
    return found[RESULT], found[RETRY]


def _mend(
    cluster: Cluster, store: ObjectStore, selection: Selection, cut_off: set[str], finished: set[str]
) -> list[Outcome]:
    """Create what earlier retries had deleted and not created again; forget what is there by other means."""
    if not selection.entire:
        return []
    settled = finished | {annotation(one, "run") for one in selection.jobsets}
    _each(lambda run: _forget(store, run), sorted(cut_off & settled))
    wanted = _kept(store, sorted(cut_off - settled))
    _create(cluster, store, wanted)
    return [outcome(wanted[run], "retried", "an earlier retry was cut off") for run in wanted]


def _kept(store: ObjectStore, runs: Sequence[str]) -> dict[str, Document]:
    """What earlier retries meant to create."""
    return {run: json.loads(store.get(run_key(run, RETRY))) for run in runs}


def _create(cluster: Cluster, store: ObjectStore, documents: Mapping[str, Document]) -> None:
    def create(run: str) -> None:
        cluster.apply(JOBSETS, documents[run])
        _forget(store, run)

    _each(create, list(documents))


def _forget(store: ObjectStore, run: str) -> None:
    # A retry beside this one may have been quicker; it created the same document.
    with suppress(ObjectNotFoundError):
        store.delete(run_key(run, RETRY))


def _each(act: Callable[[str], object], runs: Sequence[str]) -> None:
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        list(pool.map(act, runs))


def _phases(
    selection: Selection, workloads: Mapping[str, Document], finished: Collection[str]
) -> dict[str, Phase]:
    """Where the selected runs stand, by the uid of their JobSet."""
    return {
        uid_of(one): phase(one, workloads.get(uid_of(one)), has_result=annotation(one, "run") in finished)
        for one in selection.jobsets
    }


def _outcome(jobset: Document, found: Phase, deleted: bool, run: Handle) -> Outcome:
    if deleted:
        return outcome(jobset, "retried")
    if found.allows("retry"):
        return outcome(jobset, "unchanged", "was retried meanwhile")
    return outcome(jobset, "unchanged", found.reason, found.next_step(run))


def _original_of(workloads: Mapping[str, Document]) -> Remake:
    return lambda jobset: original(jobset, workloads.get(uid_of(jobset)))


def original(jobset: Document, workload: Document | None) -> Document:
    """The document that makes the same JobSet again: without what the server and Kueue have added to it.

    Kueue writes the labels of the nodes it chose into the pod template, which would bind the next attempt to the
    same flavor; its Workload keeps the template as it was, and Kueue itself restores it from there on eviction.

    Raises `SpecError` for a queued JobSet whose Workload is gone.
    """
    metadata = {key: jobset["metadata"][key] for key in _SERVER_METADATA if key in jobset["metadata"]}
    annotations = metadata.get("annotations", {})
    metadata["annotations"] = {
        key: value for key, value in annotations.items() if not key.startswith("kubectl.kubernetes.io/")
    }
    document: Document = copy.deepcopy(
        {
            "apiVersion": jobset["apiVersion"],
            "kind": jobset["kind"],
            "metadata": metadata,
            "spec": {key: value for key, value in jobset["spec"].items() if key != "suspend"},
        }
    )
    if kueue.QUEUE_LABEL in metadata.get("labels", {}):
        if workload is None:
            raise SpecError(
                f"run {annotation(jobset, 'run')}: its Kueue Workload is gone, so what Kueue has changed in JobSet"
                f" {metadata['name']} cannot be told",
                "Give `octjob retry` the sweep's file in place of its name: it then makes what the file says.",
            )
        _restore(document, workload)
    return document


def _restore(jobset: Document, workload: Document) -> None:
    """Undo in place what Kueue has injected into the pod templates."""
    templates = {pod_set["name"]: pod_set["template"] for pod_set in workload["spec"]["podSets"]}
    for replicated in jobset["spec"]["replicatedJobs"]:
        pod, before = replicated["template"]["spec"]["template"], templates[replicated["name"]]
        for live, kept, keys in (
            (pod.setdefault("metadata", {}), before.get("metadata", {}), ("labels", "annotations")),
            (pod["spec"], before["spec"], kueue.INJECTED),
        ):
            for key in keys:
                live.pop(key, None)
                if key in kept:
                    live[key] = copy.deepcopy(kept[key])

"""Who holds the chips that runs wait for."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from doubles.kube_documents import NOW, admitted, condition, jobset, pending, stamp, workload
from jsonschema import Draft202012Validator

from octjob.cli.output import queue_schema
from octjob.cli.queue import queue_json, queue_text
from octjob.targets.kubernetes.observation.holders import holders, look
from octjob.targets.kubernetes.refusal import Forbidden
from octjob.targets.kubernetes.resources import Resource
from octjob.targets.kubernetes.select import Selection

Document = dict[str, Any]
TPU = "google.com/tpu"
MOMENT = datetime.fromtimestamp(NOW, UTC)


def holding(
    name: str,
    chips: int = 16,
    *,
    queue: str = "tpu",
    namespace: str = "other",
    ago_s: float = 3600,
    **spec: Any,
) -> Document:
    """An admitted Workload with chips."""
    one = admitted(name, ago_s=ago_s)
    one["metadata"]["namespace"] = namespace
    one["spec"] |= {"podSets": [pods()], **spec}
    usage = {"podSetAssignments": [{"name": "w", "resourceUsage": {TPU: str(chips), "memory": "8Gi"}}]}
    one["status"]["admission"] = {"clusterQueue": queue, **usage}
    return one


def pods(**spec: Any) -> Document:
    container = {"name": "train", "resources": {"limits": {TPU: "4"}, "requests": {"cpu": "1"}}}
    return {
        "name": "w",
        "count": 4,
        "template": {"metadata": {}, "spec": {"containers": [container], **spec}},
    }


class Answers:
    """A cluster of recorded documents. denied: plurals that may not be listed over all namespaces."""

    namespace = "team"

    def __init__(
        self, workloads: list[Document], queues: list[Document], denied: tuple[str, ...] = ()
    ) -> None:
        self.documents = {"workloads": workloads, "clusterqueues": queues}
        self.denied = denied

    def list(self, resource: Resource, selector: str = "", *, all_namespaces: bool = False) -> list[Document]:
        everywhere = all_namespaces or not resource.namespaced
        if everywhere and resource.plural in self.denied:
            raise Forbidden(f"may not list {resource.plural}")
        found = self.documents[resource.plural]
        return [one for one in found if everywhere or one["metadata"].get("namespace", "team") == "team"]

    def get(self, resource: Resource, name: str) -> Document:
        if resource.plural == "clusterqueues":
            if "get" in self.denied:
                raise Forbidden("may not get clusterqueues")
            return next(one for one in self.documents["clusterqueues"] if one["metadata"]["name"] == name)
        return {"metadata": {"name": name}, "spec": {"clusterQueue": "tpu"}}


def cluster_queue(name: str, **spec: str) -> Document:
    return {"metadata": {"name": name}, "spec": spec}


def waiting_run(name: str = "a") -> Document:
    one = workload(name, pending("insufficient unused quota"))
    one["spec"]["podSets"] = [pods()]
    return one


SELECTION = Selection("demo", "gs://bucket/demo", [jobset("a")])


def seen(*workloads: Document, queues: list[Document] | None = None, denied: tuple[str, ...] = ()) -> Any:
    cluster = Answers([waiting_run(), *workloads], queues or [cluster_queue("tpu")], denied)
    return look(cluster, SELECTION, MOMENT)  # type: ignore[arg-type]


def test_who_holds_how_much_and_until_when() -> None:
    of_octjob = holding("x", maximumExecutionTimeSeconds=7200)
    names = {"octjob.dev/sweep": "phase2", "octjob.dev/run": "x.linear-0000abcd"}
    of_octjob["spec"]["podSets"][0]["template"]["metadata"]["annotations"] = names
    (queue,) = seen(holding("y", 32), of_octjob)
    assert [(one.chips, one.since, one.ends_at, one.held_s, one.ends_in_s) for one in queue.holders] == [
        (16, stamp(3600), stamp(-3600), 3600, 3600),
        (32, stamp(3600), None, 3600, None),
    ]
    assert (queue.waiting, queue.resources, queue.note) == (("a.linear-0000abcd",), (TPU,), "")
    text = queue_text(queue)
    assert "1 waiting for google.com/tpu: a.linear-0000abcd" in text
    assert [line.split() for line in text.splitlines()[-2:]] == [
        ["other", "phase2/x.linear-0000abcd", "16", "1h00m", "1h00m"],
        ["other", "jobset/y", "32", "1h00m", "no", "limit"],
    ]
    assert stamp(-3600) in queue_text(queue, wide=True)


def test_the_earliest_limit_counts_with_what_ran_before() -> None:
    one = holding("x", maximumExecutionTimeSeconds=7200)
    one["status"]["accumulatedPastExecutionTimeSeconds"] = 600
    two = holding("y")
    two["spec"]["podSets"] = [pods(activeDeadlineSeconds=1800)]
    first, second = holders([one, two], {"tpu"}, {TPU}, MOMENT)
    assert (first.name, first.ends_in_s, second.ends_in_s) == ("y", -1800, 3000)


def test_what_holds_nothing_here_is_left_out() -> None:
    finished = holding("f")
    finished["status"]["conditions"].append(condition("Finished"))
    (queue,) = seen(holding("x", queue="elsewhere"), holding("z", 0), finished, admitted("n"))
    assert queue.holders == ()
    assert "Nobody was seen" in queue_text(queue)


def test_a_cohort_lends() -> None:
    queues = [
        cluster_queue("tpu", cohortName="all"),
        cluster_queue("theirs", cohort="all"),
        cluster_queue("apart"),
    ]
    (queue,) = seen(holding("x", queue="theirs"), holding("y", queue="apart"), queues=queues)
    assert [one.name for one in queue.holders] == ["x"]
    assert queue.cohort == "all"


def test_what_may_not_be_seen_is_said_once() -> None:
    mine = holding("m", namespace="team")
    (queue,) = seen(mine, holding("x"), denied=("workloads", "clusterqueues", "get"))
    assert [one.name for one in queue.holders] == ["m"]
    assert queue.note == (
        "only namespace team was seen: no right to list Workloads of others; whether tpu borrows is unknown: no"
        " right to read ClusterQueues"
    )
    assert queue_text(queue).count("Not all seen") == 1


def test_a_cluster_queue_that_may_be_read_says_whether_it_borrows() -> None:
    (queue,) = seen(denied=("clusterqueues",))
    assert (queue.cohort, queue.note) == ("", "")
    (queue,) = seen(queues=[cluster_queue("tpu", cohortName="all")], denied=("clusterqueues",))
    assert queue.note == "only ClusterQueue tpu of cohort all was seen: no right to list others"


def test_json_keeps_its_schema() -> None:
    document = json.loads(queue_json("demo", seen(holding("x"), holding("y", maximumExecutionTimeSeconds=9))))
    assert list(Draft202012Validator(queue_schema()).iter_errors(document)) == []
    assert document["queues"][0]["holders"][0]["namespace"] == "other"

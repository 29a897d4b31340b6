"""charts/octjob: what kube-state-metrics is told to tell of runs, and the dashboard that asks for it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.cluster.build import module_dir
from tests.cluster.charts import Document, named, of_kind, rendered
from tests.cluster.promql import Answer, evaluate

pytestmark = pytest.mark.chart

ON = 'metrics={"kubeStateMetrics": {"enabled": true}, "dashboard": {"enabled": true}}'
# Suffixes of a histogram's series.
PARTS = ("_bucket", "_sum", "_count")
HOUR_S = 3600


def config(*sets: str, **more: Any) -> Document:
    document = named(rendered(ON, *sets, **more), "ConfigMap", "octjob-kube-state-metrics")
    found: Document = yaml.safe_load(document["data"]["config.yaml"])
    return found


def dashboard() -> Document:
    document = named(rendered(ON), "ConfigMap", "octjob-dashboard")
    assert document["metadata"]["labels"]["grafana_dashboard"] == "1"
    found: Document = json.loads(document["data"]["octjob.json"])
    return found


@pytest.fixture(scope="module")
def panels() -> list[Document]:
    return list(dashboard()["panels"])


def exported_by_config() -> dict[str, set[str]]:
    """Metric name to its labels, but for those that name the kind."""
    found: dict[str, set[str]] = {}
    for resource in config()["spec"]["resources"]:
        for metric in resource["metrics"]:
            each = metric["each"]
            body = each[each["type"].lower()]
            labels = {
                *resource["labelsFromPath"],
                *metric.get("commonLabels", ()),
                *body.get("labelsFromPath", ()),
            }
            found.setdefault(f"{resource['metricNamePrefix']}_{metric['name']}", set()).update(labels)
    return found


def exported_by_kueue() -> dict[str, set[str]]:
    """The same from the source of the Kueue that tests run."""
    text = (module_dir("sigs.k8s.io/kueue") / "pkg/metrics/metrics.go").read_text()
    metric = re.compile(
        r'prometheus\.New(\w+)Vec\(.*?Subsystem:\s+constants\.KueueName,\s+Name:\s+"(\w+)".*?\[\]string\{([^}]*)\}',
        re.DOTALL,
    )
    found = {}
    for kind, name, labels in metric.findall(text):
        own = set(re.findall(r'"(\w+)"', labels))
        for part in PARTS if kind == "Histogram" else ("",):
            found[f"kueue_{name}{part}"] = own | ({"le"} if part == "_bucket" else set())
    return found


# A sweep of five runs an hour after its submission, and one of somebody else's.
RUNS = {
    "waits": {"Suspended": 1},
    "goes-on": {"Suspended": 0},
    "restarted": {"Suspended": 0},
    "done": {"Suspended": 0, "Completed": 1},
    "broken": {"Suspended": 0, "Failed": 1},
}
ADMITTED = ("goes-on", "restarted", "done", "broken")


def sample(name: str, value: object, **labels: str) -> str:
    pairs = ", ".join(f'{key}="{text}"' for key, text in labels.items())
    return f"{name}{{{pairs}}} {value}"


def scene() -> Iterator[str]:
    for run, conditions in RUNS.items():
        mine = {"jobset": f"demo-{run}", "jobset_namespace": "oct"}
        both = {**mine, "sweep": "demo", "run": run}
        yield sample("octjob_run_info", "1+0x60", **both, checkpoint=run, config="linear", queue="tpu")
        yield sample("octjob_run_created_timestamp_seconds", "600+0x60", **both)
        yield sample("octjob_run_restarts", "2+0x60" if run == "restarted" else "0+0x60", **both)
        yield sample("octjob_run_hosts", "4+0x60", **both)
        yield sample("octjob_run_host_chips", "4+0x60", **both, resource="google.com/tpu")
        for condition, value in conditions.items():
            yield sample("octjob_run_condition", f"{value}+0x60", **both, condition=condition)
            status = "True" if value else "False"
            since = sample(
                "octjob_run_condition_timestamp_seconds",
                "1800+0x60",
                **both,
                condition=condition,
                status=status,
            )
            yield since
        work = {**mine, "workload": f"jobset-demo-{run}", "queue": "tpu"}
        evicted = "1+0x60" if run == "waits" else "0+0x60"
        yield sample("octjob_workload_condition", evicted, **work, condition="Evicted")
        if run in ADMITTED:
            yield sample(
                "octjob_workload_condition", "1+0x60", **work, cluster_queue="octjob", condition="Admitted"
            )
    others = {"jobset": "other", "jobset_namespace": "elsewhere"}
    yield sample("octjob_run_info", "1+0x60", **others)
    yield sample("octjob_run_condition", "1+0x60", **others, condition="Failed")
    yield sample("octjob_run_host_chips", "8+0x60", **others, resource="nvidia.com/gpu")
    flavor = {
        "cohort": "",
        "cluster_queue": "octjob",
        "flavor": "v4-32",
        "resource": "google.com/tpu",
        "replica_role": "leader",
    }
    yield sample("kueue_cluster_queue_resource_usage", "32+0x60", **flavor)
    yield sample("kueue_cluster_queue_nominal_quota", "48+0x60", **flavor)
    queue = {"cluster_queue": "octjob", "replica_role": "leader"}
    yield sample("kueue_pending_workloads", "1+0x60", **queue, status="active")
    for bound, count in (("60", "0+1x60"), ("3600", "0+2x60"), ("+Inf", "0+2x60")):
        yield sample("kueue_admission_wait_time_seconds_bucket", count, **queue, priority_class="", le=bound)
    yield sample(
        "kueue_evicted_workloads_total",
        "0+1x60",
        **queue,
        reason="Preempted",
        underlying_cause="",
        priority_class="",
    )


SCENE = tuple(scene())


def asked(panel: Document) -> list[str]:
    """Its expressions with `All` chosen, as Grafana puts it in."""
    return [
        target["expr"].replace("$sweep", ".+").replace("$cluster_queue", ".+") for target in panel["targets"]
    ]


def answers(panel: Document) -> list[Answer]:
    return evaluate(SCENE, HOUR_S, asked(panel))


def titled(panels: list[Document], title: str) -> Document:
    (found,) = [panel for panel in panels if panel["title"] == title]
    return found


def test_the_scene_has_only_what_is_exported() -> None:
    exported = {**exported_by_config(), **exported_by_kueue()}
    for line in SCENE:
        name, _, rest = line.partition("{")
        labels = set(re.findall(r'(\w+)="', rest))
        assert labels <= exported[name], name


def test_the_dashboard_asks_only_for_what_is_exported(panels: list[Document]) -> None:
    exported = {**exported_by_config(), **exported_by_kueue()}
    expressions = [one for panel in panels for one in asked(panel)]
    found = evaluate(SCENE, HOUR_S, expressions)
    assert [(one.error, text) for one, text in zip(found, expressions, strict=True) if one.error] == []
    assert {name for one in found for name in one.metrics} <= exported.keys()
    assert all(one.values for one in found), "each panel shows something"


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Runs now", [{(): 1}, {(): 2}, {(): 1}, {(): 1}]),
        # What has ended holds no chips, though Kueue still calls it admitted.
        ("Chips held", [{("demo",): 32}]),
        ("Restarts", [{("restarted", "demo"): 2}]),
        ("Evictions of runs", [{("demo",): 1}]),
        ("Waits since", [{("waits", "demo"): 3000}]),
        ("From submission to the end", [{("done", "demo"): 1200}]),
        ("Quota and use", [{("octjob", "v4-32"): 32}, {("octjob", "v4-32"): 48}]),
        ("Waiting in queues", [{("octjob", "active"): 1}]),
        ("Evictions by reason", [{("octjob", "Preempted"): 60}]),
    ],
)  # fmt: skip
def test_panels_show(
    panels: list[Document], title: str, expected: list[dict[tuple[str, ...], float]]
) -> None:
    assert [one.values for one in answers(titled(panels, title))] == [
        pytest.approx(values) for values in expected
    ]


def test_runs_by_state_over_time_are_those_of_now(panels: list[Document]) -> None:
    assert asked(titled(panels, "Runs")) == asked(titled(panels, "Runs now"))


def test_nothing_is_shown_of_a_sweep_that_is_not_there(panels: list[Document]) -> None:
    expressions = [one.replace(".+", "none") for panel in panels[:7] for one in asked(panel)]
    values = [value for one in evaluate(SCENE, HOUR_S, expressions) for value in one.values.values()]
    assert set(values) == {0}


def test_the_dashboard_is_one_that_grafana_reads(panels: list[Document]) -> None:
    document = dashboard()
    assert document["schemaVersion"] == 39
    assert document["uid"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places: set[tuple[int, int]] = set()
    for panel in panels:
        box = panel["gridPos"]
        cells = {(box["x"] + x, box["y"] + y) for x in range(box["w"]) for y in range(box["h"])}
        assert box["x"] + box["w"] <= 24
        assert not cells & places, f"{panel['title']} lies over another"
        places |= cells
        assert panel["title"]
        assert panel["description"]
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == [chr(ord("A") + number) for number in range(len(letters))]
        for one in (panel, *panel["targets"]):
            assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    variables = {one["name"] for one in document["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(panels))) == variables
    exported = {**exported_by_config(), **exported_by_kueue()}
    for variable in document["templating"]["list"][1:]:
        metric, label = re.fullmatch(
            r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable["query"]["query"]
        ).groups()  # type: ignore[union-attr]
        assert label in exported[metric]


def test_names_and_kinds_are_what_prometheus_and_the_cluster_take() -> None:
    resources = config()["spec"]["resources"]
    kinds = [resource["groupVersionKind"] for resource in resources]
    assert [(one["kind"], one["version"]) for one in kinds] == [
        ("JobSet", "v1alpha2"),
        ("Workload", "v1beta2"),
    ]
    for name, labels in exported_by_config().items():
        assert re.fullmatch(r"octjob_(run|workload)_[a-z_]+", name)
        assert all(re.fullmatch(r"[a-z_]+", label) for label in labels)
    older = config("kueue.apiVersion=v1beta1")["spec"]["resources"]
    assert older[1]["groupVersionKind"]["version"] == "v1beta1"
    assert len(config("kueue.enabled=false")["spec"]["resources"]) == 1


def test_it_is_off_by_default_and_its_rights_are_to_watch() -> None:
    assert of_kind(rendered(), "ConfigMap") == []
    assert [one["metadata"]["name"] for one in of_kind(rendered(ON), "ClusterRole")] == [
        "oct-octjob-submitter"
    ]
    full = rendered(values="full")
    rules = named(full, "ClusterRole", "oct-octjob-kube-state-metrics")["rules"]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"list", "watch"}
    assert [rule["resources"] for rule in rules] == [
        ["customresourcedefinitions"],
        ["jobsets"],
        ["workloads"],
    ]
    (subject,) = named(full, "ClusterRoleBinding", "oct-octjob-kube-state-metrics")["subjects"]
    assert (subject["name"], subject["namespace"]) == ("kube-state-metrics", "monitoring")
    assert {one["metadata"]["name"]: one["metadata"]["namespace"] for one in of_kind(full, "ConfigMap")} == {
        "octjob-kube-state-metrics": "monitoring",
        "octjob-dashboard": "monitoring",
        "octjob-prices": "oct",
    }

"""What a cluster answers, as the server words it, becomes one line that says what and a hint that mends it."""

from __future__ import annotations

import json

import pytest

from octjob.targets.kubernetes.refusal import (
    Answer,
    ClusterError,
    Forbidden,
    NotServed,
    Refused,
    Request,
    Unauthorized,
    WebhookDown,
    refusal,
    unreachable,
)

ASKED = Request("patch", "jobsets.jobset.x-k8s.io", "JobSet a-logistic", "oct", "gke", "https://1.2.3.4")


def answered(status: int, message: str) -> Answer:
    return Answer.of(status, json.dumps({"kind": "Status", "message": message}).encode())


DENIED = (
    'jobsets.jobset.x-k8s.io "a-logistic" is forbidden: User "ann" cannot create resource "jobsets" in API group'
    ' "jobset.x-k8s.io" in the namespace "oct"'
)
POD_SECURITY = 'pods "a" is forbidden: violates PodSecurity "restricted:latest": privileged'
NO_WEBHOOK = (
    'Internal error occurred: failed calling webhook "mjobset.kb.io": failed to call webhook: Post'
    ' "https://jobset-webhook-service.jobset-system.svc:443/mutate": dial tcp 10.0.0.7:443: connection refused'
)


@pytest.mark.parametrize(
    ("status", "message", "kind", "said", "mended_by"),
    [
        (401, "Unauthorized", Unauthorized, "may have expired", "kubectl --context gke auth whoami"),
        (
            403,
            DENIED,
            Forbidden,
            "no right to create jobsets.jobset.x-k8s.io in namespace oct",
            "auth can-i create",
        ),
        (403, POD_SECURITY, Refused, "violates PodSecurity", ""),
        (500, NO_WEBHOOK, WebhookDown, "connection refused", "-n jobset-system get pods"),
        (404, "404 page not found", NotServed, "is not served", "Install JobSet and Kueue"),
        (422, "spec.replicatedJobs: Invalid value", Refused, "Invalid value", ""),
    ],
)
def test_each_answer_has_its_error(
    status: int, message: str, kind: type[ClusterError], said: str, mended_by: str
) -> None:
    error = refusal(ASKED, answered(status, message))
    assert type(error) is kind
    assert said in error.message
    assert mended_by in error.hint
    assert "\n" not in error.message + error.hint
    assert error.exit_code == 4


def test_the_kueue_webhook_leads_to_kueue() -> None:
    error = refusal(ASKED, answered(500, NO_WEBHOOK.replace("mjobset.kb.io", "mjobset.kueue.x-k8s.io")))
    assert "-n kueue-system" in error.hint


@pytest.mark.parametrize(
    ("status", "message", "transient"),
    [
        (429, "too many requests", True),
        (503, "apiserver not ready", True),
        (403, "forbidden: not yet ready to handle request", True),
        (500, "etcdserver: leader changed", True),
        (500, NO_WEBHOOK, True),
        (401, "Unauthorized", False),
        (403, DENIED, False),
        (404, 'jobsets "x" not found', False),
        (409, "the object has been modified", False),
        (500, "Internal error occurred: something else", False),
    ],
)
def test_only_what_may_pass_is_tried_again(status: int, message: str, transient: bool) -> None:
    assert answered(status, message).transient is transient


def test_an_answer_that_is_not_kubernetes() -> None:
    assert Answer.of(502, b"<html>\n<h1>Bad\n gateway</h1>").message == "<html> <h1>Bad gateway</h1>"
    assert Answer.of(500, b'["a"]').message == '["a"]'


def test_no_answer_names_context_and_server() -> None:
    error = unreachable("gke", "https://1.2.3.4", "connection refused")
    assert "context gke: https://1.2.3.4 does not answer: connection refused" in error.message
    assert "--context" in error.hint

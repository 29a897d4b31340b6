"""A cluster's refusals as errors: one line that says what was refused, one hint that says what mends it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from octjob.errors import AccessError

_TRANSIENT = (429, 502, 503, 504)
_WEBHOOK = re.compile(r'failed calling webhook "(?P<webhook>[^"]+)"')
_RIGHT = re.compile(r'User "(?P<user>[^"]*)" cannot (?P<verb>\w+) resource')
_NOBODY = "system:anonymous"
_CONTROLLERS = {"jobset": "jobset-system", "kb.io": "jobset-system", "kueue": "kueue-system"}


class ClusterError(AccessError):
    """The cluster did not do what was asked. status: HTTP status, None without an answer."""

    def __init__(self, message: str, hint: str = "", status: int | None = None) -> None:
        super().__init__(message, hint)
        self.status = status
        self.no_answer = status is None or status >= 500


class Unreachable(ClusterError):
    """No answer, or not from a Kubernetes API server."""


class Unauthorized(ClusterError):
    """The credentials are missing, wrong or expired (401)."""


class NoCredentials(Unauthorized):
    """Nothing to show the cluster: its credential plugin is missing or failed, or the kubeconfig names no user."""


class Forbidden(ClusterError):
    """Known, but without the right to do this (403)."""


class NotServed(ClusterError):
    """The collection itself is unknown to the server: JobSet or Kueue is not installed (404)."""


class Refused(ClusterError):
    """Invalid, in conflict, or refused by admission (400, 409, 422, and 403 by an admission plugin)."""


class WebhookDown(ClusterError):
    """A controller whose webhook must be asked does not answer."""


@dataclass(frozen=True)
class Answer:
    """What came back: HTTP status and the server's Status message."""

    status: int
    message: str
    retry_after_s: float | None = None

    @classmethod
    def of(cls, status: int, body: bytes, retry_after: str | None = None) -> Answer:
        """From a response that is no success."""
        text = body.decode(errors="replace")
        try:
            document = json.loads(text)
            text = document.get("message") or text
        except (ValueError, AttributeError):
            pass
        seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
        return cls(status, " ".join(text.split()), seconds)

    @property
    def webhook(self) -> str | None:
        """The webhook that could not be asked."""
        found = _WEBHOOK.search(self.message)
        return found["webhook"] if found else None

    @property
    def no_such_collection(self) -> bool:
        """404 for the kind itself rather than for one object."""
        return self.status == 404 and "page not found" in self.message

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later."""
        starting = self.status in (401, 403) and "not yet ready" in self.message
        etcd = self.status == 500 and ("etcd" in self.message or "timeout" in self.message.lower())
        return self.status in _TRANSIENT or starting or etcd or self.webhook is not None


@dataclass(frozen=True)
class Request:
    """What was asked, for messages. what: `JobSet phase3-x`; verb and resource as for `kubectl auth can-i`."""

    verb: str
    resource: str
    what: str
    namespace: str
    context: str
    server: str


def refusal(asked: Request, answer: Answer) -> ClusterError:
    """The error for an answer that is final."""
    flags = f" --context {asked.context}" if asked.context else ""
    if answer.status == 401:
        return Unauthorized(
            f"context {asked.context or '(in-cluster)'}: {asked.server} does not accept the credentials,"
            " which may have expired",
            f"Sign in again, then `kubectl{flags} auth whoami` must answer;"
            " on GKE: `gcloud container clusters get-credentials <cluster> --location <location>`.",
            401,
        )
    if answer.webhook is not None:
        names = [home for part, home in _CONTROLLERS.items() if part in answer.webhook]
        home = names[-1] if names else "<namespace>"
        return WebhookDown(
            f"{asked.what}: webhook {answer.webhook} does not answer, so the cluster accepts none: {_cause(answer)}",
            f"`kubectl{flags} -n {home} get pods` shows its controller; the same command continues once it runs.",
            answer.status,
        )
    denied = _RIGHT.search(answer.message) if answer.status == 403 else None
    if denied is not None and denied["user"] == _NOBODY:
        return NoCredentials(
            f"context {asked.context or '(in-cluster)'}: {asked.server} was shown no credentials, and takes us for"
            f" {_NOBODY}",
            f"`kubectl{flags} auth whoami` must answer; on GKE: `gcloud container clusters get-credentials <cluster>"
            " --location <location>` writes the kubeconfig anew.",
            403,
        )
    if denied is not None:
        return forbidden(asked, denied["verb"])
    if answer.status == 404 and answer.no_such_collection:
        return NotServed(
            f"{asked.resource} is not served by {asked.server}",
            "Install JobSet and Kueue as docs/platform.md says, or choose another cluster with --context.",
            404,
        )
    return Refused(f"{asked.what}: refused by the cluster: {answer.message}", "", answer.status)


def forbidden(asked: Request, verb: str) -> Forbidden:
    """The error for a right that the user lacks."""
    flags = f" --context {asked.context}" if asked.context else ""
    where = f" -n {asked.namespace}" if asked.namespace else ""
    place = f"in namespace {asked.namespace}" if asked.namespace else "in the cluster"
    return Forbidden(
        f"{asked.what}: no right to {verb} {asked.resource} {place}",
        f"`kubectl{flags} auth can-i {verb} {asked.resource}{where}` must say yes; ask for the submitter role.",
        403,
    )


def unreachable(context: str, server: str, cause: str) -> Unreachable:
    """The error for no answer at all."""
    name = f"context {context}" if context else "the cluster"
    return Unreachable(
        f"{name}: {server} does not answer: {cause}",
        f"`kubectl{f' --context {context}' if context else ''} version` must answer;"
        " choose another cluster with --context (`kubectl config get-contexts` lists them).",
    )


def _cause(answer: Answer) -> str:
    return answer.message.rpartition(": ")[2] or answer.message


def innermost_cause(error: Exception) -> str:
    """What is behind a chain of exceptions, in its words without addresses of objects."""
    cause: BaseException = error
    while True:
        inner = getattr(cause, "reason", None) or cause.__cause__
        if not isinstance(inner, BaseException):
            break
        cause = inner
    text = str(cause)
    return text.rpartition(">: ")[2] if ">: " in text else text

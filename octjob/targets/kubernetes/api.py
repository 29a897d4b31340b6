"""The Kubernetes API, as far as octjob needs it: plain documents in and out, over the official client.

The client's own models are not used: they are generated for one version of Kubernetes, know no JobSet, and cost
milliseconds an object. What is used of it is the kubeconfig with all its ways to authenticate, and the connections.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import random
import shlex
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from octjob import env
from octjob.errors import SpecError
from octjob.targets.kubernetes import kueue
from octjob.targets.kubernetes.kubeconfig import ClientLoader, locate_cluster
from octjob.targets.kubernetes.refusal import (
    Answer,
    ClusterError,
    NotServed,
    Request,
    Unauthorized,
    innermost_cause,
    refusal,
    unreachable,
)
from octjob.targets.kubernetes.resources import ACCESS_REVIEWS, PODS, Resource

if TYPE_CHECKING:
    import urllib3

log = logging.getLogger(__name__)

Document = dict[str, Any]

FIELD_MANAGER = "octjob"
_RETRY_S = 60.0
# A webhook that refuses connections is down rather than busy.
_WEBHOOK_RETRY_S = 8.0
_CONNECT_S = 5.0
_READ_S = 60.0
_MAX_LINE = 1 << 20
_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"
_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
_MERGE = "application/merge-patch+json"


class Cluster:
    """One cluster seen through one kubeconfig context, with a default namespace. Safe to use from threads.

    Every method raises a `ClusterError`: no answer, no right, not installed, refused. Transient faults (no
    connection, 429, 5xx, a starting server) are retried for `OCTJOB_CLUSTER_RETRY_S` seconds, default 60; all
    requests may be repeated.

    flags: what a user adds to commands to reach the same place, e.g. ` --context gke -n team`.
    """

    flags = ""

    def __init__(self, context: str, namespace: str, load: ClientLoader) -> None:
        self.context = context
        self.namespace = namespace
        self._load = load
        self._client = load()
        self._lock = threading.Lock()
        self._num_calls = 0
        self._kueue_version: str | None = None
        self.retry_s = _retry_s()

    @classmethod
    def connect(
        cls, context: str | None = None, namespace: str | None = None, *, retry_s: float | None = None
    ) -> Cluster:
        """The cluster of a kubeconfig context, or the one this process runs in.

        namespace: default the context's, else `default`. retry_s: for how long transient faults are retried in each
        request, 0 for one who tries again himself; default as the environment says.

        Raises:
            SpecError: no kubeconfig, or not this context in it.
            Unreachable: the server does not answer within seconds.
        """
        cluster = cls(*locate_cluster(context, namespace))
        places = (("--context", context), ("-n", namespace))
        cluster.flags = "".join(f" {name} {shlex.quote(value)}" for name, value in places if value)
        patience_s, cluster.retry_s = cluster.retry_s if retry_s is None else retry_s, 0.0
        cluster._request("GET", "/version", cluster._asked("get", "version", "version"))
        cluster.retry_s = patience_s
        return cluster

    def hurried(self) -> Cluster:
        """The same cluster, but transient faults are raised at once."""
        other = copy.copy(self)
        other.retry_s = 0.0
        return other

    @property
    def server(self) -> str:
        """The API server's address."""
        return str(self._client.configuration.host)

    @property
    def num_calls(self) -> int:
        """Requests sent so far, retries included."""
        return self._num_calls

    def get(self, resource: Resource, name: str) -> Document | None:
        """One object, None where it is not there."""
        resource = self._at_served_version(resource, "get")
        asked = self._asked("get", resource.full_name, f"{resource.kind} {name}", resource)
        return self._request("GET", resource.path(self.namespace, name), asked, absent_ok=True)

    def list(
        self,
        resource: Resource,
        selector: str = "",
        *,
        all_namespaces: bool = False,
        fields: str = "",
        names_only: bool = False,
    ) -> list[Document]:
        """All objects that a label selector and a field selector match, in one call.

        names_only: their metadata without spec and status, which costs server and client far less.
        """
        resource = self._at_served_version(resource, "list")
        path = resource.path("" if all_namespaces else self.namespace)
        selectors = {"labelSelector": selector, "fieldSelector": fields}
        if query := urlencode({key: value for key, value in selectors.items() if value}):
            path += f"?{query}"
        asked = self._asked("list", resource.full_name, resource.plural, resource)
        answer = self._request("GET", path, asked, accept=_METADATA if names_only else _JSON)
        # An empty list of metadata alone comes as null.
        return list((answer or {}).get("items") or [])

    def apply(self, resource: Resource, document: Document, *, dry_run: bool = False) -> Document:
        """Create or change an object by server-side apply; dry_run: let the server check it only."""
        resource = self._at_served_version(resource, "patch")
        name = document["metadata"]["name"]
        query = {"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        path = f"{resource.path(self.namespace, name)}?{urlencode(query)}"
        asked = self._asked("patch", resource.full_name, f"{resource.kind} {name}", resource)
        return self._request("PATCH", path, asked, document, _APPLY) or {}

    def dry_run_create(self, resource: Resource, document: Document) -> Document:
        """Let the server check that an object could be created."""
        path = (
            f"{resource.path(self.namespace)}?dryRun=All&fieldValidation=Strict&fieldManager={FIELD_MANAGER}"
        )
        name = document["metadata"]["name"]
        asked = self._asked("create", resource.full_name, f"{resource.kind} {name}", resource)
        return self._request("POST", path, asked, document) or {}

    def merge(self, resource: Resource, name: str, patch: Document) -> Document | None:
        """Change an object by a JSON merge patch; None where it is not there."""
        resource = self._at_served_version(resource, "patch")
        path = f"{resource.path(self.namespace, name)}?fieldManager={FIELD_MANAGER}"
        asked = self._asked("patch", resource.full_name, f"{resource.kind} {name}", resource)
        return self._request("PATCH", path, asked, patch, _MERGE, absent_ok=True)

    def delete(self, resource: Resource, name: str, *, uid: str = "") -> bool:
        """Delete an object and what it owns, the owned first; False where it was not there.

        uid: only the object with this uid; `Refused` with status 409 where another of that name is there.
        """
        resource = self._at_served_version(resource, "delete")
        options: Document = {"propagationPolicy": "Foreground"}
        if uid:
            options["preconditions"] = {"uid": uid}
        asked = self._asked("delete", resource.full_name, f"{resource.kind} {name}", resource)
        path = resource.path(self.namespace, name)
        return self._request("DELETE", path, asked, options, absent_ok=True) is not None

    def allowed(self, verb: str, resource: Resource, *, subresource: str = "", name: str = "") -> bool:
        """Whether we may do this, in the default namespace for namespaced kinds (SelfSubjectAccessReview)."""
        attributes = {
            "verb": verb,
            "group": resource.group,
            "resource": resource.plural,
            "subresource": subresource,
            "name": name,
            "namespace": self.namespace if resource.namespaced else "",
        }
        review = {
            "apiVersion": ACCESS_REVIEWS.group_version,
            "kind": ACCESS_REVIEWS.kind,
            "spec": {"resourceAttributes": attributes},
        }
        asked = self._asked("create", ACCESS_REVIEWS.full_name, "access review", ACCESS_REVIEWS)
        answer = self._request("POST", ACCESS_REVIEWS.path(), asked, review) or {}
        return bool(answer.get("status", {}).get("allowed"))

    def served(self, resource: Resource) -> bool:
        """Whether the server knows this kind at this version."""
        asked = self._asked("get", resource.full_name, resource.group_version)
        try:
            answer = self._request("GET", f"/apis/{resource.group_version}", asked) or {}
        except NotServed:
            return False
        return any(kind["name"] == resource.plural for kind in answer.get("resources", []))

    def schema(self, resource: Resource) -> Document | None:
        """The kind's schema as the server publishes it to everyone who may log in; None where it has none.

        Raises `NotServed` where the group is not installed.
        """
        asked = self._asked("get", "openapi", resource.group_version)
        answer = self._request("GET", f"/openapi/v3/apis/{resource.group_version}", asked) or {}
        for schema in answer.get("components", {}).get("schemas", {}).values():
            kinds = schema.get("x-kubernetes-group-version-kind", [])
            if any(kind["kind"] == resource.kind for kind in kinds):
                found: Document = schema
                return found
        return None

    def logs(
        self,
        pod: str,
        container: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        timestamps: bool = False,
        since: str = "",
    ) -> Iterator[bytes]:
        """The lines of a container's log, without line ends, as they come; nothing is kept.

        tail: only the last lines. timestamps: each begins with its time in RFC 3339 and a space. since: only from
        that time on. With follow it goes on until the container ends, or the connection: then `Unreachable`.
        """
        from urllib3.exceptions import HTTPError

        query: dict[str, str] = {"container": container}
        if follow:
            query["follow"] = "true"
        if tail is not None:
            query["tailLines"] = str(tail)
        if timestamps:
            query["timestamps"] = "true"
        if since:
            query["sinceTime"] = since
        path = f"{PODS.path(self.namespace, pod)}/log?{urlencode(query)}"
        response = self._send(
            "GET", path, self._asked("get", "pods/log", f"log of pod {pod}", PODS), stream=True
        )
        rest = b""
        try:
            for chunk in response.stream(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from lines
                if len(rest) > _MAX_LINE:
                    yield rest
                    rest = b""
        except HTTPError as error:
            raise unreachable(self.context, self.server, innermost_cause(error)) from None
        finally:
            response.release_conn()
        if rest:
            yield rest

    def _at_served_version(self, resource: Resource, verb: str) -> Resource:
        """Kueue's kinds at what the server has where that is not `kueue.VERSION`.

        Raises `NotServed` where it has no Kueue: asked for an object, a server looks for the right first, so that one
        whose role does not name Kueue would be told that he lacks it.
        """
        if resource.group != kueue.GROUP:
            return resource
        if self._kueue_version is None:
            asked = self._asked(verb, resource.full_name, resource.full_name)
            group = self._request("GET", f"/apis/{kueue.GROUP}", asked) or {}
            versions = [version["version"] for version in group.get("versions", [])]
            served = kueue.VERSION in versions or not versions
            self._kueue_version = kueue.VERSION if served else versions[0]
        return Resource(
            f"{kueue.GROUP}/{self._kueue_version}", resource.plural, resource.kind, resource.namespaced
        )

    def _asked(self, verb: str, resource: str, what: str, kind: Resource | None = None) -> Request:
        namespace = self.namespace if kind is not None and kind.namespaced else ""
        return Request(verb, resource, what, namespace, self.context, self.server)

    def _request(
        self,
        method: str,
        path: str,
        asked: Request,
        body: Document | None = None,
        content_type: str = _JSON,
        *,
        accept: str = _JSON,
        absent_ok: bool = False,
    ) -> Document | None:
        response = self._send(method, path, asked, body, content_type, accept=accept, absent_ok=absent_ok)
        if response.status == 404:
            return None
        document: Document = json.loads(response.data)
        return document

    def _send(
        self,
        method: str,
        path: str,
        asked: Request,
        body: Document | None = None,
        content_type: str = _JSON,
        *,
        accept: str = _JSON,
        absent_ok: bool = False,
        stream: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        """The response of a request that succeeded, after retries; 404 too with absent_ok."""
        from urllib3.exceptions import HTTPError

        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = {"Accept": "*/*" if stream else accept, "User-Agent": FIELD_MANAGER}
        if data is not None:
            headers["Content-Type"] = content_type
        deadline = time.monotonic() + self.retry_s
        delay_s, reloaded = 0.25, False
        while True:
            wait_until, wait_s = deadline, delay_s
            try:
                response = self._once(method, path, data, headers, stream)
            except HTTPError as error:
                problem: ClusterError = unreachable(self.context, self.server, innermost_cause(error))
            else:
                if 200 <= response.status < 300:
                    return response
                answer = Answer.of(response.status, response.data, response.headers.get("Retry-After"))
                if answer.status == 404 and absent_ok and not answer.no_such_collection:
                    return response
                problem = refusal(asked, answer)
                if isinstance(problem, Unauthorized) and not reloaded:
                    # The kubeconfig may hold a newer token by now; its plugin may get one.
                    self._client, reloaded = self._load(), True
                    continue
                if not answer.transient:
                    raise problem
                wait_s = answer.retry_after_s or delay_s
                if answer.webhook is not None:
                    wait_until = min(deadline, deadline - self.retry_s + _WEBHOOK_RETRY_S)
            if time.monotonic() + wait_s > wait_until:
                raise problem
            log.debug("%s; again in %.1f s", problem.message, wait_s)
            time.sleep(wait_s * random.uniform(0.7, 1.3))
            delay_s = min(delay_s * 2, 5.0)

    def _once(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str], stream: bool
    ) -> urllib3.BaseHTTPResponse:
        import urllib3

        client = self._client
        headers = dict(headers)
        with self._lock:
            self._num_calls += 1
            # May call the context's credential plugin, once for all threads.
            for setting in client.configuration.auth_settings().values():
                if setting["in"] == "header" and setting["value"]:
                    headers[setting["key"]] = setting["value"]
        response: urllib3.BaseHTTPResponse = client.rest_client.pool_manager.request(
            method,
            self.server + path,
            body=data,
            headers=headers,
            preload_content=not stream,
            retries=False,
            timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S),
        )
        return response


def _retry_s() -> float:
    text = os.environ.get(env.CLUSTER_RETRY_S, str(_RETRY_S))
    try:
        return float(text)
    except ValueError:
        raise SpecError(
            f"{env.CLUSTER_RETRY_S}={text!r} is not a number of seconds", f"Set {env.CLUSTER_RETRY_S}=60."
        ) from None

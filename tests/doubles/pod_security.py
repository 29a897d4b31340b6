"""What a cluster that enforces Pod Security would complain of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]


def pod_security_complaints(pod: Document) -> Iterator[str]:
    """The `restricted` Pod Security level, kubernetes.io/docs/concepts/security/pod-security-standards."""
    spec = pod["spec"]
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    for volume in spec["volumes"]:
        yield from (f"volume {kind}" for kind in volume.keys() - allowed - {"name"})
    if spec.get("hostNetwork") or spec.get("hostPID") or spec.get("hostIPC"):
        yield "host namespace"
    for item in spec["containers"]:
        context = {**spec["securityContext"], **item["securityContext"]}
        if context.get("privileged"):
            yield "privileged"
        if context.get("allowPrivilegeEscalation") is not False:
            yield "privilege escalation"
        if context.get("capabilities", {}).get("drop") != ["ALL"] or context["capabilities"].get("add"):
            yield "capabilities"
        if not context.get("runAsNonRoot") or context.get("runAsUser") == 0:
            yield "root"
        if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield "seccomp"

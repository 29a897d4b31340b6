"""Kubernetes names and label values from our own: readable first, unique always, never too long.

JobSet derives names from names: a child Job is `<jobset>-<replicated job>-<slice>`, a pod `<job>-<index>-<5 random>`.
Each must be a DNS-1035 label of at most 63 characters (JobSet's webhook refuses others). Kueue and GCE objects
inherit them too, so a JobSet's name keeps well below: 40.
"""

from __future__ import annotations

import hashlib
import re

MAX_JOBSET_NAME = 40
MAX_LABEL = 63
REPLICATED_JOB = "w"

_DIGEST = 8
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


def jobset_name(sweep: str, run_id: str) -> str:
    """`<checkpoint>-<config>-<8 hex digits>`, a DNS-1035 label of at most 40 characters.

    The readable part is the run id's, cut at the end; the digits tell runs and sweeps apart that read the same.
    """
    readable = run_id.rpartition("-")[0] or run_id
    return f"{dns_label(readable, MAX_JOBSET_NAME - _DIGEST - 1)}-{_digest(sweep, run_id)}"


def dns_label(text: str, length: int) -> str:
    """`text` as a DNS-1035 label of at most `length` characters; different texts may give the same."""
    label = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not label[:1].isalpha():
        label = f"r-{label}".strip("-")
    return label[:length].rstrip("-")


def label_value(text: str) -> str:
    """`text` itself where it may be a label value, else a readable stand-in that ends in its digest.

    The full text belongs into an annotation of the same key.
    """
    if _LABEL_VALUE.fullmatch(text):
        return text
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", text)[: MAX_LABEL - _DIGEST - 1].strip("_.-")
    return f"{readable}-{_digest(text)}".removeprefix("-")


def job_name(jobset: str, slice_: int = 0) -> str:
    """The child Job of a run's JobSet that is this slice; mostly there is one."""
    return f"{jobset}-{REPLICATED_JOB}-{slice_}"


def pod_name(jobset: str, index: int, suffix: str = "abcde", slice_: int = 0) -> str:
    """A pod of it; the real suffix is random."""
    return f"{job_name(jobset, slice_)}-{index}-{suffix}"


def pod_hostname(jobset: str, index: int) -> str:
    """The name by which the pods of a JobSet find one of them: JobSet makes a headless Service of its own name."""
    return f"{job_name(jobset)}-{index}.{jobset}"


def derived_names(jobset: str, hosts: int, slices: int) -> dict[str, str]:
    """The longest name of each kind that JobSet and Kueue derive from a JobSet's, kind to name."""
    return {
        "Job": job_name(jobset, slices - 1),
        "Pod": pod_name(jobset, hosts - 1, slice_=slices - 1),
        "Service": jobset,
        "Workload": f"jobset-{jobset}-abcde",
    }


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_DIGEST]

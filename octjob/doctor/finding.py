"""What a gate says, and what all of them together say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Verdict = Literal["passed", "failed", "not judged"]


@dataclass(frozen=True)
class Finding:
    """What one gate says.

    said: one sentence: what is wrong, what is right, or why it is not judged. evidence: the numbers, in words.
    cure: a key with its value, or a command that can be typed; of a failed gate only.
    """

    gate: str
    verdict: Verdict
    said: str
    evidence: tuple[str, ...] = ()
    cure: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All findings on `target`, a sweep or one run of it, in their order.

    first_cause: the name of the first gate that failed; None where none did.
    """

    target: str
    num_runs: int
    first_cause: str | None
    findings: tuple[Finding, ...]

    @property
    def cause(self) -> Finding | None:
        """The finding of the first gate that failed."""
        return next((one for one in self.findings if one.gate == self.first_cause), None)


def diagnosis(target: str, num_runs: int, findings: Sequence[tuple[Finding, bool]]) -> Diagnosis:
    """findings: in the order in which causes hide each other, each with whether its evidence stands by itself.

    After the first that failed, one that does not is no longer judged; its evidence stays.
    """
    first: str | None = None
    said = []
    for finding, alone in findings:
        said.append(finding if first is None or alone else _until(finding, first))
        if first is None and finding.verdict == "failed":
            first = finding.gate
    return Diagnosis(target, num_runs, first, tuple(said))


def _until(finding: Finding, first: str) -> Finding:
    if finding.verdict == "not judged":
        return finding
    said = f"cannot be judged until {first} is mended; as it stands: {finding.said}"
    return replace(finding, verdict="not judged", said=said, cure="")

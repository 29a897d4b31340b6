"""Runs: did they end with a result, or with an error that says why there is none?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from octjob.doctor.finding import Finding
from octjob.spec.show import elided

GATE = "runs"
# The exit code of data that cannot be used: it does not mend itself.
_DATA = 3
_SHOWN = 4
# A message may name ten files.
_MAX_MESSAGE = 400


@dataclass(frozen=True)
class Failed:
    """A run whose last attempt ended with an error."""

    name: str
    message: str
    hint: str
    exit_code: int


def runs(num_finished: int, failed: Sequence[Failed]) -> Finding:
    """Fails where a run failed for its data, or all that ended failed; its error is the cause."""
    evidence = tuple(_told(message, names) for message, names in _by_message(failed)[:_SHOWN])
    fatal = [one for one in failed if one.exit_code == _DATA] or ([] if num_finished else list(failed))
    if fatal:
        one = fatal[0]
        alike = sum(other.message == one.message for other in failed)
        whose = one.name if alike == 1 else f"{alike} runs"
        cure = one.hint or "`octjob logs --help` shows how to read what a run said"
        return Finding(GATE, "failed", f"{whose} failed: {_short(one.message)}", evidence, cure)
    if not num_finished:
        return Finding(GATE, "not judged", "nothing has been run")
    more = f", and {len(failed)} failed" if failed else ""
    return Finding(GATE, "passed", f"{num_finished} finished{more}", evidence)


def _by_message(failed: Sequence[Failed]) -> list[tuple[str, list[str]]]:
    """Each message once, with the names of its runs."""
    found: dict[str, list[str]] = {}
    for one in failed:
        found.setdefault(one.message, []).append(one.name)
    return list(found.items())


def _told(message: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more} failed: {_short(message)}"


def _short(message: str) -> str:
    """Its middle left out; `octjob status` has the whole."""
    return elided(message, _MAX_MESSAGE)

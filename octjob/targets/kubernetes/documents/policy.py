"""Which end of a container means what: the exit codes of `octjob` as Job and JobSet failure rules.

A Job that fails by its podFailurePolicy always has the reason `PodFailurePolicy`, so JobSet tells the cases apart by
the Job controller's message, which ends in the index of the rule that matched (kubernetes
pkg/controller/job/pod_failure_policy.go; jobset KEP-262, story 5).

- Disruption (node drained, Spot taken, preempted by the scheduler): restart, not counted.
- 75, octjob saved its state; 143, killed by SIGTERM before octjob could catch it: restart, not counted. Kueue's
  preemption shows like this, without the disruption condition.
- 2, 3, 4: wrong spec, unusable data, no access. Starting again cannot mend it: fail.
- Everything else: restart, counted up to `max_restarts`. 137 is among it on purpose: it is also what a container
  that is out of memory leaves, and that would restart for ever.
"""

from __future__ import annotations

from typing import Any

from octjob.errors import AccessError, DataError, Interrupted, SpecError
from octjob.targets.kubernetes import jobset as jobset_api

SIGTERM_EXIT = 128 + 15
RESTART_CODES = (Interrupted.exit_code, SIGTERM_EXIT)
NO_RETRY_CODES = (SpecError.exit_code, DataError.exit_code, AccessError.exit_code)
# Rules of the failure policy that restart; JobSet gives their names in its conditions.
DISRUPTED = "disrupted"
RESTART_ME = "restart_me"
INTERRUPTED = "interrupted"

Rules = list[dict[str, Any]]


def pod_rules(container: str, *, message_patterns: bool = True) -> Rules:
    """The Job's `podFailurePolicy.rules`, all of which fail it whole.

    message_patterns: whether JobSet can tell them apart (from 0.10 on). Where it cannot, the rule for 2, 3 and 4 is
    left out, because every failure by these rules is then restarted without counting.
    """
    disrupted: dict[str, Any] = {
        "action": "FailJob",
        # JobSet 0.10 requires the status, which later ones leave to Kubernetes to default.
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }
    rules = [disrupted, _on_exit(container, RESTART_CODES)]
    return [*rules, _on_exit(container, NO_RETRY_CODES)] if message_patterns else rules


def jobset_rules(container: str, *, message_patterns: bool = True) -> Rules:
    """The JobSet's `failurePolicy.rules`; what none of them matches is restarted and counted.

    Without message patterns there are two ways only: what the Job's rules matched restarts uncounted, the rest
    counted, so that even 2, 3 and 4 are tried `max_restarts` times again.
    """
    if not message_patterns:
        return [_rule(INTERRUPTED, jobset_api.RESTART_UNCOUNTED)]
    return [
        _rule(
            DISRUPTED,
            jobset_api.RESTART_UNCOUNTED,
            r"^Pod \S+ has condition DisruptionTarget matching FailJob rule at index 0$",
        ),
        _rule(
            RESTART_ME,
            jobset_api.RESTART_UNCOUNTED,
            _exit_pattern(container, RESTART_CODES, index=1),
        ),
        _rule("do_not_retry", jobset_api.FAIL, _exit_pattern(container, NO_RETRY_CODES, index=2)),
    ]


def _on_exit(container: str, codes: tuple[int, ...]) -> dict[str, Any]:
    exits = {"containerName": container, "operator": "In", "values": list(codes)}
    return {"action": "FailJob", "onExitCodes": exits}


def _exit_pattern(container: str, codes: tuple[int, ...], index: int) -> str:
    either = "|".join(map(str, codes))
    what = rf"Container {container} for pod \S+ failed with exit code ({either})"
    return f"^{what} matching FailJob rule at index {index}$"


def _rule(name: str, action: str, *patterns: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"name": name, "action": action, "onJobFailureReasons": ["PodFailurePolicy"]}
    return {**rule, jobset_api.MESSAGE_PATTERNS_FIELD: list(patterns)} if patterns else rule

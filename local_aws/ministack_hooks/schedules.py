"""EventBridge Scheduler: who delivers what is due. ministack knows functions, queues and topics, and asks nobody."""

from collections.abc import Callable
from typing import Any

from ministack.services import eventbridge, scheduler

from local_aws.ministack_hooks.cloudformation import Properties

ARN_BEGINS = "arn:aws:scheduler:"
LOOK_SECONDS = 1  # a look at a few schedules costs nothing, and nobody has to wait ten seconds


def deliver_schedules(deliver: Callable[[Properties, Callable[[], None]], None]) -> None:
    """Have `deliver(schedule, as_ministack_does)` called for every schedule that is due, in a thread, for its account
    and region. Rules of EventBridge, which share ministack's code, go on as before."""
    invoke = eventbridge._invoke_target

    def _invoke_target(target: Properties, event: Any, rule: Properties, view: Any = None) -> None:
        if str(rule.get("Arn", "")).startswith(ARN_BEGINS):
            deliver(rule, lambda: invoke(target, event, rule, view))
        else:
            invoke(target, event, rule, view)

    eventbridge._invoke_target = _invoke_target
    scheduler._SCHEDULE_TICK_INTERVAL = LOOK_SECONDS

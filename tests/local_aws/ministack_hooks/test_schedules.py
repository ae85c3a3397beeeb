"""The private names of ministack that `schedules` uses."""

import inspect

from local_aws.ministack_hooks import schedules


def test_a_schedule_that_is_due_is_handed_to_whom_we_say_and_a_rule_is_not(monkeypatch):
    invoked, delivered = [], []
    monkeypatch.setattr(schedules.eventbridge, "_invoke_target", lambda target, *_: invoked.append(target["Arn"]))
    monkeypatch.setattr(schedules.scheduler, "_SCHEDULE_TICK_INTERVAL", schedules.scheduler._SCHEDULE_TICK_INTERVAL)
    schedules.deliver_schedules(lambda schedule, go_on: (delivered.append(schedule["Name"]), go_on()))
    schedule = {"Arn": "arn:aws:scheduler:us-east-1:123456789012:schedule/default/s", "Name": "s"}
    schedules.eventbridge._invoke_target({"Arn": "first"}, {}, schedule)
    schedules.eventbridge._invoke_target({"Arn": "second"}, {}, {"Arn": "arn:aws:events:us-east-1:123456789012:rule/r"})
    assert (delivered, invoked) == (["s"], ["first", "second"])


def test_ministack_delivers_by_the_function_that_we_replace_and_at_the_pace_that_we_set():
    assert "_eb._invoke_target(target, event, sched)" in inspect.getsource(schedules.scheduler._tick_schedules)
    assert "_SCHEDULE_TICK_INTERVAL" in inspect.getsource(schedules.scheduler._ticker_loop)
    parameters = inspect.signature(schedules.eventbridge._invoke_target).parameters
    assert " ".join(parameters) == "target event rule view"

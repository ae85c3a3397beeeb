"""The seam between the settings of an endpoint and the server in its container: what it takes at once."""

from dataclasses import fields

import pytest
import serve
from amplify_lm import scoring, serve_settings, tasks
from amplify_lm.request_errors import RequestError
from amplify_lm.uploads import MAX_BODY_BYTES

from operate import batch_tasks
from stacks.config.endpoint import base, deployment
from stacks.constructs.served_model import CONTAINER_START_SECONDS


def test_the_settings_know_the_servers_queue() -> None:
    assert base.SERVER_REQUESTS == serve.MAX_REQUESTS
    assert serve_settings.ServeSettings().queue_tokens == base.SERVER_QUEUE_TOKENS
    assert base.LARGEST_SCAN_TOKENS == serve_settings.LARGEST_SCAN_TOKENS
    assert base.SERVER_BODY_MB * 1024 * 1024 == MAX_BODY_BYTES


def test_deployments_reckon_with_the_time_that_a_container_is_given_to_start() -> None:
    to_fetch, to_answer = CONTAINER_START_SECONDS, CONTAINER_START_SECONDS
    assert to_fetch + to_answer == deployment.FLEET_START_MINUTES * 60


def test_the_command_asks_what_the_server_answers() -> None:
    assert {name: [field.name for field in fields(task)] for name, task in tasks.TASKS.items()} == {
        name: list(parameters) for name, parameters in batch_tasks.PARAMETERS.items()
    }
    assert len(scoring.LETTERS) == batch_tasks.LETTERS


@pytest.mark.parametrize(
    ("task", "key", "wanted"),
    [(task, key, wanted) for task, keys in batch_tasks.PARAMETERS.items() for key, wanted in keys.items()],
)
def test_the_command_takes_the_parameters_that_the_server_takes_and_no_others(
    task: str, key: str, wanted: batch_tasks.Wanted
) -> None:
    if isinstance(wanted, range):
        good, bad = [wanted.start, wanted.stop - 1], [wanted.start - 1, wanted.stop, "x"]
    elif isinstance(wanted, tuple):
        good, bad = list(wanted), ["nosuch", 1]
    elif wanted == batch_tasks.BLOCKS:
        good, bad = [1, -1, [1, -1], "all"], [1001, "last", [], [1, "all"], True, 1.5]
    elif wanted == batch_tasks.SWITCH:
        good, bad = [True, False], ["yes", 1]
    else:
        good, bad = [["A1C"]], ["A1C", [1]]
    for value in good:
        tasks.read_task(task, {key: value})
        assert batch_tasks._fits(value, wanted)
    for value in bad:
        with pytest.raises(RequestError):
            tasks.read_task(task, {key: value})
        assert not batch_tasks._fits(value, wanted)

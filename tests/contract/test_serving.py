"""The seam between the settings of an endpoint and the server in its container: what it takes at once."""

import serve
from amplify_lm.uploads import MAX_BODY_BYTES

from stacks.config.endpoint import base, deployment
from stacks.constructs.served_model import CONTAINER_START_SECONDS


def test_the_settings_know_the_servers_queue() -> None:
    assert base.SERVER_REQUESTS == serve.MAX_REQUESTS
    assert serve.ServeSettings().queue_tokens == base.SERVER_QUEUE_TOKENS
    assert base.LARGEST_SCAN_TOKENS == serve.LARGEST_SCAN_TOKENS
    assert base.SERVER_BODY_MB * 1024 * 1024 == MAX_BODY_BYTES


def test_deployments_reckon_with_the_time_that_a_container_is_given_to_start() -> None:
    to_fetch, to_answer = CONTAINER_START_SECONDS, CONTAINER_START_SECONDS
    assert to_fetch + to_answer == deployment.FLEET_START_MINUTES * 60

"""Sessions of roles: renewed while somebody works in them, and given to containers and to nobody else."""

import json
import time
import urllib.error
import urllib.request

import pytest

from local_aws import identity, sessions
from local_aws.identity import Identity, Lease
from local_aws.settings import Credentials

HOUR = 3600.0


def lease(number, seconds):
    credentials = Credentials(access_key=f"ASIA{number}", secret_key="s", token=f"t{number}")
    return Lease(credentials=credentials, expires=time.time() + seconds)


def get(variables, token=None):
    request = urllib.request.Request(
        variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"],
        headers={"Authorization": token or variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"]},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def test_a_session_is_kept_until_minutes_before_its_end_and_then_another_follows():
    begun = iter([lease(1, HOUR), lease(2, identity.RENEW_SECONDS - 1), lease(3, HOUR)])
    long = Identity("role", lambda: next(begun))
    assert long.lease() is long.lease()
    short = Identity("role", lambda: next(begun))
    assert [short.lease().credentials.access_key for _ in range(3)] == ["ASIA2", "ASIA3", "ASIA3"]


def test_nothing_begins_before_somebody_asks_and_what_cannot_begin_says_so_then():
    def cannot():
        raise PermissionError("no such role")

    nobody = Identity("role", cannot)
    with pytest.raises(PermissionError, match="no such role"):
        nobody.lease()


def test_botocore_is_given_new_credentials_before_the_old_ones_end():
    begun = iter([lease(1, identity.RENEW_SECONDS - 1), lease(2, HOUR)])
    given = identity._Provider(Identity("role", lambda: next(begun))).load()
    assert given.get_frozen_credentials().access_key in ("ASIA1", "ASIA2")
    given._expiry_time = given._time_fetcher()  # as if time had passed
    assert given.get_frozen_credentials().access_key == "ASIA2"


def test_a_container_gets_the_credentials_of_its_token_and_later_ones_when_they_are_renewed():
    begun = iter([lease(1, identity.RENEW_SECONDS - 1), lease(2, HOUR)])
    server, mine, yours = sessions.CredentialServer(), Identity("mine", lambda: next(begun)), Identity("yours", None)
    variables, other = server.publish(mine), server.publish(yours)
    assert variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"].startswith("http://127.0.0.1:")
    first, second = get(variables), get(variables)
    assert (first["AccessKeyId"], first["Token"], first["RoleArn"]) == ("ASIA1", "t1", "mine")
    assert second["AccessKeyId"] == "ASIA2"
    assert second["Expiration"].endswith("Z")
    assert other["AWS_CONTAINER_AUTHORIZATION_TOKEN"] != variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"]


def test_whoever_has_no_token_of_a_running_container_gets_nothing():
    server = sessions.CredentialServer()
    one = Identity("role", lambda: lease(1, HOUR))
    variables = server.publish(one)
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(variables, token="guessed")
    assert refused.value.code == 401
    refused.value.close()
    del one  # its job has ended
    with pytest.raises(urllib.error.HTTPError) as forgotten:
        get(variables)
    assert forgotten.value.code == 401
    forgotten.value.close()

"""One promotion at a time, on a real local AWS: raced for, held for long, lost, and left behind by those who died."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest

from local_aws.processes import wait_until
from operate.aws import Aws
from operate.claim import KEY, Claim
from operate.errors import OperateError

SHORT = 2.0  # seconds after which nobody waits for who does not renew


@pytest.fixture
def bucket(aws: Aws) -> str:
    name = f"claims-{time.monotonic_ns()}"
    aws.client("s3").create_bucket(Bucket=name)
    return name


def test_of_many_who_promote_at_once_one_wins_and_the_others_are_told_who(aws: Aws, bucket: str) -> None:
    tried = threading.Barrier(6)

    def promote(name: str) -> str:
        try:
            with Claim(aws.client("s3"), bucket, "version 2 of dev", name):
                tried.wait(timeout=30)
                return f"{name} won"
        except OperateError as error:
            tried.wait(timeout=30)
            return error.message

    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(promote, ["Ada", "Grace", "Mary", "Jane", "Rosa", "Lise"]))
    [winner] = [one.removesuffix(" won") for one in said if one.endswith(" won")]
    others = [one for one in said if not one.endswith(" won")]
    assert all(one.startswith(f"{winner} is promoting version 2 of dev at this moment") for one in others)


def test_a_claim_is_given_back_where_a_promotion_ends_or_fails(aws: Aws, bucket: str) -> None:
    for name in ("Ada", "Grace"):
        with pytest.raises(ZeroDivisionError), Claim(aws.client("s3"), bucket, "a", name):
            raise ZeroDivisionError
    with Claim(aws.client("s3"), bucket, "b", "Mary"):
        pass


def test_a_long_promotion_keeps_its_claim(aws: Aws, bucket: str) -> None:
    with Claim(aws.client("s3"), bucket, "a model of gigabytes", "Ada", SHORT) as claim:
        give_up = time.monotonic() + 3 * SHORT
        while time.monotonic() < give_up:
            with pytest.raises(OperateError, match="Ada is promoting a model of gigabytes"):
                Claim(aws.client("s3"), bucket, "another", "Grace", SHORT).__enter__()
        claim.check()


def hold(endpoint: str, bucket: str) -> None:
    """In a process of its own, until it is killed."""
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    with Claim(s3, bucket, "a", "Ada", SHORT):
        time.sleep(600)


@pytest.fixture
def killed(aws: Aws, bucket: str) -> None:
    """Somebody began a promotion, and their machine is gone."""
    s3 = aws.client("s3")
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(s3.meta.endpoint_url, bucket))
    process.start()
    assert wait_until(lambda: "Contents" in s3.list_objects_v2(Bucket=bucket), 60)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def words(attempt: Callable[[], object]) -> str:
    """What an attempt is told; nothing where it succeeds."""
    try:
        attempt()
    except OperateError as error:
        return error.message
    return ""


@pytest.mark.usefixtures("killed")
def test_a_claim_does_not_outlive_who_died(aws: Aws, bucket: str) -> None:
    told: list[str] = []

    def take() -> None:
        with Claim(aws.client("s3"), bucket, "b", "Grace", SHORT):
            pass

    def is_free() -> bool:
        told.append(words(take))
        return told[-1] == ""

    assert wait_until(is_free, 60)
    assert all(one.startswith("Ada is promoting a") for one in told[:-1])


def test_who_lost_a_claim_is_told_and_leaves_the_others_alone(aws: Aws, bucket: str) -> None:
    s3 = aws.client("s3")
    with Claim(s3, bucket, "a", "Ada", SHORT) as claim:
        theirs = b'{"what": "b", "by": "Grace"}'  # as after a sleep of this machine
        s3.put_object(Bucket=bucket, Key=KEY, Body=theirs)
        assert wait_until(lambda: words(claim.check) != "", 60)
        assert words(claim.check).startswith("Grace is promoting b")
    assert s3.get_object(Bucket=bucket, Key=KEY)["Body"].read() == theirs

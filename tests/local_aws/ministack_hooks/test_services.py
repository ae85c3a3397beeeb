"""One hook each: S3, schedules, ECR, Lambda; and the tables of all services."""

from datetime import UTC, datetime

import pytest

from local_aws import persistence
from local_aws.ministack_hooks import requests, services
from tests.local_aws.ministack_hooks.calls import request


def test_a_services_tables_are_read_again_as_they_were_written(ministack, tmp_path, monkeypatch):
    request(ministack, "sqs", "/", b'{"QueueName": "kept"}', **{"x-amz-target": "AmazonSQS.CreateQueue"})
    tables = persistence._copies()["sqs"]
    (tmp_path / "sqs.json").write_text(services.encode("sqs", tables))
    monkeypatch.setattr(services.persistence, "PERSIST_STATE", True)
    monkeypatch.setattr(services.persistence, "STATE_DIR", str(tmp_path))
    loaded = services.persistence.load_state("sqs")
    assert services.encode("sqs", loaded) == services.encode("sqs", tables)
    assert "kept" in services.encode("sqs", loaded)


def test_s3_resolves_a_writes_encryption_where_we_complete_it(ministack, monkeypatch):
    s3 = services.s3
    monkeypatch.setattr(s3, "_resolve_sse_write_headers", s3._resolve_sse_write_headers)
    asked = {"x-amz-server-side-encryption": "aws:kms"}
    _, refusal = s3._resolve_sse_write_headers(asked, "bucket")
    assert refusal, "ministack has its own answer now: the hook can go"
    services.encrypt_with_the_buckets_key()
    with requests.request_scope("222222222222", "eu-west-1"):
        headers, refusal = s3._resolve_sse_write_headers(asked, "bucket")
    assert refusal is None
    key = headers["x-amz-server-side-encryption-aws-kms-key-id"]
    assert key == "arn:aws:kms:eu-west-1:222222222222:alias/aws/s3"


def test_cron_expressions_name_minutes():
    after = datetime(2026, 11, 27, 19, 30, tzinfo=UTC)  # a Friday
    assert services.next_of_cron("cron(0 7 ? * MON-FRI *)", after) == datetime(2026, 11, 30, 7, tzinfo=UTC)
    with pytest.raises(ValueError, match="no AWS cron expression"):
        services.next_of_cron("cron(0 7 * * MON-FRI *)", after)


def test_ecr_says_that_an_image_is_missing_where_we_let_it(ministack, monkeypatch):
    ecr = services.ecr
    monkeypatch.setattr(ecr, "_describe_images", ecr._describe_images)
    headers = {"x-amz-target": "AmazonEC2ContainerRegistry_V20150921.CreateRepository"}
    request(ministack, "ecr", "/", b'{"repositoryName": "hooks"}', **headers)
    headers["x-amz-target"] = "AmazonEC2ContainerRegistry_V20150921.DescribeImages"
    asked = b'{"repositoryName": "hooks", "imageIds": [{"imageTag": "none"}]}'
    assert request(ministack, "ecr", "/", asked, **headers).status_code == 200, "ministack refuses now: the hook can go"
    services.miss_images()
    answer = request(ministack, "ecr", "/", asked, **headers)
    assert (answer.status_code, answer.json()["__type"]) == (400, "ImageNotFoundException")
    assert "imageTag:'none'" in answer.json()["message"]
    assert request(ministack, "ecr", "/", b'{"repositoryName": "hooks"}', **headers).json() == {"imageDetails": []}


def test_the_processes_of_functions_are_ended_by_name(ministack):
    ended = []

    class Process:
        def terminate(self):
            ended.append("terminated")

        def poll(self):
            return None

        def wait(self, timeout):
            return 0

    runtime = services.lambda_runtime
    worker = runtime.Worker("f", {}, b"")
    worker._proc = Process()
    runtime._workers["key"] = [worker]
    services.end_functions()
    assert ended == ["terminated"]
    assert runtime._workers == {}

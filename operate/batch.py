"""A transform job from records to answers: cut into requests, started, followed, and joined again by record.

A job's input is lines of one request each, in some objects; the answers come back as lines in the same order. An object
one of whose requests fails has no output at all, so objects are small, and requests are `partial`: a record that
cannot be answered has its error in its place. Nothing but the source and the settings decides how records are cut:
whoever gives the same again can go on with a job that somebody else started.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from operate import deployment, releases
from operate.aws import Aws
from operate.batch_records import Record
from operate.batch_tasks import REQUEST_NUMBERS, REQUEST_RECORDS, REQUEST_TOKENS, Question
from operate.errors import MAY_NOT, OperateError, is_refusal
from operate.pipeline_run import log_tail
from operate.portions import Room, portions
from stacks.config import Batch

MEGABYTE = 1 << 20
REQUESTS_AN_OBJECT = 20
ANSWER_SECONDS = 3600  # of one request; CreateTransformJob takes no more
POLL_S, POLL_LOCAL_S = 10.0, 0.5
ENDED = ("Completed", "Failed", "Stopped")
NO_ANSWER = "no_answer"

Show = Callable[[str, float | None], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one record."""

    record: Record
    answer: dict[str, Any] | None
    """The server's, without the id."""
    error: dict[str, Any] | None
    """`code` and `message`, where there is no answer."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a job is asked, and what is not even sent."""

    records: Sequence[Record]
    refused: dict[int, dict[str, str]]
    """Error by index of record: what the server in the container could not take."""
    objects: Sequence[Sequence[Sequence[int]]]
    """Of each object its requests, of each request the indices of its records."""
    question: Question

    def bodies(self) -> Iterator[bytes]:
        """The content of each object."""
        for requests in self.objects:
            lines = (self.question.request([self.records[i] for i in request]) for request in requests)
            yield b"\n".join(lines) + b"\n"

    def digest(self) -> str:
        """Eight hexadecimal digits of all that is asked."""
        found = hashlib.sha256()
        for body in self.bodies():
            found.update(hashlib.sha256(body).digest())
        return found.hexdigest()[:8]


def plan(records: Sequence[Record], question: Question, settings: Batch) -> Plan:
    """Cut records into requests that an instance answers in good time, and requests into objects for the instances.

    A record that the server's queue or its reader could not take is refused here, by the settings that say so.
    """
    most_bytes = settings.max_payload_mb * MEGABYTE
    refused: dict[int, dict[str, str]] = {}
    sizes: list[tuple[int, Room]] = []
    for index, record in enumerate(records):
        size = Room(question.tokens(record), question.numbers(record), 1, len(question.request([record])))
        if size.bytes > most_bytes:
            message = f"{size.bytes} bytes; a request may have {most_bytes} (max_payload_mb of environments.py)"
            refused[index] = {"code": "body_too_large", "message": message}
        elif size.tokens > settings.largest_request_tokens:
            most = f"{settings.largest_request_tokens} (largest_request_tokens of environments.py)"
            refused[index] = {"code": "too_much_work", "message": f"{size.tokens} tokens of work; {most} are allowed"}
        else:
            sizes.append((index, size))
    tokens = min(REQUEST_TOKENS, settings.largest_request_tokens)
    requests = portions(sizes, Room(tokens, REQUEST_NUMBERS, REQUEST_RECORDS, most_bytes))
    # No fewer objects than instances, where there are as many requests: SageMaker shares out whole objects.
    size_of_object = max(1, min(REQUESTS_AN_OBJECT, len(requests) // settings.instance_count))
    objects = [requests[at : at + size_of_object] for at in range(0, len(requests), size_of_object)]
    return Plan(records=records, refused=refused, objects=objects, question=question)


# ---- the job ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an environment's transform jobs read and write."""

    bucket: str
    key_arn: str
    input_prefix: str
    output_prefix: str
    model: str

    @classmethod
    def of(cls, aws: Aws) -> "Place":
        """Raises OperateError where no model for jobs is deployed."""
        return cls(
            model=deployment.output(aws, "endpoint", "ModelName"),
            input_prefix=deployment.output(aws, "endpoint", "InputPrefix"),
            output_prefix=deployment.output(aws, "endpoint", "OutputPrefix"),
            bucket=deployment.output(aws, "storage", "ArtifactBucketName"),
            key_arn=deployment.output(aws, "storage", "KeyArn"),
        )


def start(aws: Aws, settings: Batch, place: Place, made: Plan, package: str | None) -> str:
    """Upload a plan's requests and start the job on them; returns its name. Raises OperateError.

    `package`: a version or an ARN of the group; None is the model that the environment's release serves.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    name = f"amplify-{aws.environment.name}-batch-{stamp}-{made.digest()}"
    model = place.model if package is None else _model_of(aws, place, package, name)
    s3 = aws.client("s3")
    try:
        for number, body in enumerate(made.bodies()):
            s3.put_object(Bucket=place.bucket, Key=f"{place.input_prefix}{name}/{_object(number)}", Body=body)
        aws.client("sagemaker").create_transform_job(**_request(aws, settings, place, name, model))
    except ClientError as error:
        tidy(aws, name, model)
        raise _refused("The transform job was not started", error) from None
    return name


def _request(aws: Aws, settings: Batch, place: Place, name: str, model: str) -> dict[str, Any]:
    resources: dict[str, Any] = {"InstanceType": settings.instance_type, "InstanceCount": settings.instance_count}
    if settings.volume_takes_key:
        resources["VolumeKmsKeyId"] = place.key_arn
    if settings.machine_image is not None:
        resources["TransformAmiVersion"] = settings.machine_image
    source = f"s3://{place.bucket}/{place.input_prefix}{name}/"
    return {
        "TransformJobName": name,
        "ModelName": model,
        "BatchStrategy": "SingleRecord",
        "MaxConcurrentTransforms": settings.concurrent_requests,
        "MaxPayloadInMB": settings.max_payload_mb,
        "ModelClientConfig": {"InvocationsTimeoutInSeconds": ANSWER_SECONDS, "InvocationsMaxRetries": 3},
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": source}},
            "ContentType": "application/json",
            "SplitType": "Line",
        },
        "TransformOutput": {
            "S3OutputPath": f"s3://{place.bucket}/{place.output_prefix}{name}",
            "Accept": "application/json",
            "AssembleWith": "Line",
            "KmsKeyId": place.key_arn,
        },
        "TransformResources": resources,
        "Tags": [{"Key": key, "Value": value} for key, value in aws.environment.tags.items()],
    }


def _model_of(aws: Aws, place: Place, package: str, name: str) -> str:
    """A model made of a package for this job, of the job's name. Raises OperateError where there may be none."""
    env = aws.environment.name
    arn = releases.package_of(aws, deployment.output(aws, "registry", "ModelPackageGroupName"), package)
    sagemaker = aws.client("sagemaker")
    try:
        status = sagemaker.describe_model_package(ModelPackageName=arn)["ModelApprovalStatus"]
        if status != "Approved":
            todo = f"Look at it first: `amplify approve {package} --env {env}`, or name one that is approved."
            raise OperateError(f"{arn} is {status}: jobs run approved packages.", todo=todo)
        request = {
            "ModelName": name,
            "PrimaryContainer": {"ModelPackageName": arn},
            "ExecutionRoleArn": deployment.output(aws, "endpoint", "PackagesRoleArn"),
            "EnableNetworkIsolation": True,
        }
        if vpc := sagemaker.describe_model(ModelName=place.model).get("VpcConfig"):
            request["VpcConfig"] = vpc
        sagemaker.create_model(**request)
    except ClientError as error:
        raise _refused(f"No model could be made of {arn}", error) from None
    return name


def tidy(aws: Aws, name: str, model: str) -> None:
    """Delete the model of a job, where it was made for this one: it has the job's name."""
    if model == name:
        try:
            aws.client("sagemaker").delete_model(ModelName=name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationException":  # somebody else who waited has done it
                raise


def check_same(name: str, made: Plan, env: str) -> None:
    """Raises OperateError where a job was not started for exactly what is given now."""
    found = re.fullmatch(r"amplify-(.+)-batch-\d{8}-\d{6}-([0-9a-f]{8})", name)
    if found is None or found[1] != env:
        raise OperateError(f"{name} is no job of `amplify batch --env {env}`.", todo="Give its name as it was printed.")
    if found[2] != made.digest():
        raise OperateError(
            f"Job {name} was started for other records, another task or other settings.",
            todo="Give the same source, --task and --set as then.",
        )


def follow(aws: Aws, place: Place, name: str, made: Plan, show: Show) -> dict[str, Any]:
    """Wait for a job's end, telling `show`; returns its description. Raises OperateError where there is no such job."""
    sagemaker = aws.client("sagemaker")
    while True:
        try:
            job = sagemaker.describe_transform_job(TransformJobName=name)
        except ClientError as error:
            raise _refused(f"Job {name} cannot be followed", error) from None
        if job["TransformJobStatus"] in ENDED:
            return job
        done = sum(1 for _ in _answered(aws, place, name))
        total = len(made.objects)
        begun = f"{done} of {total} parts answered" if "TransformStartTime" in job else "waiting for instances"
        show(f"{job['TransformJobStatus']}: {begun}", done / total)
        time.sleep(POLL_LOCAL_S if aws.is_local else POLL_S)


def stop(aws: Aws, name: str) -> None:
    """Stop a job. Raises OperateError where it has ended, or is none."""
    try:
        aws.client("sagemaker").stop_transform_job(TransformJobName=name)
    except ClientError as error:
        raise _refused(f"Job {name} was not stopped", error) from None


def outcomes(aws: Aws, place: Place, name: str, made: Plan, job: dict[str, Any]) -> Iterator[Outcome]:
    """What became of every record, in order. Raises OperateError where a job that ended badly answered nothing."""
    there = set(_answered(aws, place, name))
    if not there and job["TransformJobStatus"] != "Completed":
        reason = job.get("FailureReason", "AWS gives no reason")
        raise OperateError(
            f"Job {name} is {job['TransformJobStatus']}: {reason}",
            todo="Mend what the reason names, and start again.",
            log_tail=log_tail(aws, "TransformJob", name),
        )
    s3, bucket = aws.client("s3"), place.bucket
    errors = dict(made.refused)
    answers: dict[int, dict[str, Any]] = {}
    for number, requests in enumerate(made.objects):
        key = f"{place.output_prefix}{name}/{_object(number)}.out"
        content = s3.get_object(Bucket=bucket, Key=key)["Body"].read() if key in there else None
        for index, found in _joined(requests, content, _why(job)):
            if "error" in found:
                errors[index] = found["error"]
            else:
                answers[index] = found
    for index, record in enumerate(made.records):
        yield Outcome(record, answers.pop(index, None), errors.get(index))


def _joined(requests: Sequence[Sequence[int]], content: bytes | None, why: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Record by record what an object's output says."""
    lines = [] if content is None else content.splitlines()
    if content is not None and len(lines) != len(requests):
        why, lines = f"{len(lines)} answers came to {len(requests)} requests", []
    for at, request in enumerate(requests):
        outputs = _outputs(lines[at]) if lines else None
        if lines and (outputs is None or len(outputs) != len(request)):
            why, outputs = f"the answer is none of ours: {lines[at][:100]!r}", None
        for place, index in enumerate(request):
            if outputs is None:
                yield index, {"error": {"code": NO_ANSWER, "message": why}}
            else:
                yield index, {key: value for key, value in outputs[place].items() if key != "id"}


def _outputs(line: bytes) -> list[dict[str, Any]] | None:
    try:
        outputs = json.loads(line)["outputs"]
    except (ValueError, TypeError, KeyError):
        return None
    return outputs if isinstance(outputs, list) and all(isinstance(one, dict) for one in outputs) else None


def _why(job: dict[str, Any]) -> str:
    status = job["TransformJobStatus"]
    return f"its part of the job has no output; the job is {status}: {job.get('FailureReason', 'without a reason')}"


def _answered(aws: Aws, place: Place, name: str) -> Iterator[str]:
    """The keys of a job's outputs."""
    prefix = f"{place.output_prefix}{name}/"
    for page in aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=prefix):
        yield from (one["Key"] for one in page.get("Contents", []))


def _object(number: int) -> str:
    return f"part-{number:05d}.jsonl"


def _refused(what: str, error: ClientError) -> OperateError:
    quotas = "Where a quota is too small, `amplify doctor` names it; `amplify status` shows what is deployed."
    return OperateError(f"{what}: {error.response['Error']['Message']}", todo=MAY_NOT if is_refusal(error) else quotas)

"""A Lambda function of ours: one file of lambda_code, a role that starts with nothing, a log that ends some day."""

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from stacks.constructs.code_bundle import CodeBundle
from stacks.constructs.service_role import LAMBDA, ServiceRole

HANDLER = "handler"  # what every file of lambda_code calls its entry point


class SmallFunction(Construct):
    """Seconds of standard library and boto3. What it may do is added to its `role`.

    `dead_letters`: where an event goes that failed three times. Without it the function is only ever called by
    something that waits for its answer.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        code: CodeBundle,
        file: str,
        description: str,
        environment: dict[str, str],
        key: kms.IKey,
        dead_letters: sqs.IQueue | None = None,
    ) -> None:
        super().__init__(scope, id)
        cdk.Annotations.of(code).acknowledge_warning(
            "@aws-cdk/aws-lambda:codeFromBucketObjectVersionNotSpecified", "the key is the digest of the code"
        )
        self.role = ServiceRole(self, "Role", description=description, service=LAMBDA)
        log = private_log(self, "Log", key=key)
        self.role.log_to(log)
        if dead_letters is not None:
            self.role.use_key(key, writes=True, volumes=False)
        self.function = lambda_.Function(
            self,
            "Function",
            description=description,
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            code=lambda_.Code.from_bucket(code.bucket, code.key),
            handler=f"{file}.{HANDLER}",
            role=self.role,
            environment=environment,
            timeout=cdk.Duration.seconds(60),
            memory_size=256,  # boto3 alone takes a quarter of it, and the share of a CPU comes with the memory
            log_group=log,
            dead_letter_queue=dead_letters,
        )


def private_log(scope: Construct, id: str, *, key: kms.IKey) -> logs.LogGroup:
    """A log group under the environment's key, for a quarter of a year. It goes with its stack: it holds no state."""
    return logs.LogGroup(
        scope,
        id,
        encryption_key=key,
        retention=logs.RetentionDays.THREE_MONTHS,
        removal_policy=cdk.RemovalPolicy.DESTROY,
    )

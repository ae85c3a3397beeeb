"""Interface endpoints: the doors from a private network to AWS services, each with a policy of what passes through.

What a caller may do is its role's policy. These say what may be done *from this network* at all, with whatever
credentials somebody brings: in this account only, as a principal of this account only.
"""

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from stacks.config.network import InterfaceEndpoint

PULL = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability")


class ServiceEndpoints(Construct):
    """One endpoint for each service named, in every subnet, under the service's usual name (private DNS).

    `resource_name` is the environment's one fixed name, of endpoint, repository and log groups.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        vpc: ec2.IVpc,
        services: tuple[InterfaceEndpoint, ...],
        security_group: ec2.ISecurityGroup,
        resource_name: str,
        key_arn: str,
    ) -> None:
        super().__init__(scope, id)
        self._account = cdk.Stack.of(self).account
        passing = self._passing(resource_name, key_arn)
        for service in services:
            endpoint = ec2.InterfaceVpcEndpoint(
                self,
                "".join(part.capitalize() for part in service.split(".")),
                vpc=vpc,
                service=ec2.InterfaceVpcEndpointAwsService(service),
                subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
                security_groups=[security_group],
                private_dns_enabled=True,
                open=False,  # otherwise anything in the VPC may enter; the security group names who may
            )
            for statement in passing[service]:
                endpoint.add_to_policy(statement)

    def _passing(self, name: str, key_arn: str) -> dict[InterfaceEndpoint, list[iam.PolicyStatement]]:
        def arn(service: str, resource: str) -> str:
            return (
                f"arn:{cdk.Stack.of(self).partition}:{service}:{cdk.Stack.of(self).region}:{self._account}:{resource}"
            )

        allow = self._allow
        groups = [arn("logs", f"log-group:{start}*") for start in ("/aws/sagemaker/", f"{name}-")]
        pull = [allow(PULL, arn("ecr", f"repository/{name}")), allow(("ecr:GetAuthorizationToken",), "*")]
        # Whoever starts a run names the digest of its image, and looks it up first: from a notebook, through here.
        look_up = allow(("ecr:DescribeImages",), arn("ecr", f"repository/{name}"))
        return {
            "sagemaker.api": [allow(("sagemaker:*",), "*", resource_account=self._account)],
            "sagemaker.runtime": [
                allow(
                    (
                        *("sagemaker:InvokeEndpoint", "sagemaker:InvokeEndpointAsync"),
                        "sagemaker:InvokeEndpointWithResponseStream",
                    ),
                    arn("sagemaker", f"endpoint/{name}"),
                    arn("sagemaker", f"inference-component/{name}"),
                )
            ],
            "logs": [
                allow(
                    (
                        *("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"),
                        *("logs:DescribeLogStreams", "logs:GetLogEvents", "logs:FilterLogEvents"),
                    ),
                    *groups,
                )
            ],
            "monitoring": [
                allow(
                    (
                        *("cloudwatch:PutMetricData", "cloudwatch:GetMetricData", "cloudwatch:GetMetricStatistics"),
                        *("cloudwatch:ListMetrics", "cloudwatch:DescribeAlarms"),
                    ),
                    "*",  # AWS defines these without a resource
                )
            ],
            "ecr.api": [*pull, look_up],
            "ecr.dkr": pull,
            "sts": [
                allow(("sts:GetCallerIdentity",), "*"),
                allow(("sts:AssumeRole",), f"arn:{cdk.Stack.of(self).partition}:iam::{self._account}:role/*"),
            ],
            "kms": [allow(("kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"), key_arn)],
        }

    def _allow(
        self, actions: tuple[str, ...], *resources: str, resource_account: str | None = None
    ) -> iam.PolicyStatement:
        conditions = {"aws:PrincipalAccount": self._account}
        if resource_account is not None:
            conditions["aws:ResourceAccount"] = resource_account
        return iam.PolicyStatement(
            principals=[iam.AnyPrincipal()],
            actions=list(actions),
            resources=list(resources),
            conditions={"StringEquals": conditions},
        )

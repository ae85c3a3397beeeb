"""The record of every connection in a network, accepted or refused: who, with whom, when, how much."""

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct


class FlowLog(Construct):
    """To a log group under the environment's key, which outlives the network; written by a role of its own."""

    def __init__(self, scope: Construct, id: str, *, vpc: ec2.IVpc, key_arn: str, keep_days: int) -> None:
        super().__init__(scope, id)
        stack = cdk.Stack.of(self)
        group = logs.CfnLogGroup(self, "LogGroup", kms_key_id=key_arn, retention_in_days=keep_days)
        group.apply_removal_policy(cdk.RemovalPolicy.RETAIN)

        role = iam.Role(
            self,
            "Role",
            description="Writes the flow log of the network",
            assumed_by=iam.ServicePrincipal(
                "vpc-flow-logs.amazonaws.com",
                conditions={
                    "StringEquals": {"aws:SourceAccount": stack.account},
                    "ArnLike": {
                        "aws:SourceArn": f"arn:{stack.partition}:ec2:{stack.region}:{stack.account}:vpc-flow-log/*"
                    },
                },
            ),
        )
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
                resources=[group.attr_arn],  # ends in :*, which stands for the group's streams
            )
        )
        flow_log = ec2.CfnFlowLog(
            self,
            "FlowLog",
            resource_id=vpc.vpc_id,
            resource_type="VPC",
            traffic_type="ALL",
            max_aggregation_interval=60,  # seconds; the other choice is ten minutes
            log_destination_type="cloud-watch-logs",
            log_group_name=group.ref,
            deliver_logs_permission_arn=role.role_arn,
        )
        flow_log.node.add_dependency(role.node.find_child("DefaultPolicy"))

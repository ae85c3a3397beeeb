"""A VPC that nothing leaves: no internet gateway, no NAT, and security groups that name whom they let in and out."""

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from stacks.config import Network
from stacks.vpc_config import VpcConfig

HTTPS = ec2.Port.tcp(443)


class PrivateNetwork(Construct):
    """Isolated subnets in the zones given, a way to S3 for `buckets` only, and a group for each kind of user.

    A new group reaches S3 and the interface endpoints, by HTTPS, and nothing else; nothing reaches it. The default
    security group, which everything joins that names no other, is closed.
    """

    def __init__(self, scope: Construct, id: str, *, network: Network, buckets: list[s3.IBucket]) -> None:
        super().__init__(scope, id)
        self._s3_prefix_list = network.s3_prefix_list
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            availability_zones=list(network.availability_zones),
            ip_addresses=ec2.IpAddresses.cidr(network.cidr),
            create_internet_gateway=False,
            nat_gateways=0,
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="Isolated", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=network.subnet_prefix
                )
            ],
            restrict_default_security_group=True,
        )
        cdk.Validations.of(self.vpc).acknowledge(
            cdk.Acknowledgment(
                id="CloudFormation-Validate::W3010",
                reason="zones are literals: synthesis looks nothing up, and a diff shows them",
            )
        )
        self._let_in_and_out_of_s3(buckets)

        self.endpoints_group = ec2.SecurityGroup(
            self,
            "EndpointsGroup",
            vpc=self.vpc,
            description="Interface endpoints: entered by HTTPS from the groups that each rule names",
            allow_all_outbound=False,
        )

    @property
    def subnet_ids(self) -> tuple[str, ...]:
        """One for each zone, in the order of the zones."""
        return tuple(subnet.subnet_id for subnet in self.vpc.isolated_subnets)

    def add_group(self, id: str, *, description: str) -> ec2.SecurityGroup:
        """A group for one kind of user."""
        group = ec2.SecurityGroup(self, id, vpc=self.vpc, description=description, allow_all_outbound=False)
        # Written into the group itself: a group without a rule of its own is born with the way out to everywhere, and
        # keeps it until the first separate rule is added. The CDK's own rules for prefix lists are separate ones.
        cfn_group = group.node.default_child
        assert isinstance(cfn_group, ec2.CfnSecurityGroup)
        cfn_group.security_group_egress = [
            ec2.CfnSecurityGroup.EgressProperty(
                ip_protocol="tcp",
                from_port=443,
                to_port=443,
                destination_prefix_list_id=self._s3_prefix_list,
                description="S3, by the gateway endpoint",
            )
        ]
        self.endpoints_group.connections.allow_from(group, HTTPS, "AWS services, by their interface endpoints")
        return group

    def let_talk_among_themselves(self, group: ec2.SecurityGroup) -> None:
        """Members of the group reach each other on every port. EFA asks for both directions, without other members."""
        group.connections.allow_internally(ec2.Port.all_traffic(), "Instances of one job")

    def vpc_config(self, group: ec2.SecurityGroup) -> VpcConfig:
        """Where the members of a group run."""
        return VpcConfig(subnets=self.subnet_ids, security_group=group.security_group_id)

    def _let_in_and_out_of_s3(self, buckets: list[s3.IBucket]) -> None:
        """The gateway's policy: a role that may do more elsewhere carries nothing out to a bucket that is not here."""
        stack = cdk.Stack.of(self)
        gateway = self.vpc.add_gateway_endpoint("S3", service=ec2.GatewayVpcEndpointAwsService.S3)
        of_this_account = {"StringEquals": {"aws:PrincipalAccount": stack.account}}
        gateway.add_to_policy(
            iam.PolicyStatement(
                sid="BucketsOfThisEnvironment",
                principals=[iam.AnyPrincipal()],
                actions=["s3:GetBucketLocation", "s3:ListBucket"],
                resources=[bucket.bucket_arn for bucket in buckets],
                conditions=of_this_account,
            )
        )
        gateway.add_to_policy(
            iam.PolicyStatement(
                sid="ObjectsOfThisEnvironment",
                principals=[iam.AnyPrincipal()],
                actions=[
                    *("s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"),
                    *("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"),
                ],
                resources=[bucket.arn_for_objects("*") for bucket in buckets],
                conditions=of_this_account,
            )
        )
        assets = f"arn:{stack.partition}:s3:::cdk-hnb659fds-assets-{stack.account}-{stack.region}"
        gateway.add_to_policy(
            iam.PolicyStatement(
                sid="CodeBundles",
                principals=[iam.AnyPrincipal()],
                actions=["s3:GetObject"],
                resources=[f"{assets}/*"],
                conditions=of_this_account,
            )
        )
        # ECR hands out image layers as presigned requests to its own bucket, so the caller is not of this account.
        # https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html#ecr-minimum-s3-perms
        layers = f"arn:{stack.partition}:s3:::prod-{stack.region}-starport-layer-bucket"
        gateway.add_to_policy(
            iam.PolicyStatement(
                sid="ImageLayers",
                principals=[iam.AnyPrincipal()],
                actions=["s3:GetObject"],
                resources=[f"{layers}/*"],
            )
        )

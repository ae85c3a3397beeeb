"""Every rule holds in every template, and every rule notices the template that breaks it."""

import copy
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.stacks.rules import buckets, delivery, models, networks, rights, services
from tests.stacks.synthesis import Template, all_templates, resources

Rule = Callable[[Template], Iterable[str]]


def setting(type_: str, field: str, value: Any, start: str = "") -> Callable[[Template], None]:
    """Breaks a template: sets a property of the first resource of a type (its id starting so); None removes it."""

    def breakage(template: Template) -> None:
        properties = next(r for id_, r in resources(template, type_).items() if id_.startswith(start))["Properties"]
        if value is None:
            del properties[field]
        else:
            properties[field] = value

    return breakage


def dropping(type_: str, attribute: str) -> Callable[[Template], None]:
    """Breaks a template: removes an attribute beside the properties, such as DeletionPolicy."""

    def breakage(template: Template) -> None:
        del next(iter(resources(template, type_).values()))[attribute]

    return breakage


def allowing(start: str = "", **statement: Any) -> Callable[[Template], None]:
    """Breaks a template: adds an Allow statement to a role's policy (the first whose id starts so)."""

    def breakage(template: Template) -> None:
        found = resources(template, "AWS::IAM::Policy").items()
        policy = next(policy for id_, policy in found if id_.startswith(start))
        policy["Properties"]["PolicyDocument"]["Statement"].append({"Effect": "Allow", "Resource": "arn:x"} | statement)

    return breakage


def trusting(**statement: Any) -> Callable[[Template], None]:
    """Breaks a template: changes who may assume the first role."""

    def breakage(template: Template) -> None:
        role = next(iter(resources(template, "AWS::IAM::Role").values()))
        role["Properties"]["AssumeRolePolicyDocument"]["Statement"][0].update(statement)

    return breakage


def opening(type_: str, field: str, account: str, **statement: Any) -> Callable[[Template], None]:
    """Breaks a template: adds a statement for another account's root to a policy of the first resource of a type."""

    def breakage(template: Template) -> None:
        policy = next(iter(resources(template, type_).values()))["Properties"][field]
        root = {"AWS": f"arn:aws:iam::{account}:root"}
        given = {"Effect": "Allow", "Principal": root, "Action": "s3:GetObject", "Resource": "*"}
        policy["Statement"].append(given | statement)

    return breakage


def adding(type_: str, **properties: Any) -> Callable[[Template], None]:
    """Breaks a template: adds a resource."""
    return lambda template: template["Resources"].update(New={"Type": type_, "Properties": properties})


def removing(type_: str, start: str = "") -> Callable[[Template], None]:
    """Breaks a template: removes the first resource of a type (its id starting so)."""
    return lambda template: template["Resources"].pop(
        next(id_ for id_ in resources(template, type_) if id_.startswith(start))
    )


def rewriting(old: str, new: str) -> Callable[[Template], None]:
    """Breaks a template: changes the text of the first pipeline's definition."""

    def breakage(template: Template) -> None:
        properties = next(iter(resources(template, "AWS::SageMaker::Pipeline").values()))["Properties"]
        text = json.dumps(properties["PipelineDefinition"])
        escaped = [json.dumps(part)[1:-1] for part in (old, new)]
        assert escaped[0] in text
        properties["PipelineDefinition"] = json.loads(text.replace(*escaped))

    return breakage


UNDER_ITS_KEY = buckets.buckets_refuse_what_is_not_under_their_key_and_only_that
FOREIGN = rights.other_accounts_are_named_by_their_root_and_one_role
TRAINING_RULE = models.training_jobs_are_isolated_encrypted_bounded_and_can_go_on
PLAIN_KEYS = {"ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
KMS_KEYS = {"ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]}
HALF_PRIVATE = {
    "BlockPublicAcls": True,
    "BlockPublicPolicy": False,
    "IgnorePublicAcls": True,
    "RestrictPublicBuckets": True,
}
DEPLOYMENT = services.a_deployment_runs_no_code_of_ours_but_what_starts_the_image_build
EVENTS = services.what_calls_a_function_keeps_the_events_that_it_fails_on
FULL_ACCESS = {"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}]}
GROUP, INGRESS, EGRESS = (f"AWS::EC2::SecurityGroup{kind}" for kind in ("", "Ingress", "Egress"))
VPC_ENDPOINT = "AWS::EC2::VPCEndpoint"
BUCKET, ENDPOINT_CONFIG = "AWS::S3::Bucket", "AWS::SageMaker::EndpointConfig"


def refusing_writes(bucket: str, sid: str, condition: dict[str, Any] | None) -> Callable[[Template], None]:
    """Breaks a template: changes the condition of a statement of a bucket's policy; None removes the statement."""

    def breakage(template: Template) -> None:
        policies = resources(template, "AWS::S3::BucketPolicy").items()
        policy = next(one for id_, one in policies if id_.startswith(bucket))["Properties"]["PolicyDocument"]
        [found] = [one for one in policy["Statement"] if one.get("Sid") == sid]
        if condition is None:
            policy["Statement"].remove(found)
        else:
            found["Condition"] |= condition

    return breakage


def in_variant(field: str, value: Any, which: str = "ProductionVariants") -> Callable[[Template], None]:
    """Breaks a template: sets a field of the first variant; None removes it."""

    def breakage(template: Template) -> None:
        variant = next(iter(resources(template, ENDPOINT_CONFIG).values()))["Properties"][which][0]
        if value is None:
            del variant[field]
        else:
            variant[field] = value

    return breakage


def keeping_without_a_key(*path: str) -> Callable[[Template], None]:
    """Breaks a template: takes the key from a part of the endpoint configuration."""

    def breakage(template: Template) -> None:
        part = next(iter(resources(template, ENDPOINT_CONFIG).values()))["Properties"]
        for name in path:
            part = part[name]
        del part["KmsKeyId"]

    return breakage


def claiming(**claims: str) -> Callable[[Template], None]:
    """Breaks a template: the first role trusts tokens that say something else."""
    said = {"aud": "sts.amazonaws.com", "sub": "repo:o/r:environment:prod", "ref": "refs/heads/main"} | claims
    github = {f"{delivery.GITHUB}:{claim}": value for claim, value in said.items() if value}
    return trusting(Condition={"StringEquals": github})


DISTRUST = [
    trusting(Condition={}),
    trusting(Condition={"StringLike": {f"{delivery.GITHUB}:sub": "repo:o/r:environment:prod"}}),
    trusting(Principal={"Federated": "arn:aws:iam::333333333333:oidc-provider/gitlab.com"}),
    claiming(aud="https://github.com/o"),
    claiming(sub="repo:o/*:environment:prod"),
    claiming(sub="repo:o/r:pull_request"),
    claiming(sub="repo:o/r:environment:*"),
    claiming(ref="refs/heads/*"),
    claiming(ref=""),
]
CLOUDFORMATIONS = "arn:aws:iam::333333333333:role/cdk-hnb659fds-cfn-exec-role-333333333333-us-east-1"

CASES: list[tuple[Rule, str, Callable[[Template], None]]] = [
    (services.state_is_retained, "prod/storage", dropping(BUCKET, "DeletionPolicy")),
    (services.state_is_retained, "prod/storage", dropping("AWS::KMS::Key", "UpdateReplacePolicy")),
    (services.state_is_retained, "prod/registry", dropping("AWS::ECR::Repository", "DeletionPolicy")),
    (services.state_is_retained, "prod/registry", dropping("AWS::SageMaker::ModelPackageGroup", "DeletionPolicy")),
    (buckets.buckets_are_private, "prod/storage", setting(BUCKET, "PublicAccessBlockConfiguration", HALF_PRIVATE)),
    (buckets.buckets_are_versioned, "prod/storage", setting(BUCKET, "VersioningConfiguration", None)),
    (buckets.buckets_end_unfinished_uploads, "prod/storage", setting(BUCKET, "LifecycleConfiguration", {"Rules": []})),
    (
        buckets.buckets_are_under_the_key_but_for_access_logs,
        "prod/storage",
        setting(BUCKET, "BucketEncryption", PLAIN_KEYS, "DataBucket"),
    ),
    (
        buckets.buckets_are_under_the_key_but_for_access_logs,
        "prod/storage",
        setting(BUCKET, "BucketEncryption", KMS_KEYS, "AccessLog"),
    ),
    *(
        (UNDER_ITS_KEY, "prod/storage", refusing_writes(bucket, f"{sid}Refused", None))
        for bucket in ("DataBucket", "ArtifactBucket")
        for sid in ("OtherEncryptionIs", "OtherKeysAre", "CustomersKeysAre", "UnnamedKeysAre")
    ),
    # Those who ask for nothing would be refused too.
    (UNDER_ITS_KEY, "prod/storage", refusing_writes("DataBucket", "OtherEncryptionIsRefused", {"Null": {}})),
    (UNDER_ITS_KEY, "prod/storage", refusing_writes("DataBucket", "OtherKeysAreRefused", {"Null": {}})),
    (UNDER_ITS_KEY, "prod/storage", removing("AWS::S3::BucketPolicy", "ArtifactBucket")),
    (buckets.buckets_log_their_accesses, "prod/storage", setting(BUCKET, "LoggingConfiguration", None, "DataBucket")),
    (buckets.buckets_and_topics_refuse_plain_http, "prod/storage", removing("AWS::S3::BucketPolicy")),
    (buckets.buckets_and_topics_refuse_plain_http, "prod/storage", removing("AWS::SNS::TopicPolicy")),
    (services.keys_rotate, "prod/storage", setting("AWS::KMS::Key", "EnableKeyRotation", False)),
    (services.topics_are_encrypted, "prod/storage", setting("AWS::SNS::Topic", "KmsMasterKeyId", None)),
    (
        services.images_are_immutable_and_scanned,
        "prod/registry",
        setting("AWS::ECR::Repository", "ImageTagMutability", "MUTABLE"),
    ),
    (
        services.images_are_immutable_and_scanned,
        "prod/registry",
        setting("AWS::ECR::Repository", "EmptyOnDelete", True),
    ),
    (
        services.images_are_immutable_and_scanned,
        "prod/registry",
        setting("AWS::ECR::Repository", "EncryptionConfiguration", {"EncryptionType": "KMS"}),
    ),
    (
        services.images_are_immutable_and_scanned,
        "prod/registry",
        setting("AWS::ECR::Repository", "EncryptionConfiguration", None),
    ),
    (
        services.images_are_immutable_and_scanned,
        "prod/registry",
        setting("AWS::ECR::Repository", "ImageScanningConfiguration", None),
    ),
    (DEPLOYMENT, "prod/storage", adding("Custom::S3AutoDeleteObjects")),
    (DEPLOYMENT, "prod/storage", adding("AWS::CloudFormation::CustomResource")),
    (DEPLOYMENT, "dev/training", setting("Custom::ImageBuild", "ServiceTimeout", None)),
    (DEPLOYMENT, "dev/training", allowing("ImageBuildStarterRole", Action="s3:GetObject")),
    (
        services.builds_and_functions_log_under_the_key_for_a_time,
        "dev/training",
        setting("AWS::Logs::LogGroup", "RetentionInDays", None),
    ),
    (
        services.builds_and_functions_log_under_the_key_for_a_time,
        "dev/training",
        setting("AWS::Logs::LogGroup", "KmsKeyId", None),
    ),
    (
        services.builds_and_functions_log_under_the_key_for_a_time,
        "dev/training",
        setting("AWS::Lambda::Function", "LoggingConfig", None),
    ),
    (
        services.builds_and_functions_log_under_the_key_for_a_time,
        "dev/training",
        setting("AWS::CodeBuild::Project", "LogsConfig", None),
    ),
    (
        services.queues_are_encrypted_and_refuse_plain_http,
        "local/training",
        setting("AWS::SQS::Queue", "KmsMasterKeyId", None),
    ),
    (services.queues_are_encrypted_and_refuse_plain_http, "local/training", removing("AWS::SQS::QueuePolicy")),
    (EVENTS, "local/training", setting("AWS::Lambda::Function", "DeadLetterConfig", None, "Triggers")),
    (EVENTS, "local/training", setting("AWS::Events::Rule", "Targets", [{"Arn": "a", "Id": "b"}])),
    (EVENTS, "local/training", adding("AWS::Scheduler::Schedule", Target={"Arn": "a"})),
    (rights.roles_serve_this_account_only, "dev/training", trusting(Condition={})),
    (
        rights.roles_serve_this_account_only,
        "dev/promotion",
        trusting(Principal={"AWS": "arn:aws:iam::999999999999:root"}),
    ),
    (FOREIGN, "dev/storage", opening("AWS::S3::BucketPolicy", "PolicyDocument", "222222222222")),
    (
        FOREIGN,
        "dev/storage",
        opening(
            "AWS::KMS::Key",
            "KeyPolicy",
            "222222222222",
            Condition={"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::222222222222:role/*"}},
        ),
    ),
    (
        FOREIGN,
        "dev/registry",
        opening(
            "AWS::ECR::Repository",
            "RepositoryPolicyText",
            "222222222222",
            Principal={"AWS": "arn:aws:iam::222222222222:role/amplify-staging-promotion"},
        ),
    ),
    (
        FOREIGN,
        "dev/registry",
        opening("AWS::SageMaker::ModelPackageGroup", "ModelPackageGroupPolicy", "222222222222"),
    ),
    (rights.roles_serve_this_account_only, "dev/training", trusting(Principal={"AWS": "*"})),
    (rights.roles_serve_this_account_only, "dev/training", trusting(Principal={"Service": "ec2.amazonaws.com"})),
    (rights.no_statement_allows_more_than_it_names, "dev/training", allowing(Action="s3:Get*")),
    (rights.no_statement_allows_more_than_it_names, "dev/training", allowing(Action="s3:GetObject", Resource="*")),
    (rights.no_statement_allows_more_than_it_names, "dev/training", allowing(Action="s3:GetObject", NotResource="a")),
    (rights.roles_are_passed_to_sagemaker_only, "dev/training", allowing(Action="iam:PassRole")),
    (rights.grants_on_the_key_are_for_aws_resources_only, "dev/training", allowing(Action=["kms:CreateGrant"])),
    (
        models.models_are_cut_off_from_the_network,
        "prod/endpoint",
        setting("AWS::SageMaker::Model", "EnableNetworkIsolation", False),
    ),
    (
        models.replaced_resources_have_generated_names,
        "prod/endpoint",
        setting(ENDPOINT_CONFIG, "EndpointConfigName", "amplify"),
    ),
    (
        models.endpoint_volumes_have_a_key_where_sagemaker_takes_one,
        "prod/endpoint",
        setting(ENDPOINT_CONFIG, "KmsKeyId", "k"),
    ),
    (
        models.endpoint_volumes_have_a_key_where_sagemaker_takes_one,
        "local/endpoint",
        setting(ENDPOINT_CONFIG, "KmsKeyId", None),
    ),
    (
        models.fleets_of_two_and_more_roll_back_by_alarm,
        "prod/endpoint",
        setting("AWS::SageMaker::Endpoint", "DeploymentConfig", None),
    ),
    (TRAINING_RULE, "dev/training", rewriting('"CheckpointConfig":', '"ResumeConfig":')),
    (TRAINING_RULE, "dev/training", rewriting('"EnableNetworkIsolation":true,"EnableI', '"EnableI')),
    (TRAINING_RULE, "local/training", rewriting('"EnableInterContainerTrafficEncryption":true', '"Encrypt":true')),
    (TRAINING_RULE, "local/training", rewriting('"MaxRuntimeInSeconds":3600', '"MaxPendingTimeInSeconds":3600')),
    (TRAINING_RULE, "local/training", rewriting('"KmsKeyId":', '"Key":')),
    (rights.roles_serve_this_account_only, "dev/endpoint", trusting(Principal={"Service": "ecs.amazonaws.com"})),
    (EVENTS, "dev/endpoint", removing("AWS::CloudWatch::Alarm", "HoursNotDone")),
    (
        models.models_are_cut_off_from_the_network,
        "modes/inference_components",
        setting(ENDPOINT_CONFIG, "EnableNetworkIsolation", None),
    ),
    (models.models_are_cut_off_from_the_network, "modes/serverless", in_variant("ServerlessConfig", None)),
    (
        models.endpoint_volumes_have_a_key_where_sagemaker_takes_one,
        "modes/serverless",
        setting(ENDPOINT_CONFIG, "KmsKeyId", "k"),
    ),
    (
        models.endpoint_volumes_have_a_key_where_sagemaker_takes_one,
        "modes/realtime",
        in_variant("InstanceType", "ml.m5.xlarge", "ShadowProductionVariants"),
    ),
    (models.what_people_send_is_kept_under_the_key, "modes/realtime", keeping_without_a_key("DataCaptureConfig")),
    (
        models.what_people_send_is_kept_under_the_key,
        "modes/async",
        keeping_without_a_key("AsyncInferenceConfig", "OutputConfig"),
    ),
    (models.gpu_fleets_name_their_machine_image, "modes/async", in_variant("InferenceAmiVersion", None)),
    (
        models.gpu_fleets_name_their_machine_image,
        "modes/realtime",
        in_variant("InferenceAmiVersion", None, "ShadowProductionVariants"),
    ),
    (
        models.gpu_fleets_name_their_machine_image,
        "local/endpoint",
        in_variant("InferenceAmiVersion", "al2023-ami-sagemaker-inference-gpu-4-1"),
    ),
    (
        models.deployments_leave_scaling_alone,
        "prod/endpoint",
        setting("AWS::SageMaker::Endpoint", "RetainAllVariantProperties", None),
    ),
    (
        models.deployments_leave_scaling_alone,
        "local/endpoint",
        setting("AWS::SageMaker::Endpoint", "RetainAllVariantProperties", True),
    ),
    (
        models.what_can_be_without_capacity_can_wake,
        "modes/async",
        setting("AWS::CloudWatch::Alarm", "AlarmActions", ["arn:x"], "ModelEndpointScaling"),
    ),
    (
        models.what_can_be_without_capacity_can_wake,
        "modes/inference_components",
        removing("AWS::ApplicationAutoScaling::ScalingPolicy", "ModelEndpointScalingWake"),
    ),
    (rights.only_the_invoke_policy_lets_anybody_ask, "prod/endpoint", allowing(Action="sagemaker:InvokeEndpoint")),
    (
        models.fleets_of_two_and_more_roll_back_by_alarm,
        "modes/inference_components",
        setting("AWS::SageMaker::InferenceComponent", "DeploymentConfig", None),
    ),
    (rights.users_of_a_role_wait_for_its_policy, "dev/endpoint", dropping("AWS::Scheduler::Schedule", "DependsOn")),
    (services.alarms_ring_somewhere, "prod/endpoint", setting("AWS::CloudWatch::Alarm", "AlarmActions", [])),
    (
        services.dashboards_and_alarms_name_no_other_environment,
        "prod/endpoint",
        setting("AWS::CloudWatch::Alarm", "Dimensions", [{"Name": "EndpointName", "Value": "amplify-dev"}]),
    ),
    (
        services.dashboards_and_alarms_name_no_other_environment,
        "watched-prod/monitoring",
        setting("AWS::CloudWatch::Alarm", "Namespace", "amplify/staging"),
    ),
    (EVENTS, "watched-prod/monitoring", setting("AWS::Scheduler::Schedule", "GroupName", "default")),
    (EVENTS, "watched-prod/monitoring", removing("AWS::CloudWatch::Alarm", "DriftNotStarted")),
    (rights.users_of_a_role_wait_for_its_policy, "prod/endpoint", dropping("AWS::SageMaker::Model", "DependsOn")),
    (rights.users_of_a_role_wait_for_its_policy, "prod/endpoint", dropping("AWS::SageMaker::Endpoint", "DependsOn")),
    (rights.users_of_a_role_wait_for_its_policy, "dev/training", dropping("AWS::SageMaker::Pipeline", "DependsOn")),
    (rights.users_of_a_role_wait_for_its_policy, "dev/training", dropping("AWS::Lambda::Function", "DependsOn")),
    (rights.users_of_a_role_wait_for_its_policy, "dev/training", dropping("Custom::ImageBuild", "DependsOn")),
    (networks.no_route_leads_to_the_internet, "prod/network", adding("AWS::EC2::InternetGateway")),
    (networks.no_route_leads_to_the_internet, "prod/network", adding("AWS::EC2::NatGateway")),
    (networks.no_route_leads_to_the_internet, "prod/network", adding("AWS::EC2::Route")),
    (networks.no_route_leads_to_the_internet, "prod/network", adding("AWS::EC2::VPCPeeringConnection")),
    (networks.no_route_leads_to_the_internet, "prod/network", setting("AWS::EC2::Subnet", "MapPublicIpOnLaunch", True)),
    (
        networks.security_groups_name_each_other_and_no_addresses,
        "prod/network",
        setting(INGRESS, "CidrIp", "0.0.0.0/0"),
    ),
    (networks.security_groups_name_each_other_and_no_addresses, "prod/network", setting(EGRESS, "CidrIpv6", "::/0")),
    (
        networks.security_groups_name_each_other_and_no_addresses,
        "prod/network",
        setting(GROUP, "SecurityGroupEgress", [{"IpProtocol": "tcp", "CidrIp": "10.0.0.0/8"}]),
    ),
    (networks.security_groups_are_never_born_open, "prod/network", setting(GROUP, "SecurityGroupEgress", None)),
    (networks.traffic_on_all_ports_stays_within_one_group, "prod/network", setting(INGRESS, "IpProtocol", "-1")),
    (networks.default_security_groups_are_closed, "prod/network", removing("Custom::VpcRestrictDefaultSG")),
    (networks.networks_keep_a_record_of_all_traffic_under_a_key, "prod/network", removing("AWS::EC2::FlowLog")),
    (
        networks.networks_keep_a_record_of_all_traffic_under_a_key,
        "prod/network",
        setting("AWS::EC2::FlowLog", "TrafficType", "REJECT"),
    ),
    (
        networks.networks_keep_a_record_of_all_traffic_under_a_key,
        "prod/network",
        setting("AWS::Logs::LogGroup", "KmsKeyId", None),
    ),
    (
        networks.networks_keep_a_record_of_all_traffic_under_a_key,
        "prod/network",
        setting("AWS::Logs::LogGroup", "RetentionInDays", None),
    ),
    (
        networks.endpoints_of_services_let_only_this_account_through,
        "prod/network",
        setting(VPC_ENDPOINT, "PolicyDocument", None, "Services"),
    ),
    (
        networks.endpoints_of_services_let_only_this_account_through,
        "prod/network",
        setting(VPC_ENDPOINT, "PolicyDocument", FULL_ACCESS, "Services"),
    ),
    (
        networks.endpoints_of_services_let_only_this_account_through,
        "prod/network",
        setting(VPC_ENDPOINT, "PolicyDocument", None, "PrivateVpc"),
    ),
    (
        networks.endpoints_of_services_let_only_this_account_through,
        "prod/network",
        setting(VPC_ENDPOINT, "PrivateDnsEnabled", False, "Services"),
    ),
    (
        networks.endpoints_of_services_let_only_this_account_through,
        "prod/network",
        setting(VPC_ENDPOINT, "SecurityGroupIds", [], "Services"),
    ),
    (
        networks.gateways_lead_to_named_buckets,
        "prod/network",
        setting(VPC_ENDPOINT, "PolicyDocument", FULL_ACCESS, "PrivateVpc"),
    ),
    (
        networks.network_interfaces_are_made_in_named_subnets_only,
        "private-dev/training",
        allowing(Action="ec2:CreateNetworkInterface", Resource="arn:aws:ec2:us-east-1:1:network-interface/*"),
    ),
    (
        networks.network_interfaces_are_made_in_named_subnets_only,
        "private-dev/training",
        allowing(Action=["ec2:DeleteNetworkInterface"], Resource="arn:aws:ec2:us-east-1:1:network-interface/*"),
    ),
    *((delivery.roles_of_workflows_trust_one_place_of_one_repository, "delivery/prod", how) for how in DISTRUST),
    (rights.roles_serve_this_account_only, "delivery/prod", trusting(Principal={"AWS": "*"})),
    (
        delivery.only_the_roles_of_workflows_and_deployers_assume_others,
        "delivery/prod",
        allowing("Prod", Action="sts:AssumeRole", Resource=CLOUDFORMATIONS),
    ),
    (
        delivery.only_the_roles_of_workflows_and_deployers_assume_others,
        "prod/endpoint",
        allowing(Action=["sts:AssumeRole", "s3:GetObject"], Resource="*"),
    ),
    (
        delivery.boundaries_are_nobodys_policies,
        "delivery/prod",
        setting("AWS::IAM::ManagedPolicy", "Roles", ["admins"], "Boundary"),
    ),
    (
        delivery.boundaries_are_nobodys_policies,
        "delivery/prod",
        setting("AWS::IAM::Role", "ManagedPolicyArns", [{"Ref": "DeploymentBoundary1E28BC6C"}]),
    ),
    (
        delivery.an_environment_bounds_all_its_roles_or_none,
        "bounded-dev/training",
        setting("AWS::IAM::Role", "PermissionsBoundary", None),
    ),
    (networks.zones_are_literal, "prod/network", setting("AWS::EC2::Subnet", "AvailabilityZone", "dummy1a")),
    (networks.zones_are_literal, "prod/network", setting("AWS::EC2::Subnet", "AvailabilityZone", {"Fn::GetAZs": ""})),
]


def name(value: object) -> str:
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, _, _ in CASES), ids=name)
def test_the_rule_holds_in_every_template(rule: Rule) -> None:
    assert {stack: faults for stack, template in all_templates().items() if (faults := list(rule(template)))} == {}


@pytest.mark.parametrize(("rule", "stack", "breakage"), CASES, ids=name)
def test_the_rule_notices_the_template_that_breaks_it(
    rule: Rule, stack: str, breakage: Callable[[Template], None]
) -> None:
    broken = copy.deepcopy(all_templates()[stack])
    breakage(broken)
    assert len(list(rule(broken))) >= 1


def test_every_rule_is_in_the_table() -> None:
    written = {
        rule
        for module in (buckets, delivery, models, networks, rights, services)
        for name, rule in vars(module).items()
        if callable(rule) and getattr(rule, "__module__", "") == module.__name__ and not name.startswith("_")
    }
    assert written == {rule for rule, _, _ in CASES}

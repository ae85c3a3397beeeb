"""Every rule holds in every template, and every rule notices the template that breaks it."""

import copy
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.stacks import rules, rules_of_buckets, rules_of_delivery
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


UNDER_ITS_KEY = rules_of_buckets.buckets_refuse_what_is_not_under_their_key_and_only_that
FOREIGN = rules.other_accounts_are_named_by_their_root_and_one_role
TRAINING_RULE = rules.training_jobs_are_isolated_encrypted_bounded_and_can_go_on
PLAIN_KEYS = {"ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
KMS_KEYS = {"ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]}
HALF_PRIVATE = {
    "BlockPublicAcls": True,
    "BlockPublicPolicy": False,
    "IgnorePublicAcls": True,
    "RestrictPublicBuckets": True,
}
DEPLOYMENT = rules.a_deployment_runs_no_code_of_ours_but_what_starts_the_image_build
EVENTS = rules.what_calls_a_function_keeps_the_events_that_it_fails_on
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
    github = {f"{rules_of_delivery.GITHUB}:{claim}": value for claim, value in said.items() if value}
    return trusting(Condition={"StringEquals": github})


DISTRUST = [
    trusting(Condition={}),
    trusting(Condition={"StringLike": {f"{rules_of_delivery.GITHUB}:sub": "repo:o/r:environment:prod"}}),
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
    (rules.state_is_retained, "prod/storage", dropping(BUCKET, "DeletionPolicy")),
    (rules.state_is_retained, "prod/storage", dropping("AWS::KMS::Key", "UpdateReplacePolicy")),
    (rules.state_is_retained, "prod/registry", dropping("AWS::ECR::Repository", "DeletionPolicy")),
    (rules.state_is_retained, "prod/registry", dropping("AWS::SageMaker::ModelPackageGroup", "DeletionPolicy")),
    (rules.buckets_are_private, "prod/storage", setting(BUCKET, "PublicAccessBlockConfiguration", HALF_PRIVATE)),
    (rules.buckets_are_versioned, "prod/storage", setting(BUCKET, "VersioningConfiguration", None)),
    (rules.buckets_end_unfinished_uploads, "prod/storage", setting(BUCKET, "LifecycleConfiguration", {"Rules": []})),
    (
        rules.buckets_are_under_the_key_but_for_access_logs,
        "prod/storage",
        setting(BUCKET, "BucketEncryption", PLAIN_KEYS, "DataBucket"),
    ),
    (
        rules.buckets_are_under_the_key_but_for_access_logs,
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
    (rules.buckets_log_their_accesses, "prod/storage", setting(BUCKET, "LoggingConfiguration", None, "DataBucket")),
    (rules.buckets_and_topics_refuse_plain_http, "prod/storage", removing("AWS::S3::BucketPolicy")),
    (rules.buckets_and_topics_refuse_plain_http, "prod/storage", removing("AWS::SNS::TopicPolicy")),
    (rules.keys_rotate, "prod/storage", setting("AWS::KMS::Key", "EnableKeyRotation", False)),
    (rules.topics_are_encrypted, "prod/storage", setting("AWS::SNS::Topic", "KmsMasterKeyId", None)),
    (
        rules.images_are_immutable_and_scanned,
        "prod/registry",
        setting("AWS::ECR::Repository", "ImageTagMutability", "MUTABLE"),
    ),
    (rules.images_are_immutable_and_scanned, "prod/registry", setting("AWS::ECR::Repository", "EmptyOnDelete", True)),
    (
        rules.images_are_immutable_and_scanned,
        "prod/registry",
        setting("AWS::ECR::Repository", "EncryptionConfiguration", {"EncryptionType": "KMS"}),
    ),
    (
        rules.images_are_immutable_and_scanned,
        "prod/registry",
        setting("AWS::ECR::Repository", "EncryptionConfiguration", None),
    ),
    (
        rules.images_are_immutable_and_scanned,
        "prod/registry",
        setting("AWS::ECR::Repository", "ImageScanningConfiguration", None),
    ),
    (DEPLOYMENT, "prod/storage", adding("Custom::S3AutoDeleteObjects")),
    (DEPLOYMENT, "prod/storage", adding("AWS::CloudFormation::CustomResource")),
    (DEPLOYMENT, "dev/training", setting("Custom::ImageBuild", "ServiceTimeout", None)),
    (DEPLOYMENT, "dev/training", allowing("ImageBuildStarterRole", Action="s3:GetObject")),
    (
        rules.builds_and_functions_log_under_the_key_for_a_time,
        "dev/training",
        setting("AWS::Logs::LogGroup", "RetentionInDays", None),
    ),
    (
        rules.builds_and_functions_log_under_the_key_for_a_time,
        "dev/training",
        setting("AWS::Logs::LogGroup", "KmsKeyId", None),
    ),
    (
        rules.builds_and_functions_log_under_the_key_for_a_time,
        "dev/training",
        setting("AWS::Lambda::Function", "LoggingConfig", None),
    ),
    (
        rules.builds_and_functions_log_under_the_key_for_a_time,
        "dev/training",
        setting("AWS::CodeBuild::Project", "LogsConfig", None),
    ),
    (
        rules.queues_are_encrypted_and_refuse_plain_http,
        "local/training",
        setting("AWS::SQS::Queue", "KmsMasterKeyId", None),
    ),
    (rules.queues_are_encrypted_and_refuse_plain_http, "local/training", removing("AWS::SQS::QueuePolicy")),
    (EVENTS, "local/training", setting("AWS::Lambda::Function", "DeadLetterConfig", None, "Triggers")),
    (EVENTS, "local/training", setting("AWS::Events::Rule", "Targets", [{"Arn": "a", "Id": "b"}])),
    (EVENTS, "local/training", adding("AWS::Scheduler::Schedule", Target={"Arn": "a"})),
    (rules.roles_serve_this_account_only, "dev/training", trusting(Condition={})),
    (
        rules.roles_serve_this_account_only,
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
    (rules.roles_serve_this_account_only, "dev/training", trusting(Principal={"AWS": "*"})),
    (rules.roles_serve_this_account_only, "dev/training", trusting(Principal={"Service": "ec2.amazonaws.com"})),
    (rules.no_statement_allows_more_than_it_names, "dev/training", allowing(Action="s3:Get*")),
    (rules.no_statement_allows_more_than_it_names, "dev/training", allowing(Action="s3:GetObject", Resource="*")),
    (rules.no_statement_allows_more_than_it_names, "dev/training", allowing(Action="s3:GetObject", NotResource="a")),
    (rules.roles_are_passed_to_sagemaker_only, "dev/training", allowing(Action="iam:PassRole")),
    (rules.grants_on_the_key_are_for_aws_resources_only, "dev/training", allowing(Action=["kms:CreateGrant"])),
    (
        rules.models_are_cut_off_from_the_network,
        "prod/endpoint",
        setting("AWS::SageMaker::Model", "EnableNetworkIsolation", False),
    ),
    (
        rules.replaced_resources_have_generated_names,
        "prod/endpoint",
        setting(ENDPOINT_CONFIG, "EndpointConfigName", "amplify"),
    ),
    (
        rules.endpoint_volumes_have_a_key_where_sagemaker_takes_one,
        "prod/endpoint",
        setting(ENDPOINT_CONFIG, "KmsKeyId", "k"),
    ),
    (
        rules.endpoint_volumes_have_a_key_where_sagemaker_takes_one,
        "local/endpoint",
        setting(ENDPOINT_CONFIG, "KmsKeyId", None),
    ),
    (
        rules.fleets_of_two_and_more_roll_back_by_alarm,
        "prod/endpoint",
        setting("AWS::SageMaker::Endpoint", "DeploymentConfig", None),
    ),
    (TRAINING_RULE, "dev/training", rewriting('"CheckpointConfig":', '"ResumeConfig":')),
    (TRAINING_RULE, "dev/training", rewriting('"EnableNetworkIsolation":true,"EnableI', '"EnableI')),
    (TRAINING_RULE, "local/training", rewriting('"EnableInterContainerTrafficEncryption":true', '"Encrypt":true')),
    (TRAINING_RULE, "local/training", rewriting('"MaxRuntimeInSeconds":3600', '"MaxPendingTimeInSeconds":3600')),
    (TRAINING_RULE, "local/training", rewriting('"KmsKeyId":', '"Key":')),
    (rules.roles_serve_this_account_only, "dev/endpoint", trusting(Principal={"Service": "ecs.amazonaws.com"})),
    (EVENTS, "dev/endpoint", removing("AWS::CloudWatch::Alarm", "HoursNotDone")),
    (
        rules.models_are_cut_off_from_the_network,
        "modes/inference_components",
        setting(ENDPOINT_CONFIG, "EnableNetworkIsolation", None),
    ),
    (rules.models_are_cut_off_from_the_network, "modes/serverless", in_variant("ServerlessConfig", None)),
    (
        rules.endpoint_volumes_have_a_key_where_sagemaker_takes_one,
        "modes/serverless",
        setting(ENDPOINT_CONFIG, "KmsKeyId", "k"),
    ),
    (
        rules.endpoint_volumes_have_a_key_where_sagemaker_takes_one,
        "modes/realtime",
        in_variant("InstanceType", "ml.m5.xlarge", "ShadowProductionVariants"),
    ),
    (rules.what_people_send_is_kept_under_the_key, "modes/realtime", keeping_without_a_key("DataCaptureConfig")),
    (
        rules.what_people_send_is_kept_under_the_key,
        "modes/async",
        keeping_without_a_key("AsyncInferenceConfig", "OutputConfig"),
    ),
    (rules.gpu_fleets_name_their_machine_image, "modes/async", in_variant("InferenceAmiVersion", None)),
    (
        rules.gpu_fleets_name_their_machine_image,
        "modes/realtime",
        in_variant("InferenceAmiVersion", None, "ShadowProductionVariants"),
    ),
    (
        rules.gpu_fleets_name_their_machine_image,
        "local/endpoint",
        in_variant("InferenceAmiVersion", "al2023-ami-sagemaker-inference-gpu-4-1"),
    ),
    (
        rules.deployments_leave_scaling_alone,
        "prod/endpoint",
        setting("AWS::SageMaker::Endpoint", "RetainAllVariantProperties", None),
    ),
    (
        rules.deployments_leave_scaling_alone,
        "local/endpoint",
        setting("AWS::SageMaker::Endpoint", "RetainAllVariantProperties", True),
    ),
    (
        rules.what_can_be_without_capacity_can_wake,
        "modes/async",
        setting("AWS::CloudWatch::Alarm", "AlarmActions", ["arn:x"], "ModelEndpointScaling"),
    ),
    (
        rules.what_can_be_without_capacity_can_wake,
        "modes/inference_components",
        removing("AWS::ApplicationAutoScaling::ScalingPolicy", "ModelEndpointScalingWake"),
    ),
    (rules.only_the_invoke_policy_lets_anybody_ask, "prod/endpoint", allowing(Action="sagemaker:InvokeEndpoint")),
    (
        rules.fleets_of_two_and_more_roll_back_by_alarm,
        "modes/inference_components",
        setting("AWS::SageMaker::InferenceComponent", "DeploymentConfig", None),
    ),
    (rules.users_of_a_role_wait_for_its_policy, "dev/endpoint", dropping("AWS::Scheduler::Schedule", "DependsOn")),
    (rules.alarms_ring_somewhere, "prod/endpoint", setting("AWS::CloudWatch::Alarm", "AlarmActions", [])),
    (
        rules.dashboards_and_alarms_name_no_other_environment,
        "prod/endpoint",
        setting("AWS::CloudWatch::Alarm", "Dimensions", [{"Name": "EndpointName", "Value": "amplify-dev"}]),
    ),
    (
        rules.dashboards_and_alarms_name_no_other_environment,
        "watched-prod/monitoring",
        setting("AWS::CloudWatch::Alarm", "Namespace", "amplify/staging"),
    ),
    (EVENTS, "watched-prod/monitoring", setting("AWS::Scheduler::Schedule", "GroupName", "default")),
    (EVENTS, "watched-prod/monitoring", removing("AWS::CloudWatch::Alarm", "DriftNotStarted")),
    (rules.users_of_a_role_wait_for_its_policy, "prod/endpoint", dropping("AWS::SageMaker::Model", "DependsOn")),
    (rules.users_of_a_role_wait_for_its_policy, "prod/endpoint", dropping("AWS::SageMaker::Endpoint", "DependsOn")),
    (rules.users_of_a_role_wait_for_its_policy, "dev/training", dropping("AWS::SageMaker::Pipeline", "DependsOn")),
    (rules.users_of_a_role_wait_for_its_policy, "dev/training", dropping("AWS::Lambda::Function", "DependsOn")),
    (rules.users_of_a_role_wait_for_its_policy, "dev/training", dropping("Custom::ImageBuild", "DependsOn")),
    (rules.no_route_leads_to_the_internet, "prod/network", adding("AWS::EC2::InternetGateway")),
    (rules.no_route_leads_to_the_internet, "prod/network", adding("AWS::EC2::NatGateway")),
    (rules.no_route_leads_to_the_internet, "prod/network", adding("AWS::EC2::Route")),
    (rules.no_route_leads_to_the_internet, "prod/network", adding("AWS::EC2::VPCPeeringConnection")),
    (rules.no_route_leads_to_the_internet, "prod/network", setting("AWS::EC2::Subnet", "MapPublicIpOnLaunch", True)),
    (rules.security_groups_name_each_other_and_no_addresses, "prod/network", setting(INGRESS, "CidrIp", "0.0.0.0/0")),
    (rules.security_groups_name_each_other_and_no_addresses, "prod/network", setting(EGRESS, "CidrIpv6", "::/0")),
    (
        rules.security_groups_name_each_other_and_no_addresses,
        "prod/network",
        setting(GROUP, "SecurityGroupEgress", [{"IpProtocol": "tcp", "CidrIp": "10.0.0.0/8"}]),
    ),
    (rules.security_groups_are_never_born_open, "prod/network", setting(GROUP, "SecurityGroupEgress", None)),
    (rules.traffic_on_all_ports_stays_within_one_group, "prod/network", setting(INGRESS, "IpProtocol", "-1")),
    (rules.default_security_groups_are_closed, "prod/network", removing("Custom::VpcRestrictDefaultSG")),
    (rules.networks_keep_a_record_of_all_traffic_under_a_key, "prod/network", removing("AWS::EC2::FlowLog")),
    (
        rules.networks_keep_a_record_of_all_traffic_under_a_key,
        "prod/network",
        setting("AWS::EC2::FlowLog", "TrafficType", "REJECT"),
    ),
    (
        rules.networks_keep_a_record_of_all_traffic_under_a_key,
        "prod/network",
        setting("AWS::Logs::LogGroup", "KmsKeyId", None),
    ),
    (
        rules.networks_keep_a_record_of_all_traffic_under_a_key,
        "prod/network",
        setting("AWS::Logs::LogGroup", "RetentionInDays", None),
    ),
    (
        rules.endpoints_of_services_let_only_this_account_through,
        "prod/network",
        setting(VPC_ENDPOINT, "PolicyDocument", None, "Services"),
    ),
    (
        rules.endpoints_of_services_let_only_this_account_through,
        "prod/network",
        setting(VPC_ENDPOINT, "PolicyDocument", FULL_ACCESS, "Services"),
    ),
    (
        rules.endpoints_of_services_let_only_this_account_through,
        "prod/network",
        setting(VPC_ENDPOINT, "PolicyDocument", None, "PrivateVpc"),
    ),
    (
        rules.endpoints_of_services_let_only_this_account_through,
        "prod/network",
        setting(VPC_ENDPOINT, "PrivateDnsEnabled", False, "Services"),
    ),
    (
        rules.endpoints_of_services_let_only_this_account_through,
        "prod/network",
        setting(VPC_ENDPOINT, "SecurityGroupIds", [], "Services"),
    ),
    (
        rules.gateways_lead_to_named_buckets,
        "prod/network",
        setting(VPC_ENDPOINT, "PolicyDocument", FULL_ACCESS, "PrivateVpc"),
    ),
    (
        rules.network_interfaces_are_made_in_named_subnets_only,
        "private-dev/training",
        allowing(Action="ec2:CreateNetworkInterface", Resource="arn:aws:ec2:us-east-1:1:network-interface/*"),
    ),
    (
        rules.network_interfaces_are_made_in_named_subnets_only,
        "private-dev/training",
        allowing(Action=["ec2:DeleteNetworkInterface"], Resource="arn:aws:ec2:us-east-1:1:network-interface/*"),
    ),
    *(
        (rules_of_delivery.roles_of_workflows_trust_one_place_of_one_repository, "delivery/prod", how)
        for how in DISTRUST
    ),
    (rules.roles_serve_this_account_only, "delivery/prod", trusting(Principal={"AWS": "*"})),
    (
        rules_of_delivery.only_the_roles_of_workflows_and_deployers_assume_others,
        "delivery/prod",
        allowing("Prod", Action="sts:AssumeRole", Resource=CLOUDFORMATIONS),
    ),
    (
        rules_of_delivery.only_the_roles_of_workflows_and_deployers_assume_others,
        "prod/endpoint",
        allowing(Action=["sts:AssumeRole", "s3:GetObject"], Resource="*"),
    ),
    (
        rules_of_delivery.boundaries_are_nobodys_policies,
        "delivery/prod",
        setting("AWS::IAM::ManagedPolicy", "Roles", ["admins"], "Boundary"),
    ),
    (
        rules_of_delivery.boundaries_are_nobodys_policies,
        "delivery/prod",
        setting("AWS::IAM::Role", "ManagedPolicyArns", [{"Ref": "DeploymentBoundary1E28BC6C"}]),
    ),
    (
        rules_of_delivery.an_environment_bounds_all_its_roles_or_none,
        "bounded-dev/training",
        setting("AWS::IAM::Role", "PermissionsBoundary", None),
    ),
    (rules.zones_are_literal, "prod/network", setting("AWS::EC2::Subnet", "AvailabilityZone", "dummy1a")),
    (rules.zones_are_literal, "prod/network", setting("AWS::EC2::Subnet", "AvailabilityZone", {"Fn::GetAZs": ""})),
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
        for module in (rules, rules_of_buckets, rules_of_delivery)
        for name, rule in vars(module).items()
        if callable(rule) and getattr(rule, "__module__", "") == module.__name__ and not name.startswith("_")
    }
    assert written - {rules.as_list, rules.allowing, rules.variants, rules.resource_policies} == {
        rule for rule, _, _ in CASES
    }

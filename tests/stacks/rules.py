"""What must hold in every template, as functions: template in, faults out (logical id and what is wrong)."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from stacks.instance_types import has_gpu, has_local_disk
from tests.stacks.iam import is_boundary
from tests.stacks.readable import plain
from tests.stacks.synthesis import Template, resources

INVOKE_POLICY = "InvokePolicy"  # the start of its logical id
STATE = ("AWS::S3::Bucket", "AWS::KMS::Key", "AWS::ECR::Repository", "AWS::SageMaker::ModelPackageGroup")
SERVICES = {
    *("sagemaker.amazonaws.com", "codebuild.amazonaws.com", "scheduler.amazonaws.com"),
    "vpc-flow-logs.amazonaws.com",
}
SERVICES_OF_ONE_ACCOUNT = {"lambda.amazonaws.com"}  # takes no role of another account, and says no SourceAccount
STARTS_THE_IMAGE_BUILD = {
    *("ecr:DescribeImages", "codebuild:ListBuildsForProject", "codebuild:BatchGetBuilds", "codebuild:StartBuild"),
    *("logs:CreateLogStream", "logs:PutLogEvents"),
}
WITHOUT_RESOURCE = {  # AWS defines these for * only
    *("ecr:GetAuthorizationToken", "cloudwatch:PutMetricData"),
    *("ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups"),
    *("ec2:DescribeSubnets", "ec2:DescribeVpcs", "sagemaker:ListModelPackages", "servicequotas:ListServiceQuotas"),
    # What only who looks for drift asks for.
    *(f"application-autoscaling:{one}" for one in ("DescribeScalableTargets", "DescribeScalingPolicies")),
    *(f"application-autoscaling:{one}" for one in ("DescribeScheduledActions", "ListTagsForResource")),
    *(f"ec2:Describe{one}" for one in ("FlowLogs", "NetworkAcls", "RouteTables", "SecurityGroupRules")),
    *(f"ec2:Describe{one}" for one in ("VpcAttribute", "VpcEncryptionControls", "VpcEndpoints")),
    *(f"logs:Describe{one}" for one in ("IndexPolicies", "LogGroups", "ResourcePolicies")),
    *("logs:GetDataProtectionPolicy", "logs:ListTagsForResource"),
    "cloudformation:DescribeStackDriftDetectionStatus",
}
OF_THE_CDK = "CustomVpcRestrictDefaultSG"  # the CDK's own function, which closes a VPC's default security group
WAYS_OUT = (  # and what makes a way out of a subnet or an address
    *("InternetGateway", "EgressOnlyInternetGateway", "NatGateway", "VPCGatewayAttachment", "EIP", "CarrierGateway"),
    *("TransitGatewayAttachment", "VPCPeeringConnection", "VPNGateway", "VPNConnection", "Route", "NetworkInterface"),
)
NOWHERE = "255.255.255.255/32"  # the CDK's rule that stands for none


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def allowing(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of an identity policy that allows something. A boundary's do not: see rules_of_delivery.py."""
    for type_ in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
        for id_, policy in resources(template, type_).items():
            if type_ == "AWS::IAM::ManagedPolicy" and is_boundary(id_):
                continue
            for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
                if statement["Effect"] == "Allow":
                    yield id_, statement


def variants(template: Template) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every variant, shadows too: (id of its configuration, the configuration's properties, the variant)."""
    for id_, config in resources(template, "AWS::SageMaker::EndpointConfig").items():
        for field in ("ProductionVariants", "ShadowProductionVariants"):
            for variant in config["Properties"].get(field, []):
                yield id_, config["Properties"], variant


def state_is_retained(template: Template) -> Iterable[str]:
    for type_ in STATE:
        for id_, resource in resources(template, type_).items():
            if not resource.get("DeletionPolicy") == resource.get("UpdateReplacePolicy") == "Retain":
                yield f"{id_} goes with its stack"


def buckets_are_private(template: Template) -> Iterable[str]:
    for id_, bucket in resources(template, "AWS::S3::Bucket").items():
        if set(bucket["Properties"].get("PublicAccessBlockConfiguration", {"": False}).values()) != {True}:
            yield f"{id_} does not block public access"


def buckets_are_versioned(template: Template) -> Iterable[str]:
    for id_, bucket in resources(template, "AWS::S3::Bucket").items():
        if bucket["Properties"].get("VersioningConfiguration") != {"Status": "Enabled"}:
            yield f"{id_} keeps no versions"


def buckets_end_unfinished_uploads(template: Template) -> Iterable[str]:
    for id_, bucket in resources(template, "AWS::S3::Bucket").items():
        rules = bucket["Properties"].get("LifecycleConfiguration", {}).get("Rules", [])
        if not any("AbortIncompleteMultipartUpload" in rule and rule["Status"] == "Enabled" for rule in rules):
            yield f"{id_} pays for unfinished uploads for ever"


def buckets_are_under_the_key_but_for_access_logs(template: Template) -> Iterable[str]:
    for id_, bucket in resources(template, "AWS::S3::Bucket").items():
        [rule] = bucket["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        wanted = "AES256" if id_.startswith("AccessLog") else "aws:kms"  # S3 delivers no logs under KMS
        if rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] != wanted:
            yield f"{id_} is not encrypted by {wanted}"


def buckets_log_their_accesses(template: Template) -> Iterable[str]:
    for id_, bucket in resources(template, "AWS::S3::Bucket").items():
        if not id_.startswith("AccessLog") and "LoggingConfiguration" not in bucket["Properties"]:
            yield f"{id_} logs no access"


def buckets_and_topics_refuse_plain_http(template: Template) -> Iterable[str]:
    closed = {
        json.dumps(target)
        for type_, field in (("AWS::S3::BucketPolicy", "Bucket"), ("AWS::SNS::TopicPolicy", "Topics"))
        for policy in resources(template, type_).values()
        for target in as_list(policy["Properties"][field])
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny"
        and statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport") == "false"
    }
    for type_ in ("AWS::S3::Bucket", "AWS::SNS::Topic"):
        for id_ in resources(template, type_):
            if json.dumps({"Ref": id_}) not in closed:
                yield f"{id_} answers over plain http"


def keys_rotate(template: Template) -> Iterable[str]:
    for id_, key in resources(template, "AWS::KMS::Key").items():
        if key["Properties"].get("EnableKeyRotation") is not True:
            yield f"{id_} never rotates"


def topics_are_encrypted(template: Template) -> Iterable[str]:
    for id_, topic in resources(template, "AWS::SNS::Topic").items():
        if "KmsMasterKeyId" not in topic["Properties"]:
            yield f"{id_} is not encrypted"


def images_are_immutable_and_scanned(template: Template) -> Iterable[str]:
    for id_, repository in resources(template, "AWS::ECR::Repository").items():
        properties = repository["Properties"]
        if properties.get("ImageTagMutability") != "IMMUTABLE":
            yield f"{id_} lets a tag move"
        if properties.get("ImageScanningConfiguration") != {"ScanOnPush": True}:
            yield f"{id_} does not scan"
        encryption = properties.get("EncryptionConfiguration") or {}
        if encryption.get("EncryptionType") != "KMS" or not encryption.get("KmsKey"):
            yield f"{id_} is not under the environment's key"
        if properties.get("EmptyOnDelete"):
            yield f"{id_} throws its images away"


def a_deployment_runs_no_code_of_ours_but_what_starts_the_image_build(template: Template) -> Iterable[str]:
    """And that can look whether the image is there, and start its build: nothing else."""
    for id_, resource in template["Resources"].items():
        if not resource["Type"].startswith(("Custom::", "AWS::CloudFormation::CustomResource")):
            continue
        if resource["Type"] == "Custom::VpcRestrictDefaultSG":  # the CDK's: see OF_THE_CDK
            continue
        if resource["Type"] != "Custom::ImageBuild":
            yield f"{id_} is a {resource['Type']}"
            continue
        if int(resource["Properties"].get("ServiceTimeout", 3600)) > 300:
            yield f"{id_} holds a deployment up for an hour where its function dies"
        [function, _] = resource["Properties"]["ServiceToken"]["Fn::GetAtt"]
        [role, _] = template["Resources"][function]["Properties"]["Role"]["Fn::GetAtt"]
        may = {
            action
            for policy in resources(template, "AWS::IAM::Policy").values()
            if {"Ref": role} in policy["Properties"]["Roles"]
            for statement in policy["Properties"]["PolicyDocument"]["Statement"]
            for action in as_list(statement["Action"])
        }
        if more := sorted(may - STARTS_THE_IMAGE_BUILD):
            yield f"{id_} may also {more}"


def builds_and_functions_log_under_the_key_for_a_time(template: Template) -> Iterable[str]:
    groups = resources(template, "AWS::Logs::LogGroup")
    for id_, group in groups.items():
        if not {"KmsKeyId", "RetentionInDays"} <= set(group["Properties"]):
            yield f"{id_} is not encrypted, or kept for ever"
    for id_, function in resources(template, "AWS::Lambda::Function").items():
        log = function["Properties"].get("LoggingConfig", {}).get("LogGroup", {}).get("Ref")
        if log not in groups and not id_.startswith(OF_THE_CDK):
            yield f"{id_} logs where nobody sees to it"
    for id_, project in resources(template, "AWS::CodeBuild::Project").items():
        logs = project["Properties"].get("LogsConfig", {}).get("CloudWatchLogs", {})
        if logs.get("GroupName", {}).get("Ref") not in groups:
            yield f"{id_} logs where nobody sees to it"


def queues_are_encrypted_and_refuse_plain_http(template: Template) -> Iterable[str]:
    closed = {
        json.dumps(queue)
        for policy in resources(template, "AWS::SQS::QueuePolicy").values()
        for queue in policy["Properties"]["Queues"]
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny"
        and statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport") == "false"
    }
    for id_, queue in resources(template, "AWS::SQS::Queue").items():
        if "KmsMasterKeyId" not in queue["Properties"]:
            yield f"{id_} is not encrypted"
        if json.dumps({"Ref": id_}) not in closed:
            yield f"{id_} answers over plain http"


def what_calls_a_function_keeps_the_events_that_it_fails_on(template: Template) -> Iterable[str]:
    """A function called by events; the one of a deployment answers who waits for it.

    An alarm may stand in for the queue of a schedule: a call that comes late is of no use there.
    """
    asked = json.dumps([r["Properties"] for r in template["Resources"].values() if r["Type"].startswith("Custom::")])
    for id_, function in resources(template, "AWS::Lambda::Function").items():
        if f'"{id_}"' not in asked and "DeadLetterConfig" not in function["Properties"]:
            yield f"{id_} forgets the events that it fails on"
    for id_, rule in resources(template, "AWS::Events::Rule").items():
        for target in rule["Properties"].get("Targets", []):
            if "DeadLetterConfig" not in target or "RetryPolicy" not in target:
                yield f"{id_} forgets the events that it cannot deliver"
    rung_for = [
        dimension["Value"]
        for alarm in resources(template, "AWS::CloudWatch::Alarm").values()
        for dimension in alarm["Properties"].get("Dimensions", [])
        if alarm["Properties"].get("MetricName") == "TargetErrorCount" and dimension["Name"] == "ScheduleGroup"
    ]
    for id_, schedule in resources(template, "AWS::Scheduler::Schedule").items():
        target, rings = schedule["Properties"]["Target"], schedule["Properties"].get("GroupName") in rung_for
        if "RetryPolicy" not in target or not (rings or "DeadLetterConfig" in target):
            yield f"{id_} forgets the calls that it cannot make"


def resource_policies(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of a policy on a resource."""
    for type_, field in (
        ("AWS::S3::BucketPolicy", "PolicyDocument"),
        ("AWS::KMS::Key", "KeyPolicy"),
        ("AWS::ECR::Repository", "RepositoryPolicyText"),
        ("AWS::SageMaker::ModelPackageGroup", "ModelPackageGroupPolicy"),
        ("AWS::SNS::TopicPolicy", "PolicyDocument"),
        ("AWS::SQS::QueuePolicy", "PolicyDocument"),
    ):
        for id_, resource in resources(template, type_).items():
            for statement in resource["Properties"].get(field, {}).get("Statement", []):
                yield id_, statement


def other_accounts_are_named_by_their_root_and_one_role(template: Template) -> Iterable[str]:
    """A role as the principal of a policy is refused by AWS while it does not exist: two empty accounts would wait for
    each other. And the root alone would be everybody there."""
    for id_, statement in resource_policies(template):
        principal = statement["Principal"]
        for one in as_list(principal.get("AWS", [])) if isinstance(principal, dict) else []:
            named = str(plain(one))
            if re.search(r":(role|user)/", named):
                yield f"{id_} names {named}: it could not be made before that is"
            # kms:* is how a key says that policies of its own account count.
            if (account := re.search(r":iam::(\d{12}):root$", named)) and statement["Action"] != "kms:*":
                allowed = str(plain(statement.get("Condition", {}).get("ArnEquals", {}).get("aws:PrincipalArn", "")))
                if not re.fullmatch(rf"arn:.+:iam::{account[1]}:role/amplify-[a-z0-9-]+-promotion", allowed):
                    yield f"{id_} lets everybody of account {account[1]} in"


def roles_serve_this_account_only(template: Template) -> Iterable[str]:
    for id_, role in resources(template, "AWS::IAM::Role").items():
        for statement in role["Properties"]["AssumeRolePolicyDocument"]["Statement"]:
            if re.fullmatch(r"arn:[^:]+:iam::\$\{AWS::AccountId\}:root", plain(statement["Principal"]).get("AWS", "")):
                continue  # whom a policy of this account lets
            service = statement["Principal"].get("Service")
            if set(statement["Principal"]) == {"Federated"}:
                continue  # the next rule
            if set(statement["Principal"]) != {"Service"} or service not in SERVICES | SERVICES_OF_ONE_ACCOUNT:
                yield f"{id_} can be assumed by {statement['Principal']}"
            named = "aws:SourceAccount" in statement.get("Condition", {}).get("StringEquals", {})
            if not named and service not in SERVICES_OF_ONE_ACCOUNT:
                yield f"{id_} can be assumed on behalf of another account"


def no_statement_allows_more_than_it_names(template: Template) -> Iterable[str]:
    for id_, statement in allowing(template):
        actions = set(as_list(statement["Action"]))
        if any("*" in action for action in actions):
            yield f"{id_} allows {sorted(actions)}"
        if "*" in as_list(statement["Resource"]) and not actions <= WITHOUT_RESOURCE:
            yield f"{id_} allows {sorted(actions)} on everything"
        if {"NotAction", "NotResource"} & set(statement):
            yield f"{id_} allows all but something"


def roles_are_passed_to_sagemaker_only(template: Template) -> Iterable[str]:
    for id_, statement in allowing(template):
        bound = statement.get("Condition", {}).get("StringEquals", {}).get("iam:PassedToService")
        if "iam:PassRole" in as_list(statement["Action"]) and bound != "sagemaker.amazonaws.com":
            yield f"{id_} passes a role to any service"


def grants_on_the_key_are_for_aws_resources_only(template: Template) -> Iterable[str]:
    for id_, statement in allowing(template):
        bound = statement.get("Condition", {}).get("Bool", {}).get("kms:GrantIsForAWSResource")
        if "kms:CreateGrant" in as_list(statement["Action"]) and bound != "true":
            yield f"{id_} may hand the key to anyone"


def training_jobs_are_isolated_encrypted_bounded_and_can_go_on(template: Template) -> Iterable[str]:
    for id_, pipeline in resources(template, "AWS::SageMaker::Pipeline").items():
        definition = plain(pipeline["Properties"]["PipelineDefinition"])["PipelineDefinitionBody"]
        for step in definition["Steps"]:
            if step["Type"] != "Training":
                continue
            job = step["Arguments"]
            for member in ("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption"):
                if job.get(member) is not True:
                    yield f"{step['Name']} of {id_} lacks {member}"
            if "MaxRuntimeInSeconds" not in job["StoppingCondition"]:
                yield f"{step['Name']} of {id_} may run for ever"
            if "KmsKeyId" not in job["OutputDataConfig"]:
                yield f"{step['Name']} of {id_} writes without the key"
            if "S3Uri" not in job.get("CheckpointConfig", {}):
                yield f"{step['Name']} of {id_} begins anew after each spot interruption"


def models_are_cut_off_from_the_network(template: Template) -> Iterable[str]:
    """But those that serverless variants run, which SageMaker cannot isolate."""
    serverless = {
        json.dumps(variant["ModelName"]) for _, _, variant in variants(template) if "ServerlessConfig" in variant
    }
    for id_, model in resources(template, "AWS::SageMaker::Model").items():
        isolated = model["Properties"].get("EnableNetworkIsolation") is True
        if not isolated and json.dumps({"Fn::GetAtt": [id_, "ModelName"]}) not in serverless:
            yield f"{id_} has a network"
    for id_, config, variant in variants(template):
        if "ModelName" not in variant and config.get("EnableNetworkIsolation") is not True:
            yield f"{id_} gives inference components a network"


def replaced_resources_have_generated_names(template: Template) -> Iterable[str]:
    for type_, field in (
        ("AWS::SageMaker::Model", "ModelName"),
        ("AWS::SageMaker::EndpointConfig", "EndpointConfigName"),
    ):
        for id_, resource in resources(template, type_).items():
            if field in resource["Properties"]:
                yield f"{id_} has a fixed name: its replacement collides with it"


def endpoint_volumes_have_a_key_where_sagemaker_takes_one(template: Template) -> Iterable[str]:
    for id_, config, variant in variants(template):
        has_no_volume = "ServerlessConfig" in variant or has_local_disk(variant["InstanceType"])
        if ("KmsKeyId" in config) == has_no_volume:
            yield f"{id_} has the wrong encryption for {variant.get('InstanceType', 'serverless')}"


def what_people_send_is_kept_under_the_key(template: Template) -> Iterable[str]:
    for id_, config in resources(template, "AWS::SageMaker::EndpointConfig").items():
        queue = config["Properties"].get("AsyncInferenceConfig", {}).get("OutputConfig")
        for kept in (config["Properties"].get("DataCaptureConfig"), queue):
            if kept is not None and "KmsKeyId" not in kept:
                yield f"{id_} keeps requests or answers under no key of ours"


def gpu_fleets_name_their_machine_image(template: Template) -> Iterable[str]:
    for id_, _, variant in variants(template):
        if "InstanceType" in variant and has_gpu(variant["InstanceType"]) != ("InferenceAmiVersion" in variant):
            yield f"{id_} has the wrong machine image for {variant['InstanceType']}"


def deployments_leave_scaling_alone(template: Template) -> Iterable[str]:
    scaled = {
        target["Properties"]["ResourceId"].split("/")[1]
        for target in resources(template, "AWS::ApplicationAutoScaling::ScalableTarget").values()
        if target["Properties"]["ResourceId"].startswith("endpoint/")
    }
    for id_, endpoint in resources(template, "AWS::SageMaker::Endpoint").items():
        if (endpoint["Properties"]["EndpointName"] in scaled) != bool(
            endpoint["Properties"].get("RetainAllVariantProperties")
        ):
            yield f"{id_} sets its fleet back to the first size with each release, or keeps a size that nothing changes"


def what_can_be_without_capacity_can_wake(template: Template) -> Iterable[str]:
    policies = resources(template, "AWS::ApplicationAutoScaling::ScalingPolicy")
    rung = {
        action["Ref"]
        for alarm in resources(template, "AWS::CloudWatch::Alarm").values()
        for action in alarm["Properties"]["AlarmActions"]
        if "Ref" in action
    }
    for id_, target in resources(template, "AWS::ApplicationAutoScaling::ScalableTarget").items():
        hours = target["Properties"].get("ScheduledActions", [])
        lows = [target["Properties"]["MinCapacity"], *(hour["ScalableTargetAction"]["MinCapacity"] for hour in hours)]
        wakes = {
            policy_id
            for policy_id, policy in policies.items()
            if policy["Properties"]["PolicyType"] == "StepScaling"
            and policy["Properties"]["ScalingTargetId"] == {"Ref": id_}
        }
        if min(lows) == 0 and not wakes & rung:
            yield f"{id_} goes to zero and nothing brings it back"


def only_the_invoke_policy_lets_anybody_ask(template: Template) -> Iterable[str]:
    for id_, statement in allowing(template):
        actions = as_list(statement["Action"])
        if any(action.startswith("sagemaker:Invoke") for action in actions) and not id_.startswith(INVOKE_POLICY):
            yield f"{id_} allows {actions}"


def fleets_of_two_and_more_roll_back_by_alarm(template: Template) -> Iterable[str]:
    """Of an inference component: the copies, by its own deployment configuration."""
    most = max((variant.get("InitialInstanceCount", 0) for _, _, variant in variants(template)), default=0)
    fleets = [(id_, resource, most) for id_, resource in resources(template, "AWS::SageMaker::Endpoint").items()] + [
        (id_, resource, resource["Properties"]["RuntimeConfig"]["CopyCount"])
        for id_, resource in resources(template, "AWS::SageMaker::InferenceComponent").items()
    ]
    for id_, resource, size in fleets:
        deployment = resource["Properties"].get("DeploymentConfig", {})
        if size >= 2 and not deployment.get("AutoRollbackConfiguration", {}).get("Alarms"):
            yield f"{id_} has {size} instances or copies, and no alarm takes a bad release back"


def dashboards_and_alarms_name_no_other_environment(template: Template) -> Iterable[str]:
    """What is watched is what the stack's own environment has: a copied name would watch somebody else's."""
    own = {
        tag["Value"]
        for resource in template["Resources"].values()
        for tag in as_list(resource.get("Properties", {}).get("Tags", []))
        if isinstance(tag, dict) and tag.get("Key") == "environment"
    }
    for type_ in ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard"):
        for id_, resource in resources(template, type_).items():
            named = set(re.findall(r"amplify[-/](local|dev|staging|prod)\b", json.dumps(resource["Properties"])))
            if named - own:
                yield f"{id_} watches {sorted(named - own)}"


def alarms_ring_somewhere(template: Template) -> Iterable[str]:
    for id_, alarm in resources(template, "AWS::CloudWatch::Alarm").items():
        if not alarm["Properties"].get("AlarmActions"):
            yield f"{id_} rings for nobody"


def users_of_a_role_wait_for_its_policy(template: Template) -> Iterable[str]:
    """The roles that a resource names, in its properties or through another resource of the stack that it names."""
    everything = template["Resources"]
    apart = ("AWS::IAM::Policy", "AWS::Lambda::Function")  # a function waits itself

    def named(id_: str, seen: set[str]) -> set[str]:
        text = json.dumps(everything[id_].get("Properties", {}))
        for other in everything:
            if other not in seen and f'"{other}"' in text and everything[other]["Type"] not in apart:
                seen |= {other} | named(other, seen | {other})
        return seen

    def waited_for(resource: dict[str, Any]) -> set[str]:
        direct = set(as_list(resource.get("DependsOn", [])))
        return direct.union(*(waited_for(everything[id_]) for id_ in direct))

    def policies_of(roles: set[str]) -> set[str]:
        found = resources(template, "AWS::IAM::Policy").items()
        return {id_ for id_, policy in found if roles & {role["Ref"] for role in policy["Properties"]["Roles"]}}

    for type_ in (
        *("AWS::SageMaker::Model", "AWS::SageMaker::Endpoint", "AWS::SageMaker::Pipeline"),
        "AWS::SageMaker::NotebookInstance",
        *("AWS::Lambda::Function", "AWS::Scheduler::Schedule", "Custom::ImageBuild"),
    ):
        for id_, resource in resources(template, type_).items():
            if missing := policies_of(named(id_, set())) - waited_for(resource):
                yield f"{id_} does not wait for {sorted(missing)}"


# ---- networks --------------------------------------------------------------------------------------------------------


def no_route_leads_to_the_internet(template: Template) -> Iterable[str]:
    for id_, resource in template["Resources"].items():
        if resource["Type"] in {f"AWS::EC2::{kind}" for kind in WAYS_OUT}:
            yield f"{id_} is a {resource['Type']}"
    for id_, subnet in resources(template, "AWS::EC2::Subnet").items():
        if subnet["Properties"].get("MapPublicIpOnLaunch") is not False:
            yield f"{id_} gives public addresses away"


def _rules_of_security_groups(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    for id_, group in resources(template, "AWS::EC2::SecurityGroup").items():
        for field in ("SecurityGroupIngress", "SecurityGroupEgress"):
            yield from ((id_, rule) for rule in group["Properties"].get(field, []))
    for type_ in ("AWS::EC2::SecurityGroupIngress", "AWS::EC2::SecurityGroupEgress"):
        yield from ((id_, rule["Properties"]) for id_, rule in resources(template, type_).items())


def security_groups_name_each_other_and_no_addresses(template: Template) -> Iterable[str]:
    for id_, rule in _rules_of_security_groups(template):
        for member in ("CidrIp", "CidrIpv6"):
            if rule.get(member, NOWHERE) != NOWHERE:
                yield f"{id_} is open to {rule[member]}"


def security_groups_are_never_born_open(template: Template) -> Iterable[str]:
    """A group without an egress rule of its own begins with one to everywhere."""
    for id_, group in resources(template, "AWS::EC2::SecurityGroup").items():
        if not group["Properties"].get("SecurityGroupEgress"):
            yield f"{id_} begins with a way out to everywhere"


def traffic_on_all_ports_stays_within_one_group(template: Template) -> Iterable[str]:
    for id_, rule in _rules_of_security_groups(template):
        others = [rule[end] for end in ("SourceSecurityGroupId", "DestinationSecurityGroupId") if end in rule]
        if rule["IpProtocol"] == "-1" and others != [rule.get("GroupId")]:
            yield f"{id_} opens every port to another"


def default_security_groups_are_closed(template: Template) -> Iterable[str]:
    closed = [
        resource["Properties"]["DefaultSecurityGroupId"]
        for resource in resources(template, "Custom::VpcRestrictDefaultSG").values()
    ]
    for id_ in resources(template, "AWS::EC2::VPC"):
        if {"Fn::GetAtt": [id_, "DefaultSecurityGroup"]} not in closed:
            yield f"{id_} lets everything of its default group talk"


def networks_keep_a_record_of_all_traffic_under_a_key(template: Template) -> Iterable[str]:
    kept = {
        log["Properties"]["ResourceId"]["Ref"]: log["Properties"]
        for log in resources(template, "AWS::EC2::FlowLog").values()
        if log["Properties"]["TrafficType"] == "ALL"
    }
    groups = resources(template, "AWS::Logs::LogGroup")
    for id_ in resources(template, "AWS::EC2::VPC"):
        if id_ not in kept:
            yield f"{id_} keeps no record of its traffic"
        elif not {"KmsKeyId", "RetentionInDays"} <= set(groups[kept[id_]["LogGroupName"]["Ref"]]["Properties"]):
            yield f"the record of {id_} has no key or no end"


def endpoints_of_services_let_only_this_account_through(template: Template) -> Iterable[str]:
    """Under a policy of their own; but for the layers of images, which ECR hands out under its own signature."""
    for id_, endpoint in resources(template, "AWS::EC2::VPCEndpoint").items():
        properties = endpoint["Properties"]
        if "PolicyDocument" not in properties:
            yield f"{id_} lets everything through"
            continue
        for statement in properties["PolicyDocument"]["Statement"]:
            account = statement.get("Condition", {}).get("StringEquals", {}).get("aws:PrincipalAccount")
            layers = statement["Action"] == "s3:GetObject" and "-starport-layer-bucket/" in str(statement["Resource"])
            if account is None and not layers:
                yield f"{id_} lets anybody's credentials through"
            if "*" in as_list(statement["Action"]):
                yield f"{id_} lets every action through"
        if properties["VpcEndpointType"] == "Interface":
            if properties.get("PrivateDnsEnabled") is not True:
                yield f"{id_} is not found under the service's usual name"
            if not properties.get("SecurityGroupIds"):
                yield f"{id_} is in the default security group"


def gateways_lead_to_named_buckets(template: Template) -> Iterable[str]:
    for id_, endpoint in resources(template, "AWS::EC2::VPCEndpoint").items():
        if endpoint["Properties"]["VpcEndpointType"] == "Gateway":
            for statement in endpoint["Properties"].get("PolicyDocument", {"Statement": []})["Statement"]:
                named = [str(resource) for resource in as_list(statement["Resource"])]
                if any(name == "*" or name.startswith("arn:aws:s3:::*") for name in named):
                    yield f"{id_} leads to any bucket"


def network_interfaces_are_made_in_named_subnets_only(template: Template) -> Iterable[str]:
    for id_, statement in allowing(template):
        actions, named = set(as_list(statement["Action"])), str(statement["Resource"])
        if "ec2:CreateNetworkInterface" in actions and not (":subnet/" in named and ":security-group/" in named):
            yield f"{id_} makes network interfaces anywhere"
        bound = statement.get("Condition", {}).get("ArnEquals", {})
        if (
            actions & {"ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface"}
            and "ec2:Subnet" not in bound
        ):
            yield f"{id_} changes network interfaces of other subnets"


def zones_are_literal(template: Template) -> Iterable[str]:
    if "Fn::GetAZs" in json.dumps(template):
        yield "zones are looked up by CloudFormation"
    for id_, subnet in resources(template, "AWS::EC2::Subnet").items():
        zone = subnet["Properties"].get("AvailabilityZone")
        if not isinstance(zone, str) or zone.startswith("dummy"):
            yield f"{id_} is in zone {zone}"

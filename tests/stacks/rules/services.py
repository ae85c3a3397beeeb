"""What must hold of keys, topics, queues, functions, builds, images and alarms, and of what remains of them."""

import json
import re
from collections.abc import Iterable

from tests.stacks.rules.reading import as_list
from tests.stacks.synthesis import Template, resources

STATE = ("AWS::S3::Bucket", "AWS::KMS::Key", "AWS::ECR::Repository", "AWS::SageMaker::ModelPackageGroup")
STARTS_THE_IMAGE_BUILD = {
    *("ecr:DescribeImages", "codebuild:ListBuildsForProject", "codebuild:BatchGetBuilds", "codebuild:StartBuild"),
    *("logs:CreateLogStream", "logs:PutLogEvents"),
}
OF_THE_CDK = "CustomVpcRestrictDefaultSG"  # the CDK's own function, which closes a VPC's default security group


def state_is_retained(template: Template) -> Iterable[str]:
    for type_ in STATE:
        for id_, resource in resources(template, type_).items():
            if not resource.get("DeletionPolicy") == resource.get("UpdateReplacePolicy") == "Retain":
                yield f"{id_} goes with its stack"


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

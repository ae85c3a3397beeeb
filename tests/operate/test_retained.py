"""What an earlier deployment left behind, looked for in a real local AWS: by CloudFormation's memory, and by names."""

import json
from pathlib import Path
from typing import Any

import pytest

from local_aws.processes import wait_until
from operate import retained
from operate.aws import Aws
from operate.retained import LeftBehind


def templates(aws: Aws) -> dict[str, dict[str, Any]]:
    """Two stacks like ours: a bucket that refers to another and to a key, and two things with a fixed name."""
    name = aws.environment.resource_name
    rule = {
        "ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": {"Fn::GetAtt": ["Key", "Arn"]}}
    }
    stays = {"DeletionPolicy": "Retain"}
    statement = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "kms:*"}
    return {
        "storage": {
            "Key": {
                "Type": "AWS::KMS::Key",
                "Properties": {"KeyPolicy": {"Statement": [{**statement, "Resource": "*"}]}},
                **stays,
            },
            "Logs": {"Type": "AWS::S3::Bucket", "Properties": {}, **stays},
            "Data": {
                "Type": "AWS::S3::Bucket",
                "Properties": {
                    "BucketEncryption": {"ServerSideEncryptionConfiguration": [rule]},
                    "LoggingConfiguration": {"DestinationBucketName": {"Ref": "Logs"}},
                },
                **stays,
            },
            "Topic": {"Type": "AWS::SNS::Topic", "Properties": {}},
        },
        "registry": {
            "Group": {
                "Type": "AWS::SageMaker::ModelPackageGroup",
                "Properties": {"ModelPackageGroupName": name},
                **stays,
            },
            "Repository": {"Type": "AWS::ECR::Repository", "Properties": {"RepositoryName": name}, **stays},
        },
    }


@pytest.fixture
def assembly(aws: Aws, tmp_path: Path) -> Path:
    """Both stacks as `cdk synth` lays them down; the registry reads an export of storage."""
    name = aws.environment.name
    folder = tmp_path / f"assembly-{name}"
    folder.mkdir()
    artifacts = {}
    for stack, resources in templates(aws).items():
        (folder / f"{stack}.template.json").write_text(json.dumps({"Resources": resources}))
        artifacts[f"id-{stack}"] = {
            "type": "aws:cloudformation:stack",
            "displayName": f"{name}/{stack}",
            "dependencies": ["id-assets"] if stack == "storage" else ["id-storage", "id-assets"],
            "properties": {"stackName": f"amplify-{name}-{stack}", "templateFile": f"{stack}.template.json"},
        }
    artifacts["id-assets"] = {"type": "cdk:asset-manifest"}
    (folder / "manifest.json").write_text(json.dumps({"artifacts": artifacts}))
    return tmp_path


def deploy(aws: Aws, stack: str) -> str:
    """Make one of the stacks; returns its status when it has one."""
    name, body = f"amplify-{aws.environment.name}-{stack}", json.dumps({"Resources": templates(aws)[stack]})
    aws.client("cloudformation").create_stack(StackName=name, TemplateBody=body)
    return settled(aws, name)


def settled(aws: Aws, name: str) -> str:
    def status() -> str:
        return str(aws.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])

    assert wait_until(lambda: not status().endswith("PROGRESS"), 30)
    return status()


def physical(aws: Aws, stack: str) -> dict[str, str]:
    found = aws.client("cloudformation").describe_stack_resources(StackName=f"amplify-{aws.environment.name}-{stack}")
    return {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in found["StackResources"]}


def destroy(aws: Aws, stack: str) -> None:
    name, cloudformation = f"amplify-{aws.environment.name}-{stack}", aws.client("cloudformation")
    id = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackId"]
    cloudformation.delete_stack(StackName=name)
    assert settled(aws, id) == "DELETE_COMPLETE"


def found(aws: Aws, assembly: Path) -> dict[str, LeftBehind]:
    return {left.stack.rpartition("-")[2]: left for left in retained.find(aws, assembly)}


def test_an_empty_account_and_a_deployed_environment_have_nothing_left_behind(aws: Aws, assembly: Path) -> None:
    assert found(aws, assembly) == {}
    assert {deploy(aws, stack) for stack in ("storage", "registry")} == {"CREATE_COMPLETE"}
    assert found(aws, assembly) == {}


def test_what_deletions_skipped_is_found_with_what_imports_it(aws: Aws, assembly: Path) -> None:
    deploy(aws, "storage")
    deploy(aws, "registry")
    storage, registry = physical(aws, "storage"), physical(aws, "registry")
    destroy(aws, "registry")
    destroy(aws, "storage")
    left, name = found(aws, assembly), aws.environment.name
    assert left["storage"] == LeftBehind(
        path=f"{name}/storage",
        stack=f"amplify-{name}-storage",
        resources={
            "Data": {"BucketName": storage["Data"]},
            "Key": {"KeyId": storage["Key"]},
            "Logs": {"BucketName": storage["Logs"]},
        },
        needs=(),
        alone=(),
        in_the_way=False,
    )
    assert left["registry"].resources == {
        "Group": {"ModelPackageGroupArn": registry["Group"]},
        "Repository": {"RepositoryName": registry["Repository"]},
    }
    assert left["registry"].needs == (f"{name}/storage",)


def test_what_refers_to_something_that_a_person_has_deleted_stays_alone(aws: Aws, assembly: Path) -> None:
    deploy(aws, "storage")
    storage = physical(aws, "storage")
    destroy(aws, "storage")
    aws.client("s3").delete_bucket(Bucket=storage["Logs"])
    left = found(aws, assembly)["storage"]
    assert left.resources == {"Key": {"KeyId": storage["Key"]}}
    assert left.alone == (storage["Data"],)


def test_a_key_that_is_about_to_be_deleted_is_not_taken_over(aws: Aws, assembly: Path) -> None:
    deploy(aws, "storage")
    storage = physical(aws, "storage")
    destroy(aws, "storage")
    aws.client("kms").schedule_key_deletion(KeyId=storage["Key"], PendingWindowInDays=7)
    left = found(aws, assembly)["storage"]
    assert left.resources == {"Logs": {"BucketName": storage["Logs"]}}
    assert left.alone == (storage["Data"],)


def test_fixed_names_are_found_where_no_stack_is_remembered(aws: Aws, assembly: Path) -> None:
    name = aws.environment.resource_name
    aws.client("ecr").create_repository(repositoryName=name)
    left = found(aws, assembly)
    assert left["registry"].resources == {"Repository": {"RepositoryName": name}}
    assert not left["registry"].in_the_way


def test_the_remains_of_a_creation_that_collided_are_in_the_way(aws: Aws, assembly: Path) -> None:
    name = aws.environment.resource_name
    aws.client("ecr").create_repository(repositoryName=name)
    assert deploy(aws, "registry") == "ROLLBACK_COMPLETE"
    left = found(aws, assembly)["registry"]
    assert left.in_the_way
    assert left.resources["Repository"] == {"RepositoryName": name}


def test_references_are_found_in_every_form_that_a_template_has() -> None:
    value = {
        "A": [{"Ref": "One"}, {"Fn::GetAtt": ["Two", "Arn"]}],
        "B": {"Fn::Sub": "${Three}-${Four.Arn}-${!Literal}"},
        "DependsOn": ["Five"],
    }
    assert retained._references(value) == {"One", "Two", "Three", "Four", "Five"}
    assert retained._references({"DependsOn": "Six"}) == {"Six"}

"""What was there before `kill -9` is there after it."""

import json
import threading
import time

import pytest

from local_aws import persistence, server
from local_aws.files import write_whole

RESOURCES = {
    "Key": {"Type": "AWS::KMS::Key", "Properties": {"KeyPolicy": {"Statement": []}}},
    "Bucket": {
        "Type": "AWS::S3::Bucket",
        "Properties": {
            "BucketName": "kept",
            "VersioningConfiguration": {"Status": "Enabled"},
            "BucketEncryption": {
                "ServerSideEncryptionConfiguration": [
                    {
                        "ServerSideEncryptionByDefault": {
                            "SSEAlgorithm": "aws:kms",
                            "KMSMasterKeyID": {"Fn::GetAtt": ["Key", "Arn"]},
                        }
                    }
                ]
            },
        },
    },
    "Role": {
        "Type": "AWS::IAM::Role",
        "Properties": {"RoleName": "kept", "AssumeRolePolicyDocument": {"Statement": []}},
    },
    "Repository": {"Type": "AWS::ECR::Repository", "Properties": {"RepositoryName": "kept"}},
    "Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "kept"}},
    "Parameter": {"Type": "AWS::SSM::Parameter", "Properties": {"Name": "/kept", "Type": "String", "Value": "1"}},
    "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/kept"}},
}
A_MOMENT = 2.0  # in which everything that was answered reaches the disk


def test_a_stack_and_all_it_made_survive_kill_9(own_folder, clients_of, kill_9, on_disk, deploy):
    running = server.start(own_folder)
    aws = clients_of(running)
    assert deploy(aws("cloudformation"), "stack", RESOURCES)["StackStatus"] == "CREATE_COMPLETE"
    aws("ecr").put_image(repositoryName="kept", imageManifest='{"schemaVersion": 2}', imageTag="1")
    versions = [aws("s3").put_object(Bucket="kept", Key="a/b", Body=body)["VersionId"] for body in (b"one", b"two")]
    on_disk(aws)
    kill_9(running)

    aws = clients_of(server.start(own_folder))
    assert deploy(aws("cloudformation"), "other", {"T": RESOURCES["Topic"] | {"Properties": {}}})
    found = aws("cloudformation").describe_stack_resources(StackName="stack")["StackResources"]
    assert {resource["LogicalResourceId"] for resource in found} == set(RESOURCES)
    assert aws("s3").get_object(Bucket="kept", Key="a/b")["Body"].read() == b"two"
    assert aws("s3").get_object(Bucket="kept", Key="a/b", VersionId=versions[0])["Body"].read() == b"one"
    assert aws("s3").head_object(Bucket="kept", Key="a/b")["ServerSideEncryption"] == "aws:kms"
    assert aws("ecr").list_images(repositoryName="kept")["imageIds"][0]["imageTag"] == "1"
    assert aws("iam").get_role(RoleName="kept")
    assert aws("sns").list_topics()["Topics"]
    assert aws("ssm").get_parameter(Name="/kept")["Parameter"]["Value"] == "1"
    assert [group["logGroupName"] for group in aws("logs").describe_log_groups()["logGroups"]] == ["/kept"]
    assert aws("kms").list_keys()["Keys"]


def test_what_was_deleted_stays_deleted_after_kill_9(own_folder, clients_of, kill_9, on_disk, deploy):
    running = server.start(own_folder)
    aws = clients_of(running)
    deploy(aws("cloudformation"), "stack", RESOURCES)
    aws("s3").put_object(Bucket="kept", Key="k", Body=b"x")
    on_disk(aws)
    for version in aws("s3").list_object_versions(Bucket="kept")["Versions"]:
        aws("s3").delete_object(Bucket="kept", Key="k", VersionId=version["VersionId"])
    aws("cloudformation").delete_stack(StackName="stack")
    aws("cloudformation").get_waiter("stack_delete_complete").wait(StackName="stack", WaiterConfig={"Delay": 1})
    on_disk(aws)
    kill_9(running)

    aws = clients_of(server.start(own_folder))
    assert aws("s3").list_buckets()["Buckets"] == []
    assert aws("iam").list_roles()["Roles"] == []
    assert aws("cloudformation").describe_stacks()["Stacks"] == []


def test_a_gentle_stop_loses_not_even_the_last_request(own_folder, clients_of):
    for value in ("1", "2", "3"):
        clients_of(server.start(own_folder))("ssm").put_parameter(
            Name="/last", Value=value, Type="String", Overwrite=True
        )
        server.stop(own_folder)
    found = clients_of(server.start(own_folder))("ssm").get_parameter(Name="/last")
    assert found["Parameter"]["Value"] == "3"


def test_kill_9_in_the_midst_of_writing_loses_nothing_that_was_older_than_a_moment(own_folder, clients_of, kill_9):
    running = server.start(own_folder)
    ssm = clients_of(running)("ssm")
    written: list[tuple[float, int]] = []

    def write():
        try:
            for number in range(10_000):
                ssm.put_parameter(Name=f"/p/{number}", Value="x" * 1000, Type="String")
                written.append((time.monotonic(), number))
        except Exception:
            return  # the server is gone

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(A_MOMENT + 2)
    kill_9(running)
    killed = time.monotonic()
    writer.join()
    expected = {f"/p/{number}" for at, number in written if at < killed - A_MOMENT}
    assert len(expected) > 10

    ssm = clients_of(server.start(own_folder))("ssm")
    pages = ssm.get_paginator("get_parameters_by_path").paginate(Path="/p/")
    assert expected <= {parameter["Name"] for page in pages for parameter in page["Parameters"]}


def test_a_file_that_cannot_be_written_keeps_its_old_content(tmp_path, monkeypatch):
    file = tmp_path / "table.json"
    write_whole(file, "old")

    def full_disk(_):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_whole(file, json.dumps({"new": True}))
    assert file.read_text() == "old"


@pytest.mark.parametrize("written", range(4))
def test_tables_that_belong_together_are_all_of_one_moment_wherever_their_writing_was_cut_off(
    tmp_path, monkeypatch, written
):
    names = ("cloudformation", "iam", "s3")
    old, new = ({name: json.dumps(f"{age} {name}") for name in names} for age in ("old", "new"))
    persistence._write_together(tmp_path, old)
    left = iter(range(written))

    def cut_off(file, content):
        if next(left, None) is None:
            raise KeyboardInterrupt
        write_whole(file, content)

    monkeypatch.setattr(persistence, "write_whole", cut_off)
    with pytest.raises(KeyboardInterrupt):
        persistence._write_together(tmp_path, new)
    monkeypatch.undo()
    persistence.complete(tmp_path)
    found = {name: (tmp_path / f"{name}.json").read_text() for name in names}
    assert found == (old if written == 0 else new)
    assert len(list(tmp_path.iterdir())) == len(names)


def test_a_copy_that_was_overtaken_on_its_way_to_the_disk_is_not_written_over_the_newer_one(tmp_path, monkeypatch):
    status = "CREATE_COMPLETE"
    monkeypatch.setattr(persistence, "state_of_services", lambda: {"cloudformation": lambda: {"status": status}})
    saver = persistence.Saver(tmp_path, None)
    overtaken = saver._copied()
    status = "DELETE_IN_PROGRESS"
    saver.save_now()
    saver._save(*overtaken)
    assert "DELETE_IN_PROGRESS" in (tmp_path / "cloudformation.json").read_text()

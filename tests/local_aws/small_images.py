"""Images and artefacts small enough to read: what tests deploy where the real model would only take time."""

import hashlib
import io
import tarfile
import uuid
import zipfile

from local_aws.processes import wait_until

ASSETS = "cdk-hnb659fds-assets-123456789012-us-east-1"
REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
ROLE = "arn:aws:iam::123456789012:role/any"


def push_image(aws, repository, launch):
    """An image whose launch.py is the text `launch`, built as a deployment has it built; returns its URI."""
    uri = upload_bundle(aws, repository, {"launch.py": launch})
    build = start_build(aws, make_project(aws, uri))
    assert ended(aws, build)["buildStatus"] == "SUCCEEDED", ended(aws, build)
    return uri


def upload_bundle(aws, repository, files):
    """Put a bundle of (name, text) pairs where `cdk deploy` would; returns the URI of the image it will be."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, text in files.items():
            bundle.writestr(name, text)
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    make_bucket(aws, ASSETS)
    aws("s3").put_object(Bucket=ASSETS, Key=f"{sha256}.zip", Body=buffer.getvalue())
    if repository not in {each["repositoryName"] for each in aws("ecr").describe_repositories()["repositories"]}:
        aws("ecr").create_repository(repositoryName=repository, imageTagMutability="IMMUTABLE")
    return f"{REGISTRY}/{repository}:cpu-{sha256}"


def variables(uri):
    """What the stacks' project says about an image."""
    tag = uri.rpartition(":")[2]
    sha256 = tag.partition("-")[2]
    bundle, records = f"s3://{ASSETS}/{sha256}.zip", f"s3://{ASSETS}/images/{tag}"
    return {"IMAGE": uri, "TARGET": "cpu", "BUNDLE": bundle, "BUNDLE_SHA256": sha256, "RECORDS": records}


def make_project(aws, uri, **changed):
    """A CodeBuild project for an image, with some of its variables `changed`; returns its name."""
    name = f"p{uuid.uuid4().hex[:8]}"
    given = [{"name": key, "value": value} for key, value in (variables(uri) | changed).items()]
    machine = {"type": "LINUX_CONTAINER", "image": "aws/codebuild/standard:7.0", "computeType": "BUILD_GENERAL1_SMALL"}
    aws("codebuild").create_project(
        name=name,
        source={"type": "NO_SOURCE", "buildspec": "version: 0.2"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment=machine | {"environmentVariables": given},
        serviceRole=ROLE,
    )
    return name


def start_build(aws, project):
    return aws("codebuild").start_build(projectName=project)["build"]["id"]


def ended(aws, build):
    """The build, once it has ended."""

    def found():
        [one] = aws("codebuild").batch_get_builds(ids=[build])["builds"]
        return one

    assert wait_until(lambda: found()["buildStatus"] != "IN_PROGRESS", 60)
    return found()


def make_bucket(aws, name):
    if name not in {bucket["Name"] for bucket in aws("s3").list_buckets()["Buckets"]}:
        aws("s3").create_bucket(Bucket=name)


def put_archive(aws, bucket, key, **files):
    """A tar.gz of (name, text) pairs in S3; returns its URI."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    make_bucket(aws, bucket)
    aws("s3").put_object(Bucket=bucket, Key=key, Body=buffer.getvalue())
    return f"s3://{bucket}/{key}"

"""Images and artefacts small enough to read: what tests deploy where the real model would only take time."""

import hashlib
import io
import tarfile
import zipfile

ASSETS = "cdk-hnb659fds-assets-123456789012-us-east-1"
REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
ROLE = "arn:aws:iam::123456789012:role/any"


def push_image(aws, repository, launch):
    """Put an image whose launch.py is the text `launch` where `cdk deploy` would; returns its URI."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        bundle.writestr("launch.py", launch)
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    make_bucket(aws, ASSETS)
    aws("s3").put_object(Bucket=ASSETS, Key=f"{sha256}.zip", Body=buffer.getvalue())
    if repository not in {each["repositoryName"] for each in aws("ecr").describe_repositories()["repositories"]}:
        aws("ecr").create_repository(repositoryName=repository)
    return f"{REGISTRY}/{repository}:cpu-{sha256}"


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

"""The image of the deployed code: whether it is built, waiting until it is, and what is known of it.

A deployment starts the build where the image is missing and does not wait for it. What a run needs is the image's
digest, so whoever starts one waits here.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from operate import deployment
from operate.aws import Aws
from operate.errors import OperateError

ENDED_BADLY = ("FAILED", "FAULT", "TIMED_OUT", "STOPPED")
POLL_S = 5.0
POLL_LOCAL_S = 0.1

Show = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Image:
    """The image that the deployed code needs."""

    uri: str
    """`<registry>/<repository>:<tag>`, built or not."""
    digest: str | None
    """`sha256:…`; None where it is not built."""

    @property
    def by_digest(self) -> str:
        """`<registry>/<repository>@sha256:…`, which is one image for good."""
        assert self.digest is not None, "ask for it once it is built"
        return f"{self.uri.rpartition(':')[0]}@{self.digest}"


def wait_until_built(aws: Aws, show: Show, *, again: bool = False) -> Image:
    """The image, once it is built. `show` is told how far its build is.

    Where no build goes on, one is started; after one that ended badly only with `again`: it would end as badly. Raises
    OperateError with the reason and the place of the log.
    """
    uri, project = (deployment.output(aws, "training", key) for key in ("ImageUri", "ImageBuildProjectName"))
    watched: str | None = None
    while True:
        build = _newest_build(aws, project, uri) if watched is None else _build(aws, watched)
        # Asked after the build: one that has succeeded has pushed its image.
        image = Image(uri=uri, digest=_digest(aws, uri))
        if image.digest is not None:
            return image
        status = build["buildStatus"] if build else None
        if watched is None and (status in (None, "SUCCEEDED") or (again and status in ENDED_BADLY)):
            build = _start(aws, project)
        elif build is None or status != "IN_PROGRESS":
            raise _failure(build or {}, image)
        watched = build["id"]
        show(f"building the image: {build['currentPhase'].lower().replace('_', ' ')}")
        time.sleep(POLL_LOCAL_S if aws.is_local else POLL_S)


def records(aws: Aws, image: Image) -> dict[str, Any]:
    """What was kept of the image: the number of packages in it, and its scan as `scan_of` gives it."""
    tag = image.uri.rpartition(":")[2]
    sbom = _record(aws, tag, "sbom.cdx.json")
    return {
        "image": image.by_digest,
        "records": f"s3://{deployment.output(aws, 'storage', 'ArtifactBucketName')}/images/{tag}/",
        "packages": None if sbom is None else len(sbom["components"]),
        **scan_of(aws, tag),
    }


def scan_of(aws: Aws, tag: str) -> dict[str, Any]:
    """What is kept of the scan of the image with this tag: `scan`, its status, and `findings`, how many by severity.
    Both are None where nothing is kept; findings alone, where the scan has none to tell."""
    kept = _record(aws, tag, "scan.json") or {}
    found = kept.get("imageScanFindings", {})
    complete = kept.get("imageScanStatus", {}).get("status") in ("COMPLETE", "ACTIVE")  # ACTIVE: Inspector goes on
    return {
        "scan": kept.get("imageScanStatus", {}).get("status"),
        "findings": found.get("findingSeverityCounts", {} if complete else None),
    }


def scan_text(kept: Mapping[str, Any]) -> str:
    """`2 CRITICAL, 5 HIGH`, worst first as ECR lists them; or plainly, that and why there is nothing to tell."""
    if kept["findings"]:
        return ", ".join(f"{count} {severity}" for severity, count in kept["findings"].items())
    if kept["findings"] is not None:
        return "none"
    if kept["scan"] is None:
        return "no scan of this image is kept"
    return f"unknown: its scan is {kept['scan']}; where Amazon Inspector scans, its findings are there"


def _record(aws: Aws, tag: str, name: str) -> Any:
    """A document that the build left beside the models; None where there is none."""
    bucket = deployment.output(aws, "storage", "ArtifactBucketName")
    try:
        return json.loads(aws.client("s3").get_object(Bucket=bucket, Key=f"images/{tag}/{name}")["Body"].read())
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchKey":
            return None
        raise


def _digest(aws: Aws, uri: str) -> str | None:
    repository, _, tag = uri.partition("/")[2].partition(":")
    ecr = aws.client("ecr")
    try:
        [found] = ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])["imageDetails"]
    except ecr.exceptions.ImageNotFoundException:
        return None
    return found["imageDigest"]


def _newest_build(aws: Aws, project: str, uri: str) -> Mapping[str, Any] | None:
    """The newest build of this image: a project's older builds are of older code."""
    codebuild = aws.client("codebuild")
    try:
        ids = codebuild.list_builds_for_project(projectName=project, sortOrder="DESCENDING")["ids"][:100]
    except codebuild.exceptions.ResourceNotFoundException:
        return None
    builds = codebuild.batch_get_builds(ids=ids)["builds"] if ids else []
    for build in sorted(builds, key=lambda one: ids.index(one["id"])):
        variables = {one["name"]: one["value"] for one in build["environment"].get("environmentVariables", [])}
        if variables.get("IMAGE") == uri:
            return build
    return None


def _build(aws: Aws, id_: str) -> Mapping[str, Any] | None:
    found = aws.client("codebuild").batch_get_builds(ids=[id_])["builds"]
    return found[0] if found else None


def _start(aws: Aws, project: str) -> Mapping[str, Any]:
    try:
        return aws.client("codebuild").start_build(projectName=project)["build"]
    except ClientError as error:
        raise OperateError(
            f"The image is not built, and its build cannot be started: {error.response['Error']['Message']}",
            todo="Builds are a deployer's to start: their `amplify image` builds it. A new account may have to ask for "
            "CodeBuild's quotas first.",
        ) from None


def _failure(build: Mapping[str, Any], image: Image) -> OperateError:
    reasons = [
        context["message"]
        for phase in build.get("phases", [])
        if phase.get("phaseStatus") not in (None, "SUCCEEDED")
        for context in phase.get("contexts", [])
        if context.get("message")
    ]
    logs = build.get("logs", {})
    where = logs.get("deepLink") or f"CloudWatch Logs, {logs.get('groupName')}, stream {logs.get('streamName')}"
    reason = "; ".join(dict.fromkeys(reasons)) or f"CodeBuild says {build.get('buildStatus', 'nothing')}"
    return OperateError(
        f"The image {image.uri} could not be built: {reason}",
        todo=f"Its log: {where}. Mend the cause, then `amplify image` builds it again.",
    )

"""From an endpoint back to the proteins: package, job, recipe, code, data manifest, FASTA files."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from operate import deployment
from operate.aws import Aws
from operate.errors import is_refusal
from operate.releases import BROKEN_ARCHIVE, Pin, file_in, split_uri

RUN = re.compile(r"runs/(?P<run>[^/]+)/model/(?P<job>[^/]+)/output/model\.tar\.gz")


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Of one endpoint, as far as it can be told; `unknown` says what could not, and why."""

    endpoint: str
    package: str
    facts: dict[str, str]
    fasta: tuple[dict[str, Any], ...] = ()
    unknown: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        return {
            "endpoint": self.endpoint,
            "package": self.package,
            **self.facts,
            "fasta": list(self.fasta),
            "unknown": list(self.unknown),
        }


def of_endpoint(aws: Aws, pin: Pin | None) -> Lineage:
    """What the endpoint of an environment serves, and where that comes from. `pin` is a release's, which may be it.

    Raises OperateError where nothing is served.
    """
    arn = deployment.served_package(aws)
    package = aws.client("sagemaker").describe_model_package(ModelPackageName=arn)
    about = package.get("CustomerMetadataProperties", {})
    [container] = package["InferenceSpecification"]["Containers"]
    unknown: list[str] = []
    origin = about.get("artifact_origin", container["ModelDataUrl"])
    facts = {"approval": package["ModelApprovalStatus"], "artifact": container["ModelDataUrl"]}
    facts["image"] = container["Image"]
    if came := about.get("promoted_from"):
        facts["promoted from"] = came
    if found := RUN.search(origin):
        facts["run"], facts["job"] = found["run"], found["job"]
    else:
        unknown.append(f"the job: {origin} is of no run")
    for name, key in (("recipe", "recipe"), ("data", "data"), ("starting weights", "init")):
        if value := about.get(key):
            facts[name] = value
    if pin is not None and pin["model_package_arn"] == arn:
        facts |= {"code bundle": pin["code_bundle"], "approved by": f"{pin['approved_by']}, {pin['approved_at']}"}
        if pin["code_commit"]:
            facts["code commit"] = pin["code_commit"]
        else:
            unknown.append("the code's commit: no commit makes this bundle")
    else:
        unknown.append("code and approval: no release pin of this package is at hand")
    manifest = _manifest(aws, container["ModelDataUrl"], unknown)
    if manifest is not None:
        facts["data manifest"] = hashlib.sha256(manifest).hexdigest()
        if pin is not None and pin["data_manifest_sha256"] not in (None, facts["data manifest"]):
            unknown.append(f"whether this is the manifest: the release names {pin['data_manifest_sha256']}")
    fasta = tuple(json.loads(manifest).get("inputs", [])) if manifest else ()
    endpoint = aws.environment.resource_name
    return Lineage(endpoint=endpoint, package=arn, facts=facts, fasta=fasta, unknown=tuple(unknown))


def _manifest(aws: Aws, s3_uri: str, unknown: list[str]) -> bytes | None:
    bucket, key = split_uri(s3_uri)
    try:
        found = file_in(aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"], "manifest.json")
    except BROKEN_ARCHIVE as error:
        unknown.append(f"the data: {s3_uri} is no model.tar.gz ({error})")
        return None
    except ClientError as error:
        if not (is_refusal(error) or error.response["Error"]["Code"] == "NoSuchKey"):
            raise
        unknown.append(f"the data: {s3_uri}: {error.response['Error']['Message']}")
        return None
    if found is None:
        unknown.append("the data: the artefact has no manifest.json; its weights were made elsewhere")
    return found

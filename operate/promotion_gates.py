"""What a release has to show before it is copied to the next environment: each gate a line, with its evidence.

All of it is read from the source's side as it is now: what the pin says was true when somebody approved it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from operate import golden
from operate.aws import Aws
from operate.errors import OperateError
from operate.ledger import LIVE, read_json, release_id
from operate.releases import HashedStream, Pin, split_uri
from stacks.config import Environment

ACCEPTABLE = ("evaluation", "scan", "drift")
"""Gates that a person may answer for, with a reason that the reviewer reads. All others are about which bytes these
are, and who approved them."""

SCANNED = ("COMPLETE", "ACTIVE")  # ACTIVE: Amazon Inspector goes on looking
UNSCANNABLE = "UNSUPPORTED_IMAGE"  # nothing that the scanner knows is in it


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One thing that has to hold, and what was found."""

    name: str
    passed: bool
    evidence: str
    accepted: str = ""
    """Why a person lets it pass all the same."""

    @property
    def open(self) -> bool:
        return self.passed or bool(self.accepted)

    @property
    def line(self) -> str:
        mark = "✓" if self.passed else "!" if self.accepted else "✗"
        return f"{mark} {self.name:<11} {self.evidence}" + (f" — accepted: {self.accepted}" if self.accepted else "")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a release comes from, as the target's promotion role sees it."""

    aws: Aws
    environment: Environment
    pin: Pin

    @property
    def bucket(self) -> str:
        return split_uri(self.pin["artifact"]["s3_uri"])[0]

    @property
    def s3(self) -> Any:
        return self.aws.client_in("s3", self.environment.region)

    @property
    def ecr(self) -> Any:
        return self.aws.client_in("ecr", self.environment.region)

    @property
    def repository(self) -> dict[str, str]:
        """As every call about its image names it."""
        return {"registryId": self.environment.account, "repositoryName": self.environment.resource_name}

    def read_json(self, key: str) -> dict[str, Any] | None:
        return read_json(self.s3.get_object, self.bucket, key)

    def package(self) -> dict[str, Any]:
        """Its registered package. Raises OperateError where it cannot be seen."""
        sagemaker = self.aws.client_in("sagemaker", self.environment.region)
        try:
            found: dict[str, Any] = sagemaker.describe_model_package(ModelPackageName=self.pin["model_package_arn"])
        except ClientError as error:
            raise OperateError(
                f"{self.pin['model_package_arn']} cannot be read: {error.response['Error']['Message']}",
                todo=f"Deploy {self.environment.name} first: its group's policy lets this account look.",
            ) from None
        return found


def all_gates(source: Source, before: Pin | None, margin: float, accepted: Mapping[str, str]) -> list[Gate]:
    """Every gate, those that fail too. `before` is the release that the target has now."""
    found = [
        _approved(source),
        _live(source),
        _smoke(source),
        _evaluation(source, before, margin),
        _age(source, before),
        _code(source),
        _image(source),
        _scan(source),
        _artifact(source),
        _drift(source),
    ]
    return [
        replace(gate, accepted=accepted[gate.name]) if not gate.passed and gate.name in accepted else gate
        for gate in found
    ]


def _approved(source: Source) -> Gate:
    package = source.package()
    status = package["ModelApprovalStatus"]
    version = source.pin["model_package_version"]
    by = f"{source.pin['approved_by']}, {source.pin['approved_at']}"
    evidence = f"{source.environment.name} version {version} is {status} ({by})"
    return Gate(name="approved", passed=status == "Approved", evidence=evidence)


def _live(source: Source) -> Gate:
    live = source.read_json(LIVE)
    here = source.environment.name
    if live is None:
        return Gate(name="live", passed=False, evidence=f"{here} has no live release: `amplify deploy --env {here}`")
    same = live.get("release") == release_id(source.pin)
    what = f"release {live.get('release')} is live in {here} since {live.get('at')}"
    return Gate(name="live", passed=same, evidence=what if same else f"{what}, not {release_id(source.pin)}")


def _smoke(source: Source) -> Gate:
    live, told = source.read_json(LIVE), source.read_json(golden.key_of(source.pin))
    if told is None or live is None:
        here = source.environment.name
        return Gate(name="smoke", passed=False, evidence=f"no golden answers of it: `amplify deploy --env {here}`")
    kept = golden.Golden.from_json(told)
    asked = live.get("smoke") if live.get("release") == release_id(source.pin) else ""
    good = bool(asked) and bool(kept.answers) and kept.is_of(source.pin) and golden.is_finite(list(kept.answers))
    evidence = f"{asked} ({live.get('at')})" if asked else f"{source.environment.name} was not asked about it"
    return Gate(name="smoke", passed=good, evidence=evidence)


def _evaluation(source: Source, before: Pin | None, margin: float) -> Gate:
    new = source.pin["evaluation"]
    said = f"loss {new['loss']:.4f} on {new['proteins']:,} held-out proteins"
    if before is None:
        return Gate(name="evaluation", passed=True, evidence=f"{said}; the first release there, compared with none")
    old = before["evaluation"]
    if not new.get("heldout_sha256") or new["heldout_sha256"] != old.get("heldout_sha256"):
        evidence = f"{said}; the release there was measured on other proteins (loss {old['loss']:.4f}): not comparable"
        return Gate(name="evaluation", passed=False, evidence=evidence)
    worse = new["loss"] - old["loss"]
    evidence = f"{said}, against {old['loss']:.4f}: {worse:+.4f}, margin {margin:g}"
    return Gate(name="evaluation", passed=worse <= margin, evidence=evidence)


def _age(source: Source, before: Pin | None) -> Gate:
    new = datetime.fromisoformat(source.pin["approved_at"])
    if before is None:
        return Gate(name="age", passed=True, evidence=f"approved {new.isoformat()}; nothing there yet")
    old = datetime.fromisoformat(before["approved_at"])
    words = "not older than" if new >= old else "OLDER than"
    evidence = f"approved {new.isoformat()}, {words} what is there ({old.isoformat()})"
    return Gate(name="age", passed=new >= old, evidence=evidence)


def _code(source: Source) -> Gate:
    commit, bundle = source.pin["code_commit"], source.pin["code_bundle"][:12]
    evidence = f"commit {commit[:12]} makes bundle {bundle}" if commit else f"bundle {bundle} is of no known commit"
    return Gate(name="code", passed=commit is not None, evidence=evidence)


def _image(source: Source) -> Gate:
    digest = source.pin["image_digest"]
    found = source.ecr.batch_get_image(**source.repository, imageIds=[{"imageDigest": digest}])["images"]
    if not found:
        return Gate(name="image", passed=False, evidence=f"{source.environment.resource_name} has no {digest}")
    now = f"sha256:{hashlib.sha256(found[0]['imageManifest'].encode()).hexdigest()}"
    evidence = f"ECR has {digest[:19]}…" if now == digest else f"the manifest's digest is {now}, not {digest}"
    return Gate(name="image", passed=now == digest, evidence=evidence)


def _scan(source: Source) -> Gate:
    status, counts = _scan_of(source)
    worst = counts.get("CRITICAL", 0)
    listed = ", ".join(f"{number} {severity}" for severity, number in counts.items()) or "no findings"
    if status in SCANNED:
        return Gate(name="scan", passed=not worst, evidence=f"scan {status}: {listed}")
    if status == UNSCANNABLE and not worst:
        return Gate(name="scan", passed=True, evidence=f"not measured: the registry says {status}")
    evidence = f"scan is {status or 'missing'} ({listed}): wait for it, or start it in ECR"
    return Gate(name="scan", passed=False, evidence=evidence)


def _scan_of(source: Source) -> tuple[str | None, Mapping[str, int]]:
    """Status and findings: the registry's own, else those that the build kept beside the models."""
    try:
        found = source.ecr.describe_image_scan_findings(
            **source.repository, imageId={"imageDigest": source.pin["image_digest"]}
        )
        return found["imageScanStatus"]["status"], found.get("imageScanFindings", {}).get("findingSeverityCounts", {})
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("ScanNotFoundException", "InvalidAction"):
            raise
    [image] = source.ecr.describe_images(**source.repository, imageIds=[{"imageDigest": source.pin["image_digest"]}])[
        "imageDetails"
    ]
    for tag in image.get("imageTags", []):
        if kept := source.read_json(f"images/{tag}/scan.json"):
            findings = kept.get("imageScanFindings", {}).get("findingSeverityCounts", {})
            return kept.get("imageScanStatus", {}).get("status"), findings
    return None, {}


def _artifact(source: Source) -> Gate:
    wanted = source.pin["artifact"]
    bucket, key = split_uri(wanted["s3_uri"])
    try:
        found = source.s3.get_object(Bucket=bucket, Key=key, VersionId=wanted["version_id"])
    except ClientError as error:
        return Gate(name="artifact", passed=False, evidence=f"{key}: {error.response['Error']['Message']}")
    now = HashedStream(found["Body"]).rest()
    size = f"{found['ContentLength']:,} bytes"
    same = now == wanted["sha256"]
    evidence = f"S3 has {size} of {now[:12]}…" + ("" if same else f", not {wanted['sha256'][:12]}…: TAMPERED WITH")
    return Gate(name="artifact", passed=same, evidence=evidence)


def _drift(source: Source) -> Gate:
    if source.environment.monitoring.drift is None:
        evidence = f"not measured: {source.environment.name} looks for none"
        return Gate(name="drift", passed=True, evidence=evidence)
    newest = max(_reports(source), default=None)
    told = source.read_json(newest) if newest else None
    if told is None:
        return Gate(name="drift", passed=False, evidence="no report of the drift job yet")
    measured = dict(_measures(told))
    limits = {name: getattr(source.environment.monitoring.drift, f"max_{name}", None) for name in measured}
    high = {name: one for name, one in measured.items() if (limit := limits[name]) is None or one > limit}
    evidence = f"{told.get('verdict')} ({told.get('to')})" + (f": {json.dumps(high)}" if high else "")
    if not measured:
        return Gate(name="drift", passed=False, evidence=f"nothing was measured: {evidence}")
    live = source.read_json(LIVE) or {}
    if not _is_later(told.get("to"), live.get("at")):
        older = f"the newest report ends before this release went live ({live.get('at')}): {evidence}"
        return Gate(name="drift", passed=False, evidence=older)
    return Gate(name="drift", passed=not high, evidence=evidence)


def _is_later(one: Any, other: Any) -> bool:
    try:
        return datetime.fromisoformat(str(one)) >= datetime.fromisoformat(str(other))
    except (ValueError, TypeError):
        return False


def _reports(source: Source) -> Iterator[str]:
    pages = source.s3.get_paginator("list_objects_v2").paginate(Bucket=source.bucket, Prefix="drift/")
    for page in pages:
        yield from (one["Key"] for one in page.get("Contents", []) if one["Key"].endswith(".json"))


def _measures(report: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """What a drift report is sure of: of each measure, the least that it can be."""
    for name, measured in report.get("measures", {}).items():
        yield name, float(measured["at_least"])

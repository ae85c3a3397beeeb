"""`amplify promote`: the release of one environment, copied into the account of the next, and its pin on a branch.

    gates ─ image ─ artefact ─ evaluation, golden answers ─ package ─ branch with a pull request's text

All of it is done in the target's promotion role, which may read there and write here. It never deploys; and whatever
broke off is gone on with by the same command: every part looks first whether it is done.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operate import deployment, golden, releases
from operate.aws import Aws
from operate.errors import OperateError
from operate.ledger import Ledger
from operate.promotion_branch import Repository, body_of, title_of
from operate.promotion_copy import Place, Say, copy_artifact, copy_image
from operate.promotion_gates import ACCEPTABLE, Gate, Source, all_gates
from operate.releases import Pin
from stacks.config import Environment
from stacks.release import faults_of


@dataclass(frozen=True, kw_only=True)
class Promoted:
    """What came of it."""

    pin: Pin
    branch: str
    title: str
    text: Path
    """The pull request's text."""


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """One promotion, of the source's pin as it is committed."""

    source: Environment
    target: Environment
    aws: Aws
    """The target's, in its promotion role."""
    releases: Path
    by: str
    accepted: Mapping[str, str]
    """Reasons for gates that a person answers for."""

    def run(self, say: Say, texts: Path) -> Promoted:
        """Raises OperateError where a gate is shut, somebody else promotes, or a copy is not what it should be."""
        repository = Repository.of(self.releases)
        pin, before = self._pins(repository)
        ledger = Ledger.of(self.aws)
        with ledger.claimed(f"version {pin['model_package_version']} of {self.source.name}", self.by) as claim:
            source = Source(aws=self.aws, environment=self.source, pin=pin)
            gates = self._gates(source, before, say)
            sha256, image = pin["artifact"]["sha256"], pin["image_digest"]
            if waiting := repository.waiting(self.target.name, sha256, image):
                raise OperateError(
                    f"Branch {waiting} promotes these very bytes already.",
                    todo="Review and merge it; or delete it, and promote again.",
                )
            promoted = self._copy(source, before, ledger, say)
            claim.check()
            title = title_of(promoted, self.source, self.target)
            branch = repository.branch(self.target.name, promoted, title)
            text = texts / f"{branch.replace('/', '-')}.md"
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text(
                body_of(promoted, before, gates, self.target, repository.review_of(branch)), encoding="utf-8"
            )
        return Promoted(pin=promoted, branch=branch, title=title, text=text)

    def _pins(self, repository: Repository) -> tuple[Pin, Pin | None]:
        pin, before = (releases.read(self.releases, one.name) for one in (self.source, self.target))
        if pin is None:
            raise OperateError(f"{self.source.name} has no release.", todo="`amplify approve` makes the first one.")
        for one, environment in ((pin, self.source), (before, self.target)):
            if one is not None and (faults := faults_of(one, environment)):
                raise OperateError(
                    f"releases/{environment.name}.json: {'; '.join(faults)}", todo="Restore it from git."
                )
            repository.check_committed(environment.name, one)
        if before is not None and _same_bytes(pin, before):
            raise OperateError(f"{self.target.name} has this release already.", todo="There is nothing to promote.")
        return pin, before

    def _gates(self, source: Source, before: Pin | None, say: Say) -> Sequence[Gate]:
        if strangers := sorted(set(self.accepted) - set(ACCEPTABLE)):
            raise OperateError(
                f"Nobody can answer for {', '.join(strangers)}.", todo=f"--accept is for {', '.join(ACCEPTABLE)}."
            )
        assert self.target.promotion is not None, "neighbours() says who comes from whom"
        gates = all_gates(source, before, self.target.promotion.loss_margin, self.accepted)
        for gate in gates:
            say(gate.line)
        if shut := [gate.name for gate in gates if not gate.open]:
            may = [name for name in shut if name in ACCEPTABLE]
            accept = f' A person may answer for {", ".join(may)}: --accept {may[0]}="why".' if may == shut else ""
            raise OperateError(
                f"Not promoted: {', '.join(shut)}. Nothing was copied.",
                todo=f"The lines above say what was found.{accept}",
            )
        return gates

    def _copy(self, source: Source, before: Pin | None, ledger: Ledger, say: Say) -> Pin:
        place = Place(
            s3=self.aws.client("s3"),
            ecr=self.aws.client("ecr"),
            bucket=deployment.output(self.aws, "storage", "ArtifactBucketName"),
            key_arn=deployment.output(self.aws, "storage", "KeyArn"),
            repository=self.target.resource_name,
        )
        copy_image(source, place, say)
        artifact = copy_artifact(source, place, say)
        key = golden.key_of(source.pin)
        answers = source.read_json(key)
        assert answers is not None, "the gate has read it"
        ledger.keep(key, answers)
        evaluation = f"releases/{artifact['sha256']}/evaluation.json"
        ledger.keep(evaluation, source.pin["evaluation"])
        package = self._register(source, place, artifact, f"s3://{place.bucket}/{evaluation}")
        say(f"registered as version {package['ModelPackageVersion']} of {self.target.resource_name}")
        promoted = source.pin | {
            "model_package_arn": package["ModelPackageArn"],
            "model_package_version": package["ModelPackageVersion"],
            "artifact": artifact,
            "predecessor": releases.predecessor(before),
            "promoted_from": {
                "environment": self.source.name,
                "model_package_arn": source.pin["model_package_arn"],
                "s3_uri": source.pin["artifact"]["s3_uri"],
                "version_id": source.pin["artifact"]["version_id"],
                "promoted_by": self.by,
                "promoted_at": releases.now(),
            },
        }
        if faults := faults_of(promoted, self.target):
            raise OperateError(f"The pin would not be one: {'; '.join(faults)}", todo="This is a bug: report it.")
        return promoted

    def _register(self, source: Source, place: Place, artifact: dict[str, str], evaluation: str) -> dict[str, Any]:
        """The package in the target's group: the one that an earlier attempt made, or a new one.

        Approved, as its source is: what is left to decide is the merge. Whoever sets it to Rejected before the
        deployment stops that.
        """
        sagemaker, group = self.aws.client("sagemaker"), self.target.resource_name
        origin = source.package()
        about = {"artifact_sha256": artifact["sha256"], "promoted_from": source.pin["model_package_arn"]}
        told = {"artifact_origin": source.pin["artifact"]["s3_uri"]} | origin.get("CustomerMetadataProperties", {})
        for one in releases.packages(self.aws, group):
            found = sagemaker.describe_model_package(ModelPackageName=one["ModelPackageArn"])
            kept = found.get("CustomerMetadataProperties", {})
            if about.items() <= kept.items():
                if found["ModelApprovalStatus"] != "Approved":
                    raise OperateError(
                        f"{found['ModelPackageArn']} has these bytes, and is {found['ModelApprovalStatus']} there.",
                        todo="Somebody decided against it. Only setting that package to Approved lets it in again.",
                    )
                return dict(found)
        [container] = origin["InferenceSpecification"]["Containers"]
        registry = f"{self.target.account}.dkr.ecr.{self.target.region}.amazonaws.com"
        image = f"{registry}/{place.repository}@{source.pin['image_digest']}"
        kept = {name: value for name, value in container.items() if name in KEPT_OF_A_CONTAINER}
        token = hashlib.sha256(json.dumps([about, artifact["version_id"]], sort_keys=True).encode()).hexdigest()[:32]
        made = sagemaker.create_model_package(
            ModelPackageGroupName=group,
            ModelPackageDescription=f"Promoted from {self.source.name}: {source.pin['model_package_arn']}",
            InferenceSpecification=origin["InferenceSpecification"]
            | {"Containers": [kept | {"Image": image, "ModelDataUrl": artifact["s3_uri"]}]},
            ModelMetrics={
                "ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": evaluation}},
            },
            CustomerMetadataProperties=told | about,
            ModelApprovalStatus="Approved",
            ClientToken=token,
        )
        return dict(sagemaker.describe_model_package(ModelPackageName=made["ModelPackageArn"]))


KEPT_OF_A_CONTAINER = ("ContainerHostname", "Environment", "Framework", "FrameworkVersion", "NearestModelName")


def _same_bytes(pin: Pin, other: Pin) -> bool:
    return (pin["artifact"]["sha256"], pin["image_digest"]) == (other["artifact"]["sha256"], other["image_digest"])

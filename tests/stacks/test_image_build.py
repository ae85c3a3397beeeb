"""The build of the image: what the project is told, and what its commands do, run by a real bash.

`docker` and `aws` are stand-ins that write down how they were called: neither a docker nor an account is here. All that
is between them (order, conditions, digests, what is kept) is the buildspec's own.
"""

import hashlib
import json
import os
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
import yaml

from environments import DEV
from stacks.config import SettingsError
from stacks.constructs.image_build import BUILDSPEC
from stacks.deep_learning_containers import ACCOUNTS, REPOSITORY, registry_account
from stacks.stage import AmplifyStage
from tests.stacks.readable import plain
from tests.stacks.synthesis import ROOT, new_app, only, templates

DIGEST = f"sha256:{'d' * 64}"
REGISTRY, BASES = "111111111111.dkr.ecr.us-east-1.amazonaws.com", "763104351884.dkr.ecr.us-east-1.amazonaws.com"

STAND_IN = """#!/bin/bash
echo "{name} $*" >> "$CALLS"
case "{name} $*" in
  "aws s3 cp"*"s3://assets/bundle.zip bundle.zip") cp "$REAL_BUNDLE" bundle.zip ;;
  "aws ecr get-login-password") echo secret ;;
  "docker login"*) cat > /dev/null ;;
  "docker pull"*) [ -e "$IN_REGISTRY" ] ;;
  "docker buildx build"*)
    [ -z "$BUILD_FAILS" ] || exit 1
    echo '{{}}' > provenance.json
    [ -z "$SOMEBODY_IS_FASTER" ] || touch "$IN_REGISTRY" ;;
  "docker push"*) [ ! -e "$IN_REGISTRY" ] && touch "$IN_REGISTRY" ;;
  "docker image inspect"*) echo "{registry}/amplify-dev@{digest}" ;;
  "docker run"*) echo '{{"components": []}}' ;;
  "aws ecr wait"*) [ -z "$NO_SCAN" ] ;;
  "aws ecr describe-image-scan-findings"*) [ -z "$NO_SCAN" ] && echo '{{"imageScanFindings": {{}}}}' ;;
  "aws s3 cp"*) cp "$4" "$KEPT/" ;;
esac
"""


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a build did."""

    failed_in: str | None
    calls: list[str]
    kept: dict[str, Any]

    def number_of(self, start: str) -> int:
        return sum(call.startswith(start) for call in self.calls)


@pytest.fixture
def build(tmp_path: Path) -> Any:
    """build(**variables) runs the phases as CodeBuild does: commands one by one in one shell, post_build always."""
    programs, kept = tmp_path / "programs", tmp_path / "kept"
    programs.mkdir()
    kept.mkdir()
    for name in ("aws", "docker"):
        program = programs / name
        program.write_text(STAND_IN.format(name=name, registry=REGISTRY, digest=DIGEST))
        program.chmod(0o755)
    bundle = tmp_path / "real.zip"
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("Dockerfile", "FROM scratch")
    sha256 = hashlib.sha256(bundle.read_bytes()).hexdigest()

    def run(**changed: str) -> Built:
        variables = {
            "IMAGE": f"{REGISTRY}/amplify-dev:gpu-{sha256}",
            "TARGET": "gpu",
            "BUNDLE": "s3://assets/bundle.zip",
            "BUNDLE_SHA256": sha256,
            "RECORDS": f"s3://artifacts/images/gpu-{sha256}",
            "BASE_REGISTRY": BASES,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "CALLS": str(tmp_path / "calls"),
            "REAL_BUNDLE": str(bundle),
            "IN_REGISTRY": str(tmp_path / "in-registry"),
            "KEPT": str(kept),
        } | changed
        work = Path(tempfile.mkdtemp(dir=tmp_path))
        done = subprocess.run(["bash", "-c", script()], cwd=work, env=variables, capture_output=True, text=True)
        failed = [line.removeprefix("FAILED ") for line in done.stdout.splitlines() if line.startswith("FAILED ")]
        return Built(
            failed_in=failed[0] if failed else None,
            calls=(tmp_path / "calls").read_text().splitlines(),
            kept={file.name: json.loads(file.read_text()) for file in kept.iterdir()},
        )

    return run


def script() -> str:
    """The phases in one shell; a phase ends at its first command that fails, and then only post_build begins."""
    lines = ["CODEBUILD_BUILD_SUCCEEDING=1"]
    for phase, content in yaml.safe_load(BUILDSPEC)["phases"].items():
        begins = "true" if phase == "post_build" else '[ "$CODEBUILD_BUILD_SUCCEEDING" = 1 ]'
        commands = [f"if [ $ok = 1 ]; then :\n{command}\n[ $? = 0 ] || ok=0; fi" for command in content["commands"]]
        end = f'[ $ok = 1 ] || {{ CODEBUILD_BUILD_SUCCEEDING=0; echo "FAILED {phase}"; }}'
        lines += [f"if {begins}; then ok=1", *commands, end, "fi"]
    return "\n".join(lines)


def test_a_missing_image_is_built_pushed_and_put_on_record(build: Any) -> None:
    done = build()
    assert done.failed_in is None
    [command] = [call for call in done.calls if call.startswith("docker buildx build")]
    assert f"--target gpu --build-arg GPU_REGISTRY={BASES}" in command
    assert "--provenance=false --sbom=false --output type=docker" in command  # all else SageMaker refuses
    assert done.number_of("docker push") == 1
    assert [call for call in done.calls if call.startswith("docker login")] == [
        f"docker login --username AWS --password-stdin {registry}" for registry in (REGISTRY, BASES)
    ]
    assert set(done.kept) == {"sbom.cdx.json", "scan.json", "provenance.json"}
    [inventory] = [call for call in done.calls if call.startswith("docker run")]
    assert inventory.endswith(f"inventory.py {DIGEST}")
    assert "--network none" in inventory
    [scan] = [call for call in done.calls if call.startswith("aws ecr describe-image-scan-findings")]
    assert scan.endswith(f"--repository-name amplify-dev --image-id imageDigest={DIGEST}")


def test_a_cpu_image_is_built_without_a_registry_of_bases(build: Any) -> None:
    done = build(TARGET="cpu", BASE_REGISTRY="")
    assert done.failed_in is None
    [command] = [call for call in done.calls if call.startswith("docker buildx build")]
    assert "GPU_REGISTRY" not in command
    assert done.number_of("docker login") == 1


def test_an_image_that_is_there_is_not_built_again_but_what_was_not_kept_of_it_is(build: Any) -> None:
    build()
    again = build()
    assert again.failed_in is None
    assert again.number_of("docker buildx build") == 1
    assert again.number_of("docker push") == 1
    assert again.number_of("docker run") == 2


def test_of_two_builds_at_once_the_slower_takes_the_image_of_the_faster(build: Any) -> None:
    done = build(SOMEBODY_IS_FASTER="yes")
    assert done.failed_in is None
    assert [call.split()[1] for call in done.calls if call.startswith(("docker pull", "docker push"))] == [
        *("pull", "push", "pull")
    ]


def test_a_bundle_with_another_digest_is_never_built(build: Any) -> None:
    done = build(BUNDLE_SHA256="0" * 64)
    assert done.failed_in == "pre_build"
    assert done.number_of("docker") == 0
    assert done.kept == {}


def test_a_build_that_fails_pushes_nothing_and_keeps_nothing(build: Any) -> None:
    done = build(BUILD_FAILS="yes")
    assert done.failed_in == "build"
    assert (done.number_of("docker push"), done.number_of("docker run"), done.kept) == (0, 0, {})


def test_without_a_scan_the_image_is_there_all_the_same_and_the_record_says_so(build: Any) -> None:
    done = build(NO_SCAN="yes")
    assert done.failed_in is None
    assert done.kept["scan.json"] == {"imageScanStatus": {"status": "UNAVAILABLE"}}


# ---- the project -----------------------------------------------------------------------------------------------------


def variables(stack: str) -> dict[str, str]:
    given = only(templates()[stack], "AWS::CodeBuild::Project")["Environment"]["EnvironmentVariables"]
    return {one["Name"]: plain(one["Value"]) for one in given}


def test_the_project_is_told_the_image_of_the_pipeline_and_the_bundle_that_its_tag_names() -> None:
    given = variables("dev/training")
    sha256 = given["BUNDLE_SHA256"]
    assert given["IMAGE"] == plain(templates()["dev/training"]["Outputs"]["ImageUri"]["Value"])
    assert given["IMAGE"].endswith(f"/amplify-dev:gpu-{sha256}")
    assert given["BUNDLE"].endswith(f"/{sha256}.zip")
    assert given["RECORDS"].endswith(f"/images/gpu-{sha256}")
    assert given["BASE_REGISTRY"] == "763104351884.dkr.ecr.us-east-1.${AWS::URLSuffix}"
    assert "BASE_REGISTRY" not in variables("local/training")


def test_the_base_of_the_gpu_image_is_the_one_that_its_role_may_pull() -> None:
    dockerfile = (ROOT / "model_code" / "Dockerfile").read_text()
    assert f"ARG GPU_BASE=${{GPU_REGISTRY}}/{REPOSITORY}:2.13-cu133-amzn2023-sagemaker" in dockerfile
    assert "ARG GPU_REGISTRY=" in dockerfile


def test_every_region_has_the_account_that_aws_names() -> None:
    assert all(len(account) == 12 and account.isdigit() for account in ACCOUNTS.values())
    assert {region: registry_account(region) for region in ("eu-central-1", "eu-central-2", "il-central-1")} == {
        "eu-central-1": "763104351884",
        "eu-central-2": "380420809688",
        "il-central-1": "780543022126",
    }


def test_where_the_cdk_knows_the_account_too_it_is_the_same() -> None:
    fact = cdk.region_info.FactName.DLC_REPOSITORY_ACCOUNT
    known = {region: cdk.region_info.Fact.find(region, fact) for region in ACCOUNTS}
    assert {region: account for region, account in known.items() if account not in (None, ACCOUNTS[region])} == {}


def test_a_region_of_another_partition_is_refused_at_synthesis(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="region is 'us-iso-east-1', of a partition in which"):
        AmplifyStage(
            new_app(tmp_path),
            replace(DEV, region="us-iso-east-1", monthly_ceiling_usd=None),
            release=None,
            model_code=ROOT / "model_code",
            lambda_code=ROOT / "lambda_code",
        )

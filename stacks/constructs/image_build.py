"""The image of the jobs and endpoints, built in the account from the code bundle: nobody needs docker.

The tag is the bundle's digest, known before anything is built; a build runs where the repository has no such tag. The
deployment starts it and does not wait; `amplify train` waits. Beside the image, below images/<tag>/ of the artifact
bucket, stays what it is made of (sbom.cdx.json), what ECR's scanner says of it (scan.json) and, from the build that
made it, from which bases (provenance.json).
"""

import aws_cdk as cdk
from aws_cdk import aws_codebuild as codebuild
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from stacks.config import ImageTarget
from stacks.constructs.code_bundle import CodeBundle
from stacks.constructs.service_role import CODEBUILD, ServiceRole
from stacks.constructs.small_function import SmallFunction, private_log
from stacks.deep_learning_containers import REPOSITORY as DEEP_LEARNING_CONTAINERS
from stacks.deep_learning_containers import registry_account

MACHINE = "aws/codebuild/amazonlinux-x86_64-standard:5.0"
MACHINE_SIZE = "BUILD_GENERAL1_MEDIUM"  # 128 GB of disk: the GPU base takes 20 unpacked, twice while it is built upon

BUILDSPEC = """\
version: 0.2
env:
  shell: bash
phases:
  pre_build:
    commands:
      - aws s3 cp --only-show-errors "$BUNDLE" bundle.zip
      - echo "$BUNDLE_SHA256  bundle.zip" | sha256sum --check
      - unzip -q bundle.zip -d code
      - |
        for registry in "${IMAGE%%/*}" $BASE_REGISTRY; do
          aws ecr get-login-password | docker login --username AWS --password-stdin "$registry" || exit 1
        done
  build:
    commands:
      # A tag never moves. Where there is one, it is the image, whoever built it; also if that was during this build.
      # Neither attestations nor OCI's media types: SageMaker refuses an image that has them.
      - |
        docker pull --quiet "$IMAGE" || {
          docker buildx build --target "$TARGET" ${BASE_REGISTRY:+--build-arg GPU_REGISTRY="$BASE_REGISTRY"} \\
            --provenance=false --sbom=false --output type=docker --metadata-file provenance.json \\
            --tag "$IMAGE" code &&
          { docker push --quiet "$IMAGE" || docker pull --quiet "$IMAGE"; }
        }
  post_build:
    commands:
      - test "$CODEBUILD_BUILD_SUCCEEDING" = 1
      - by_digest="$(docker image inspect --format '{{index .RepoDigests 0}}' "$IMAGE")"
      - digest="${by_digest#*@}" named="${IMAGE#*/}" repository="${named%%:*}"
      - docker run --rm --network none --entrypoint python "$IMAGE" inventory.py "$digest" > sbom.cdx.json
      - aws ecr wait image-scan-complete --repository-name "$repository" --image-id "imageDigest=$digest" || true
      - |
        aws ecr describe-image-scan-findings --repository-name "$repository" --image-id "imageDigest=$digest" \\
          > scan.json || echo '{"imageScanStatus": {"status": "UNAVAILABLE"}}' > scan.json
      - |
        for record in sbom.cdx.json scan.json provenance.json; do
          if [ -f "$record" ]; then aws s3 cp --only-show-errors "$record" "$RECORDS/$record" || exit 1; fi
        done
"""


class ImageBuild(Construct):
    """A CodeBuild project for one image, and the custom resource by which a deployment starts it.

    It reads the one bundle and AWS's base images, pushes to the one repository, and writes below images/<tag>/.
    Privileged, as docker's daemon must be; the machine is thrown away after each build.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        bundle: CodeBundle,
        target: ImageTarget,
        image_uri: str,
        repository: ecr.IRepository,
        artifact_bucket: s3.IBucket,
        key: kms.IKey,
        functions: CodeBundle,
    ) -> None:
        super().__init__(scope, id)
        records = f"images/{bundle.image_tag(target)}"
        log = private_log(self, "Log", key=key)

        role = ServiceRole(self, "Role", description="Builds the image from the code bundle", service=CODEBUILD)
        role.do("s3:GetObject", on=bundle.bucket.arn_for_objects(bundle.key))
        role.pull(repository)
        role.do(
            *("ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload", "ecr:PutImage"),
            "ecr:DescribeImageScanFindings",
            on=repository.repository_arn,
        )
        role.write(artifact_bucket, f"{records}/")
        role.use_key(key, writes=True, volumes=False)
        role.log_to(log)

        variables = {
            "IMAGE": image_uri,
            "TARGET": target,
            "BUNDLE": bundle.s3_uri,
            "BUNDLE_SHA256": bundle.sha256,
            "RECORDS": f"s3://{artifact_bucket.bucket_name}/{records}",
        }
        if target == "gpu":
            account = registry_account(cdk.Stack.of(self).region)
            region, partition = cdk.Stack.of(self).region, cdk.Stack.of(self).partition
            bases = f"arn:{partition}:ecr:{region}:{account}:repository/{DEEP_LEARNING_CONTAINERS}"
            role.pull(ecr.Repository.from_repository_arn(self, "DeepLearningContainers", bases))
            variables["BASE_REGISTRY"] = f"{account}.dkr.ecr.{region}.{cdk.Aws.URL_SUFFIX}"

        project = codebuild.CfnProject(
            self,
            "Project",
            description="Builds the image of jobs and endpoints from the code bundle",
            service_role=role.role_arn,
            encryption_key=key.key_arn,
            artifacts=codebuild.CfnProject.ArtifactsProperty(type="NO_ARTIFACTS"),
            source=codebuild.CfnProject.SourceProperty(type="NO_SOURCE", build_spec=BUILDSPEC),
            environment=codebuild.CfnProject.EnvironmentProperty(
                type="LINUX_CONTAINER",
                image=MACHINE,
                compute_type=MACHINE_SIZE,
                privileged_mode=True,
                environment_variables=[
                    codebuild.CfnProject.EnvironmentVariableProperty(name=name, value=value)
                    for name, value in variables.items()
                ],
            ),
            logs_config=codebuild.CfnProject.LogsConfigProperty(
                cloud_watch_logs=codebuild.CfnProject.CloudWatchLogsConfigProperty(
                    status="ENABLED", group_name=log.log_group_name
                )
            ),
            timeout_in_minutes=60,
            queued_timeout_in_minutes=60,
        )
        self.project_name = project.ref
        self.project_arn = project.attr_arn
        self.outcome = self._started_by_the_deployment(project, role, repository, image_uri, functions, key)

    def _started_by_the_deployment(
        self,
        project: codebuild.CfnProject,
        build_role: ServiceRole,
        repository: ecr.IRepository,
        image_uri: str,
        functions: CodeBundle,
        key: kms.IKey,
    ) -> str:
        """What the deployment did about the image, in words."""
        starter = SmallFunction(
            self,
            "Starter",
            code=functions,
            file="start_image_build",
            description="Starts the build of the image, where the repository has not got it",
            environment={},
            key=key,
        )
        starter.role.do("ecr:DescribeImages", on=repository.repository_arn)
        starter.role.do(
            "codebuild:ListBuildsForProject", "codebuild:BatchGetBuilds", "codebuild:StartBuild", on=project.attr_arn
        )
        start = cdk.CustomResource(
            self,
            "Start",
            resource_type="Custom::ImageBuild",
            service_token=starter.function.function_arn,
            # Without it CloudFormation waits an hour for a function that died.
            service_timeout=cdk.Duration.minutes(2),
            properties={"ProjectName": project.ref, "ImageUri": image_uri},
        )
        start.node.add_dependency(build_role.policy)
        return start.get_att_string("Outcome")

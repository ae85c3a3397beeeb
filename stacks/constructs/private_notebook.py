"""One SageMaker notebook instance that no internet reaches, and that stops by itself."""

import base64
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from stacks.config import Workbench
from stacks.constructs.code_bundle import CodeBundle
from stacks.constructs.service_role import ServiceRole
from stacks.vpc_config import VpcConfig

FILES = Path(__file__).parents[1] / "workbench_files"
PLATFORM = "notebook-al2023-v1"  # Amazon Linux 2 has reached the end of its support in June 2026
LONGEST_SCRIPT = 16_384  # characters of base64: NotebookInstanceLifecycleConfigContent of SageMaker's API


class PrivateNotebook(Construct):
    """Called `name`. In the first subnet of `vpc`, its disk under `key`; people in it are not root."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        name: str,
        settings: Workbench,
        role: ServiceRole,
        vpc: VpcConfig,
        key: kms.IKey,
        project: CodeBundle,
    ) -> None:
        super().__init__(scope, id)
        hooks = sagemaker.CfnNotebookInstanceLifecycleConfig(
            self,
            "LifecycleConfig",
            on_start=[
                sagemaker.CfnNotebookInstanceLifecycleConfig.NotebookInstanceLifecycleHookProperty(
                    content=cdk.Fn.base64(start_script(settings.idle_minutes, project.s3_uri, project.sha256))
                )
            ],
        )
        self.instance = sagemaker.CfnNotebookInstance(
            self,
            "Instance",
            notebook_instance_name=name,
            instance_type=settings.instance_type,
            platform_identifier=PLATFORM,
            role_arn=role.role_arn,
            subnet_id=vpc.subnets[0],
            security_group_ids=[vpc.security_group],
            direct_internet_access="Disabled",
            root_access="Disabled",
            kms_key_id=key.key_arn,
            volume_size_in_gb=settings.volume_gb,
            lifecycle_config_name=hooks.attr_notebook_instance_lifecycle_config_name,
            instance_metadata_service_configuration=(
                sagemaker.CfnNotebookInstance.InstanceMetadataServiceConfigurationProperty(
                    minimum_instance_metadata_service_version="2"
                )
            ),
        )
        self.instance.node.add_dependency(role.policy)


def start_script(idle_minutes: int, project: str, project_sha256: str) -> str:
    """The script of each start, filled in. `project` is the S3 URI of a zip. Raises ValueError where it is too long."""
    values = {
        "${STOP_WHEN_IDLE}": (FILES / "stop_when_idle.py").read_text(encoding="utf-8").rstrip("\n"),
        "${IDLE_MINUTES}": str(idle_minutes),
        "${PROJECT}": project,
        "${PROJECT_SHA256}": project_sha256,
    }
    script = (FILES / "on_start.sh").read_text(encoding="utf-8")
    for name, value in values.items():
        script = script.replace(name, value)
    encoded = len(base64.b64encode(script.encode()))
    if encoded > LONGEST_SCRIPT:
        raise ValueError(
            f"the start-up script of notebooks has {encoded} characters of base64: {LONGEST_SCRIPT} at most"
        )
    return script

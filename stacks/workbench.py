"""The notebook of an environment: where people look at models and runs, from inside the network."""

from pathlib import Path
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from stacks.config import Environment, Workbench
from stacks.constructs.code_bundle import CodeBundle
from stacks.constructs.people_policy import PeoplePolicy
from stacks.constructs.private_notebook import PrivateNotebook
from stacks.constructs.service_role import ServiceRole
from stacks.storage import StorageStack
from stacks.vpc_config import VpcConfig

PROJECT = (  # what runs with no more than a notebook has
    *("model_code", "operate/__init__.py", "operate/client"),
    *("operate/portions.py", "operate/batch_tasks.py", "operate/batch_records.py", "operate/errors.py"),
)


class WorkbenchStack(cdk.Stack):
    """Its notebook's disk goes with it: what people want to keep belongs into git."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        environment: Environment,
        workbench: Workbench,
        storage: StorageStack,
        vpc: VpcConfig,
        project: Path,
        acts_as: list[iam.IManagedPolicy],
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, description="AMPLIFY: a notebook in the private network", **kwargs)
        name = environment.resource_name
        bundle = CodeBundle(self, "Project", folder=project, parts=PROJECT)

        role = ServiceRole(self, "Role", description="People in the notebook: what trainers and invokers may")
        for policy in acts_as:
            role.add_managed_policy(policy)
        role.read_object(bundle.bucket, bundle.key)
        role.do(
            "sagemaker:StopNotebookInstance",
            on=f"arn:{self.partition}:sagemaker:{self.region}:{self.account}:notebook-instance/{name}",
        )
        role.join(vpc)
        role.attach_volumes(storage.key)
        role.write_log("/aws/sagemaker/NotebookInstances")

        PrivateNotebook(
            self,
            "Notebook",
            name=name,
            settings=workbench,
            role=role,
            vpc=vpc,
            key=storage.key,
            project=bundle,
        )
        users = PeoplePolicy(
            self, "workbench", resource_name=name, does="Start, open and stop the notebook", roles=workbench.users
        )
        users.do(
            *("sagemaker:DescribeNotebookInstance", "sagemaker:StartNotebookInstance"),
            *("sagemaker:StopNotebookInstance", "sagemaker:CreatePresignedNotebookInstanceUrl"),
            on=[users.arn("sagemaker", f"notebook-instance/{name}")],
        )
        cdk.CfnOutput(self, "NotebookInstanceName", value=name)

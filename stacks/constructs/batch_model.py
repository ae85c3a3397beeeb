"""A model for transform jobs, which people start: no endpoint, and no instance but while a job runs."""

from aws_cdk import aws_s3 as s3
from constructs import Construct

from stacks.constructs.served_model import ServedModel
from stacks.constructs.service_role import ServiceRole
from stacks.vpc_config import VpcConfig


class BatchModel(Construct):
    """The model, and its role's right to the jobs' prefixes. A job runs under the role of its model.

    `packages_role`: of the models that people make of other packages, where they may.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        name: str,
        model_package_arn: str,
        role: ServiceRole,
        packages_role: ServiceRole | None,
        vpc: VpcConfig | None,
        bucket: s3.IBucket,
    ) -> None:
        super().__init__(scope, id)
        self.input_prefix, self.output_prefix = f"transform/{name}/input/", f"transform/{name}/output/"
        for one in (role, *([packages_role] if packages_role else [])):
            one.read(bucket, self.input_prefix)
            one.write(bucket, self.output_prefix)
        self.model = ServedModel(self, "Model", model_package_arn=model_package_arn, role=role, vpc=vpc)
